"""What the engine does beside the model: reuse in a fork, and the scheduler's share of a decode step.

python examples/bench/engine.py
"""

from __future__ import annotations

import argparse
import json
import time

import radixlang as sgl

TEXT = "The harbour town kept a careful ledger of every ship, its cargo, its crew and the weather on that day. "


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-path", default="smollm2-135m-instruct")
    parser.add_argument("--executor", default="auto", choices=["auto", "native", "torch"])
    options = parser.parse_args()
    started = time.perf_counter()
    engine = sgl.Engine(model_path=options.model_path, executor=options.executor, num_threads=2)
    engine.generate("Hello", {"max_new_tokens": 1, "temperature": 0})
    print(f"start to first token (python running): {time.perf_counter() - started:.2f} s")

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

    rows = []
    for batch in (1, 16, 64):
        texts = [f"Story {i} begins here. " * 4 for i in range(batch)]
        params = {"max_new_tokens": 128, "temperature": 0, "ignore_eos": True}
        before, started = stats(engine), time.perf_counter()
        engine.generate(texts, params)
        seconds, after = time.perf_counter() - started, stats(engine)
        steps = after["num_steps"] - before["num_steps"]
        own = after["scheduler_seconds"] - before["scheduler_seconds"]
        run = after["executor_seconds"] - before["executor_seconds"]
        rows.append(
            {"batch": batch, "tok/s": batch * 128 / seconds, "step_ms": 1e3 * run / steps, "share": own / (own + run)}
        )
        print(
            f"batch {batch:3}: {rows[-1]['tok/s']:8.0f} tok/s, {rows[-1]['step_ms']:7.2f} ms a step in the executor, "
            f"{1e6 * own / steps:6.0f} us in scheduler and cache = {100 * rows[-1]['share']:.1f} %"
        )
    print(json.dumps({"device": engine.get_server_info().get("device"), "rows": rows}))
    engine.shutdown()


if __name__ == "__main__":
    main()
