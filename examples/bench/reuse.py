"""What the prefix cache and knowing the program save: time and prefilled tokens of seven workloads, on the real model.

    python examples/bench/reuse.py [--rounds 3] [--out docs/reuse.md]

Engines of this process, in turn for each workload: without a cache; with it; with it and told of programs: follow-up
calls name the path that they extend and send what is new, paths are released when their program is through. Cached
tokens are compared with what an endless, ideal cache would not compute again. A second table has a pool of half of what
a workload ever computes, where eviction decides. Larger pressure, and the optimum for it: reuse_bound.py.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from pathlib import Path

from command import run_main
from workloads import REUSE, PerfectCache

import radixlang as sgl
from radixlang.lang import loop as lang_loop
from radixlang.runtime.generate_request import GenerateRequest
from radixlang.runtime.sampling_params import SamplingParams

MODEL = "smollm2-135m-instruct"
ROOM = 65536  # slots: everything fits
LONGEST = 1280  # of the longest request


class Told:
    """Names the paths that requests extend, as a program does whose streams are live."""

    def __init__(self, engine) -> None:
        self.engine, self.paths, self.num = engine, {}, 0

    def fields(self, ids):
        """The longest kept path that `ids` extend, and a name for theirs."""
        self.num += 1
        best, length = None, 0
        for name, path in self.paths.items():
            if length < len(path) < len(ids) and ids[: len(path)] == path:
                best, length = name, len(path)
        return best, length, f"path {self.num}"

    async def over(self, wave):
        """Paths that the wave has extended are needed no more; those of this wave are."""
        done = [name for name in self.paths if name not in wave]
        await self.engine.front.release(done)
        self.paths = dict(wave)


async def run_wave(engine, requests, told):
    async def one(request):
        parent, length, name = told.fields(request.ids) if told is not None else (None, 0, None)
        call = GenerateRequest(
            prompt=[request.ids[length:]], parent=parent, parent_len=length, keep=name, add_bos=False,
            sampling=SamplingParams(max_new_tokens=request.max_tokens, temperature=0.0, ignore_eos=True),
        )  # fmt: skip
        ids, cached = [], 0
        async for chunk in engine.front.generate(call):
            ids += chunk.token_ids
            cached = chunk.cached_len
        return name, ids, cached

    answers = await asyncio.gather(*map(one, requests))
    if told is not None:
        await told.over({name: r.ids + ids for r, (name, ids, _) in zip(requests, answers, strict=True)})
    return [ids for _, ids, _ in answers], sum(cached for _, _, cached in answers)


def run(engine, workload, seed, *, tells):
    """{"seconds", "prompt", "prefilled", "reusable", "cached"} of one pass over a cold cache."""
    engine.flush_cache()
    told = Told(engine) if tells else None
    waves, perfect = workload(random.Random(seed)), PerfectCache()
    found = {"prompt": 0, "reusable": 0, "cached": 0}
    seen = []
    begun, cpu = time.perf_counter(), time.process_time()
    wave = next(waves)
    try:
        while True:
            outputs, cached = lang_loop.run(run_wave(engine, wave, told))
            found["cached"] += cached
            seen.append((wave, outputs))
            wave = waves.send(outputs)
    except StopIteration:
        found["seconds"], found["cpu"] = time.perf_counter() - begun, time.process_time() - cpu
    if told is not None:
        lang_loop.run(told.over({}))
    for requests, outputs in seen:
        for request, ids in zip(requests, outputs, strict=True):
            found["prompt"] += len(request.ids)
            found["reusable"] += perfect.reusable(request, ids)
    found["prefilled"] = found["prompt"] - found["cached"]
    found["computed"] = found["prompt"] - found["reusable"] + sum(len(ids) for _, outputs in seen for ids in outputs)
    return found


def engine(slots, **options):
    return sgl.Engine(
        model_path=MODEL, max_total_tokens=slots, context_length=LONGEST, speculative_algorithm="none",
        num_threads=len(os.sched_getaffinity(0)), **options,
    )  # fmt: skip


def medians(runs):
    return {name: statistics.median(r[name] for r in runs) for name in runs[0]}


def measure(kinds, workload, rounds, seed):
    """kinds: {name: (engine, whether it is told)}; in turn, so that a busy machine is as busy for each."""
    runs = {name: [] for name in kinds}
    for number in range(rounds):
        for name, (one, tells) in kinds.items():
            runs[name].append(run(one, workload, seed + number, tells=tells))
    return {name: medians(r) for name, r in runs.items()}


BY_HAND = "## A cache that does not know the future"  # from there on the page is not this file's
HEAD = (
    "| workload | prompt tokens | reusable | no cache | cache | cache, programs known | of possible |\n"
    "|---|---|---|---|---|---|---|\n"
)


def row(name, off, on, known):
    def cell(found):
        return f"{found['seconds']:.2f} s, {found['cpu']:.2f} s, {found['prefilled']:.0f}"

    share = " / ".join(f"{found['cached'] / max(1, found['reusable']):.3f}" for found in (on, known))
    return (
        f"| {name} | {off['prompt']:.0f} | {off['reusable']:.0f} | {cell(off)} | {cell(on)} | {cell(known)} | {share} |"
    )


TEXT = """# What reuse saves

