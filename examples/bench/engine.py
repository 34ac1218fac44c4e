"""What the engine does beside the model: reuse in a fork, the scheduler's share of a step, streams beside a prompt.

    python examples/bench/engine.py [--executor native] [--batches 1 16 64 256]

    python examples/bench/engine.py --only kernel       a step of the loop beside the kernel's own time in it

Every comparison runs in this one process, in turns, three times; the best of each is told. Overlap and its absence must
draw the same tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time

import numpy as np
from command import run_main

import radixlang as sgl
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Submit
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.scheduler import Scheduler
from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.weights.open import open_checkpoint

TEXT = "The harbour town kept a careful ledger of every ship, its cargo, its crew and the weather on that day. "
NUM_TOKENS = {1: 96, 16: 48, 64: 24, 256: 12}
COUNTERS = ("num_steps", "scheduler_seconds", "executor_seconds", "stall_seconds")


@sgl.function
def fork_of_8(s, text):
    s += text
    branches = s.fork(8)
    branches += lambda i: f" Question {i}:"
    branches += sgl.gen("answer", max_tokens=4, ignore_eos=True)
    branches.join()
    return [branch.get_meta_info("answer") for branch in branches]


def stats(engine) -> dict:
    return engine.get_server_info()["internal_states"][0]


def reuse(engine) -> None:
    length = len(engine.tokenizer.encode(TEXT))
    text = TEXT * round(1000 / length)
    before = stats(engine)
    metas = fork_of_8.run(text=text, temperature=0, backend=engine).ret_value
    after = stats(engine)
    prompts = [m["prompt_tokens"] for m in metas]
    computed = after["computed_tokens_total"] - before["computed_tokens_total"]
    print(
        f"fork of 8 over {prompts[0]} tokens: {sum(prompts)} prompt tokens asked for, "
        f"{sum(m['cached_tokens'] for m in metas)} of them cached; rows computed, decoding included: {computed}"
    )


def generate(engine, batch, num_tokens):
    """(tokens, tokens a second, processor ms a token, what the counters moved)."""
    texts = [f"Story {i} begins here. " * 4 for i in range(batch)]
    params = {"max_new_tokens": num_tokens, "temperature": 0, "ignore_eos": True}
    engine.flush_cache()
    before, wall, own = stats(engine), time.perf_counter(), time.process_time()
    answers = engine.generate(texts, params)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    after = stats(engine)
    moved = {name: after[name] - before[name] for name in COUNTERS}
    drawn = batch * num_tokens
    return [answer["output_ids"] for answer in answers], drawn / wall, 1e3 * own / drawn, moved


def shares(engines, batches) -> list[dict]:
    """Steps with and without overlap: what they take, and how long the executor waits for the next one."""
    rows = []
    for batch in batches:
        runs = {name: [] for name in engines}
        for _ in range(3):
            for name, engine in engines.items():
                runs[name].append(generate(engine, batch, NUM_TOKENS.get(batch, 24)))
        drawn = [run[0] for found in runs.values() for run in found]
        assert all(ids == drawn[0] for ids in drawn), "overlap changes tokens"
        for name, found in runs.items():
            _, rate, _, moved = max(found, key=lambda run: run[1])
            own_ms, steps = min(run[2] for run in found), moved["num_steps"]
            share = moved["stall_seconds"] / (moved["stall_seconds"] + moved["executor_seconds"])
            rows.append({"batch": batch, "loop": name, "tok/s": rate, "cpu_ms": own_ms, "share": share})
            print(
                f"batch {batch:3}, {name:8}: {rate:7.0f} tok/s, {own_ms:6.3f} ms of processors a token, a step "
                f"{1e3 * moved['executor_seconds'] / steps:7.2f} ms in the executor, which waits "
                f"{1e6 * moved['stall_seconds'] / steps:5.0f} us for the next one = {100 * share:.1f} %"
            )
    return rows


class KernelClock:
    """The native executor, and how long its phases took in all."""

    def __init__(self, executor: NativeExecutor) -> None:
        self._executor = executor
        self.vocab_size, self.num_slots = executor.vocab_size, executor.num_slots
        self.device, self.kv_bytes_per_token = executor.device, executor.kv_bytes_per_token
        self.kernel_s = self.own_s = 0.0
        """own_s: spent on reading that clock."""

    def execute(self, plan):
        output = self._executor.execute(plan)
        begun_s = time.perf_counter()
        self.kernel_s += sum(self._executor.phase_seconds().values())
        self.own_s += time.perf_counter() - begun_s
        return output


def beside_the_kernel(model_path, batches, *, num_rounds=7) -> list[dict]:
    """Seconds of the loop that are not the kernel's: planning, crossing over, waking threads, committing, telling."""
    native = NativeExecutor(open_checkpoint(resolve_model(model_path)), EngineConfig(num_threads=2), 60_000)
    executor, rows = KernelClock(native), []
    loops = {}
    for batch in batches:
        config = EngineConfig(disable_overlap_schedule=True, speculative_algorithm="none")
        loops[batch] = loop = Scheduler(
            config, executor, None, None, lambda message: None, max_context=2048, eos_token_ids=frozenset()
        )
        sampling = SamplingParams(max_new_tokens=1900, temperature=0.0, ignore_eos=True)
        for i in range(batch):
            loop.post(Submit(rid=f"r{i}", token_ids=[100 + i] * 100, sampling=sampling))
    found = {batch: [] for batch in batches}
    for _ in range(num_rounds):
        for batch, loop in loops.items():
            for _ in range(4):  # the prompts; and the caches are this batch's again
                loop.step()
            before, executor.kernel_s, executor.own_s = loop.stats()["num_steps"], 0.0, 0.0
            begun_s, calls = time.perf_counter(), 0
            while time.perf_counter() - begun_s < 0.25:
                loop.step()
                calls += 1
            seconds = time.perf_counter() - begun_s - executor.own_s
            steps = loop.stats()["num_steps"] - before
            found[batch].append((seconds / steps, executor.kernel_s / steps, steps / calls))
    for batch, runs in found.items():
        step_s, kernel_s, per_call = (statistics.median(run[i] for run in runs) for i in range(3))
        share = statistics.median(run[0] / run[1] - 1.0 for run in runs)
        rows.append({"batch": batch, "step_ms": 1e3 * step_s, "kernel_ms": 1e3 * kernel_s, "overhead": share})
        print(
            f"batch {batch:3}: a step takes {1e3 * step_s:6.2f} ms, {1e3 * kernel_s:6.2f} of them in the kernel's "
            f"phases: overhead over the kernel's own time {100 * share:.1f} % ({per_call:.1f} steps a call)"
        )
    native.close()
    return rows


