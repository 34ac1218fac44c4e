"""Speculation on and off, on text that repeats itself and on text that does not: time a token, tokens a step.

    python examples/bench/speculation.py
    python examples/bench/speculation.py --algorithms none auto --batches 1 4 16 --rounds 5 --json speculation.json
    python examples/bench/speculation.py --cpu-time       on a busy machine: one thread, seconds of CPU

One engine for each algorithm, all in this process and on the same threads; they take turns, so that whatever else the
machine does hits all of them. Each figure is the median over rounds; ratios are to the first algorithm. Outputs must
be equal token by token, sampled ones too (their seeds are given), or the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from command import run_main

import radixlang as sgl

TOKENS = 96
CODE = """def total_price(items, tax_rate):
    total = 0.0
    for item in items:
        price = item["price"] * item["count"]
        if item["discount"]:
            price = price * (1.0 - item["discount"])
        total = total + price
    return total * (1.0 + tax_rate)
"""
RECORD = (
    '{"name": "Ada Lovelace", "born": 1815, "city": "London", "field": "mathematics", "known_for": "the first program"}'
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "born": {"type": "integer"},
        "city": {"type": "string", "maxLength": 24},
        "field": {"type": "string", "maxLength": 24},
        "known_for": {"type": "string", "maxLength": 40},
    },
    "required": ["name", "born", "city", "field", "known_for"],
}
WORDS = [
    "river", "stone", "lantern", "quiet", "engine", "violet", "harbour", "seven",
    "paper", "mountain", "copper", "signal", "garden", "winter", "thread", "compass",
    "orbit", "salt", "window", "marble", "cedar", "anchor", "pilot", "market",
    "echo", "ladder", "velvet", "canyon", "feather", "amber", "tunnel", "basket",
    "meadow",
]  # fmt: skip


class Case(NamedTuple):
    """Prompts that are asked at once; `before`: those that were answered before."""

    name: str
    prompts: list[str]
    sampling: dict[str, Any]
    before: tuple[str, ...] = ()


def chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def cases(batches: list[int], seed: int) -> list[Case]:
    """With a seed of their own each round, so that nothing is cached that is not meant to be."""
    draw = random.Random(seed)
    greedy = {"temperature": 0, "max_new_tokens": TOKENS, "ignore_eos": True}
    free = {"temperature": 1.0, "max_new_tokens": TOKENS, "ignore_eos": True, "sampling_seed": seed}

    def nonsense(length: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(length))

    asked = [chat(f"Write a short story about the {nonsense(3)}.") for _ in range(4)]
    found = [
        Case("asked again, greedy", asked[:1], greedy, tuple(asked[:1])),
        Case("4 asked again, greedy", asked, greedy, tuple(asked)),
        Case(
            "JSON regenerated",
            [chat(f"Record {seed}: {RECORD}\nGive the same record as JSON.")],
            {"temperature": 0, "max_new_tokens": TOKENS, "json_schema": json.dumps(SCHEMA)},
            (chat(f"Record {seed + 1}: {RECORD}\nGive the same record as JSON."),),
        ),
        Case("code copied", [f"# {nonsense(2)}\n{CODE}\n# The same function once more\n{CODE[:80]}"], greedy),
    ]
    for size in batches:
        found.append(Case(f"random, greedy, {size}", [nonsense(24) for _ in range(size)], greedy))
        found.append(Case(f"random, sampled, {size}", [nonsense(24) for _ in range(size)], free))
    return found


class Run(NamedTuple):
    ms_a_token: float
    tokens_a_step: float
    ids: list[list[int]]


def run(engine: Any, case: Case, clock: Callable[[], float]) -> Run:
    engine.flush_cache()
    if case.before:
        engine.generate(list(case.before), case.sampling)
    before = stats(engine)
    began = clock()
    answers = engine.generate(case.prompts, case.sampling)
    seconds, after = clock() - began, stats(engine)
    made = max(a["meta_info"]["completion_tokens"] for a in answers)
    steps = after["num_steps"] - before["num_steps"]
    return Run(1e3 * seconds / made, made / steps, [a["output_ids"] for a in answers])


def stats(engine: Any) -> dict[str, Any]:
    return dict(engine.get_server_info()["internal_states"][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-path", default="smollm2-135m-instruct")
    parser.add_argument("--draft-model-path", help="a small model for the algorithm draft")
    parser.add_argument("--algorithms", nargs="+", default=["none", "auto", "tree", "ngram"])
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="one thread, seconds of CPU of this process")
    parser.add_argument("--only", help="only cases whose name holds this")
    parser.add_argument("--json", help="write the figures there too")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    engines = {}
    for algorithm in options.algorithms:
        extra = {"speculative_draft_model_path": options.draft_model_path} if algorithm == "draft" else {}
        engines[algorithm] = sgl.Engine(
            model_path=options.model_path,
            speculative_algorithm=algorithm,
            max_total_tokens=16384,
            num_threads=int(options.cpu_time),
            **extra,
        )
    first = next(iter(engines.values()))
    print(f"{first.get_server_info().get('device')}; load {os.getloadavg()[0]:.1f}; {options.rounds} rounds")
    results: dict[str, dict[str, list[Run]]] = {}
    for number in range(options.rounds):
        for case in cases(options.batches, 1000 * number):
            if options.only and options.only not in case.name:
                continue
            runs = {algorithm: run(engine, case, clock) for algorithm, engine in engines.items()}
            for algorithm, one in runs.items():
                results.setdefault(case.name, {}).setdefault(algorithm, []).append(one)
            expected = next(iter(runs.values())).ids
            wrong = [algorithm for algorithm, one in runs.items() if one.ids != expected]
            if wrong:
                raise SystemExit(f"{case.name}: {wrong} do not answer as {next(iter(runs))} does")
    table = report(results)
    for engine in engines.values():
        engine.shutdown()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(table, file, indent=1)


def report(results: dict[str, dict[str, list[Run]]]) -> list[dict[str, Any]]:
    print(f"{'case':24} {'algorithm':10} {'ms/token':>9} {'ratio':>6} {'spread':>13} {'tokens/step':>12}")
    table = []
    for name, by_algorithm in results.items():
        base = next(iter(by_algorithm.values()))
        for algorithm, runs in by_algorithm.items():
            ratios = sorted(one.ms_a_token / other.ms_a_token for one, other in zip(runs, base, strict=True))
            row = {
                "case": name,
                "algorithm": algorithm,
                "ms_a_token": statistics.median(one.ms_a_token for one in runs),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                "tokens_a_step": statistics.median(one.tokens_a_step for one in runs),
            }
            table.append(row)
            print(
                f"{name:24} {algorithm:10} {row['ms_a_token']:9.2f} {row['ratio']:6.2f} "
                f"{ratios[0]:5.2f} … {ratios[-1]:5.2f} {row['tokens_a_step']:12.2f}"
            )
    return table


if __name__ == "__main__":
    run_main(main)