Written by `python examples/bench/reuse.py`: {model}, {threads} threads, load average {load:.1f} at the start, median of
{rounds}. Each cell: seconds, seconds of CPU, prefilled tokens. "of possible": cached tokens over what an endless, ideal
cache would have reused, without and with knowledge of the programs.

## Enough memory ({room} slots)

{roomy}

## Half of what each workload computes

The pool holds 50 % of the tokens that the workload ever computes (at least one of its longest requests).

{tight}
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("docs/reuse.md"))
    options.add_argument("--workloads", nargs="+", default=list(REUSE), choices=list(REUSE))
    given = options.parse_args()
    load, begun = os.getloadavg()[0], time.perf_counter()
    off, on = engine(ROOM, disable_radix_cache=True), engine(ROOM)
    kinds = {"off": (off, False), "on": (on, False), "known": (on, True)}
    for one in (off, on):
        one.generate(input_ids=[[5] * 64], sampling_params={"max_new_tokens": 4, "temperature": 0})
    roomy, tight, bad = [], [], []
    for number, name in enumerate(given.workloads):
        found = measure(kinds, REUSE[name], given.rounds, 100 * number)
        roomy.append(row(name, **found))
        print(roomy[-1], flush=True)
        for kind in ("on", "known"):
            if found[kind]["cached"] < 0.97 * found[kind]["reusable"]:
                bad.append(f"{name}, {kind}: less than 0.97 of what can be reused")
        slots = max(LONGEST + 64, int(0.5 * found["off"]["computed"]))
        with engine(slots) as small, engine(slots, radix_eviction_policy="lru") as lru:
            pressed = measure({"off": (lru, False), "on": (small, False), "known": (small, True)}, REUSE[name], 1, 7)
        tight.append(row(f"{name} ({slots} slots)", **pressed))
        print(f"  pool of {slots}: {tight[-1]}", flush=True)
    off.shutdown()
    on.shutdown()
    text = TEXT.format(
        model=MODEL, threads=len(os.sched_getaffinity(0)), load=load, rounds=given.rounds, room=ROOM,
        roomy=HEAD + "\n".join(roomy), tight=HEAD.replace("no cache", "cache, lru") + "\n".join(tight),
    )  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    _, heading, rest = given.out.read_text().partition(BY_HAND) if given.out.exists() else ("", "", "")
    given.out.write_text(text + ("\n" + heading + rest if heading else ""))
    print(f"{given.out} written; {time.perf_counter() - begun:.0f} s")
    for line in bad:
        print("FAILED", line)
    return 1 if bad else 0


if __name__ == "__main__":
    run_main(main)