def beside_a_prompt(engine, num_tokens=2000) -> tuple[np.ndarray, float]:
    """Gaps between tokens of 8 streams while a long prompt is computed, and the seconds to its first token."""
    engine.flush_cache()
    prompt = TEXT * round(num_tokens / len(engine.tokenizer.encode(TEXT)))
    times, asked, told = [[] for _ in range(8)], [], []

    def ask():
        asked.append(time.perf_counter())
        engine.generate(prompt, {"max_new_tokens": 1, "temperature": 0})
        told.append(time.perf_counter())

    other = threading.Thread(target=ask)
    params = {"max_new_tokens": 1000, "temperature": 0, "ignore_eos": True}
    stream = engine.generate([f"Story {i} begins here. " * 4 for i in range(8)], params, stream=True)
    for piece in stream:
        times[piece["index"]].append(time.perf_counter())
        if not asked and not other.is_alive() and len(times[0]) == 20:
            other.start()
        if told and min(mine[-1] for mine in times) > told[0]:
            break
    stream.close()
    other.join()
    beside = [[t for t in mine if asked[0] <= t <= told[0]] for mine in times]
    return 1e3 * np.concatenate([np.diff(mine) for mine in beside]), told[0] - asked[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-path", default="smollm2-135m-instruct")
    parser.add_argument("--executor", default="auto", choices=["auto", "native", "torch"])
    parser.add_argument("--batches", type=int, nargs="+", default=list(NUM_TOKENS))
    parser.add_argument("--only", choices=["kernel"])
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}")
    if options.executor != "torch":
        beside_the_kernel(options.model_path, [1, 4, 16])
    if options.only == "kernel":
        return

    def start(**config):
        return sgl.Engine(
            model_path=options.model_path,
            executor=options.executor,
            num_threads=2,
            max_total_tokens=60_000,
            speculative_algorithm="none",
            **config,
        )

    started = time.perf_counter()
    engines = {"sync": start(disable_overlap_schedule=True)}
    engines["sync"].generate("Hello", {"max_new_tokens": 1, "temperature": 0})
    print(f"start to first token (python running): {time.perf_counter() - started:.2f} s")
    reuse(engines["sync"])
    engines["overlap"] = start(disable_overlap_schedule=False)
    rows = shares(engines, options.batches)
    for engine in engines.values():
        engine.shutdown()
    for target_ms in (0.0, 50.0, 100.0):
        engine = start(itl_target_ms=target_ms)
        engine.generate(TEXT * 20, {"max_new_tokens": 8, "temperature": 0})  # it learns what steps take
        gaps, first_s = beside_a_prompt(engine)
        told = f"{np.median(gaps):6.1f} / {np.percentile(gaps, 99):6.1f} / {gaps.max():6.1f} ms"
        print(
            f"8 streams beside a prompt of 2000 tokens, target {target_ms:3.0f} ms: gap p50 / p99 / worst {told}; "
            f"the prompt's first token after {first_s:.2f} s"
        )
        engine.shutdown()
    print(json.dumps(rows))


if __name__ == "__main__":
    run_main(main)
