"""What the engine does beside the model: reuse in a fork, the scheduler's share of a step, streams beside a prompt.

    python examples/bench/engine.py [--executor native] [--batches 1 16 64 256]

Every comparison runs in this one process, in turns, three times; the best of each is told. Overlap and its absence must
draw the same tokens.
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import numpy as np

import radixlang as sgl

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
    options = parser.parse_args()

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
    main()
