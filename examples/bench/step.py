"""Tokens per second of the native step by rows, context and KV type. One table, JSON beside it.

    python examples/bench/step.py                         default model, default KV type
    python examples/bench/step.py --kv float16 int8 --rounds 5 --json step.json
    python examples/bench/step.py --only 8 --phases       where the time of a step goes
    python examples/bench/step.py --mask 0.01             steps of masked rows beside those of free ones

Each figure is the median over interleaved rounds of the fastest step of a round: other work on the machine only adds
time. Slots are scattered over the pool in the runs of 16 that the scheduler hands out; `shared` tokens of a context are
shared by all rows.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command import run_main

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.plan import SamplePlan, SharedPrefix, StepPlan
from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.weights.open import open_checkpoint

_NO_IDS = np.zeros(0, np.int32)
_NO_VALUES = np.zeros(0, np.float32)
DEFAULT_MODEL = "smollm2-135m-instruct"


RUN = 16  # slots that the scheduler gives a request at once


class Case(NamedTuple):
    """rows > 1 requests of one token each, or one request's chunk of `chunk` tokens; context includes them."""

    requests: int
    chunk: int
    context: int
    shared: int = 0
    mask: float = 0.0
    """The share of the vocabulary that each row allows, tokens at random; 0: no mask."""


CASES = (
    Case(1, 128, 128),
    Case(1, 512, 512),
    Case(1, 2048, 2048),
    Case(1, 512, 2048),
    Case(1, 8, 4096),
    *(Case(n, 1, 160) for n in (1, 4, 16, 64, 256)),
    *(Case(n, 1, 1024) for n in (1, 16, 64)),
    Case(1, 1, 4096),
    Case(1, 1, 8000),
    Case(64, 1, 1152, shared=1024),
    Case(64, 1, 1152),
    Case(16, 1, 2112, shared=2048),
    Case(16, 1, 2112),
)


def greedy(row: int, mask_row: int = -1) -> SamplePlan:
    return SamplePlan(
        row=row,
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
        seed=0,
        counter=0,
        mask_row=mask_row,
        bias_ids=_NO_IDS,
        bias_values=_NO_VALUES,
        penalty_ids=_NO_IDS,
        penalty_counts=_NO_IDS,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        repetition_penalty=1.0,
        num_top=-1,
        logprob_ids=_NO_IDS,
    )


def plan_of(case: Case, num_slots: int, vocab_size: int, rng: np.random.Generator) -> StepPlan | None:
    """None when the pool is too small."""
    own = -(-(case.context - case.shared) // RUN) * RUN
    shared = -(-case.shared // RUN) * RUN
    if shared + case.requests * own > num_slots:
        return None
    runs = rng.permutation(num_slots // RUN).astype(np.int32)
    slots = (runs[:, None] * RUN + np.arange(RUN, dtype=np.int32)).ravel()
    table = np.empty((case.requests, case.context), np.int32)
    table[:, : case.shared] = slots[: case.shared]
    owned = slots[shared : shared + case.requests * own].reshape(case.requests, own)
    table[:, case.shared :] = owned[:, : case.context - case.shared]
    rows = case.requests * case.chunk
    starts = np.arange(0, rows + 1, case.chunk, dtype=np.int32)
    masks = np.zeros((case.requests if case.mask else 0, (vocab_size + 31) // 32 * 32), np.uint8)
    for mask in masks:
        mask[rng.choice(vocab_size, int(vocab_size * case.mask), replace=False)] = 1
    return StepPlan(
        step=0,
        token_ids_T=rng.integers(100, vocab_size - 1000, rows).astype(np.int32),
        positions_T=np.tile(np.arange(case.context - case.chunk, case.context, dtype=np.int32), case.requests),
        slots_T=np.ascontiguousarray(table[:, -case.chunk :]).ravel(),
        query_start_B1=starts,
        kv_lens_B=np.full(case.requests, case.context, np.int32),
        table_rows_B=np.arange(case.requests, dtype=np.int32),
        page_table=table,
        groups=[SharedPrefix(0, case.requests, case.shared)] if case.shared else [],
        samples=[greedy(int(end) - 1, row if case.mask else -1) for row, end in enumerate(starts[1:])],
        masks_MW=np.packbits(masks, axis=1, bitorder="little").view(np.uint32),
    )


def fastest(
    executor: NativeExecutor, plan: StepPlan, budget_s: float, clock: Callable[[], float]
) -> tuple[float, dict[str, float]]:
    """Seconds of the fastest step within the budget, and of its phases; at least two are run."""
    best, spent, runs = float("inf"), 0.0, 0
    phases: dict[str, float] = {}
    while runs < 2 or spent < budget_s:
        start = clock()
        executor.execute(plan)
        took = clock() - start
        if took < best:
            best, phases = took, executor.phase_seconds()
        spent, runs = spent + took, runs + 1
    return best, phases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--kv", nargs="+", default=["auto"], help="auto, float32, bfloat16, float16, int8")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--slots", type=int, default=81920)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds for each case of a round")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the cases to run, from 0")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of CPU, with one thread: on a busy machine")
    parser.add_argument("--mask", type=float, help="each case also with rows that allow this share of the vocabulary")
    parser.add_argument("--phases", action="store_true", help="milliseconds of each phase in the fastest step")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint(resolve_model(options.model))
    executors = {
        kv: NativeExecutor(
            checkpoint,
            EngineConfig(kv_cache_dtype=kv, num_threads=1 if options.cpu_time else options.threads),
            options.slots,
        )
        for kv in options.kv
    }
    for executor in executors.values():
        print(f"{executor.device}, {executor.kv_bytes_per_token * 1000 / 2**20:.1f} MiB of KV for 1,000 tokens")
    print(f"load average {os.getloadavg()[0]:.1f}")
    clock = time.process_time if options.cpu_time else time.perf_counter
    rng = np.random.default_rng(0)
    cases = [CASES[i] for i in options.only] if options.only else list(CASES)
    if options.mask:
        cases = [c for case in cases for c in (case, case._replace(mask=options.mask))]
    plans = [plan_of(case, options.slots, checkpoint.config.vocab_size, rng) for case in cases]
    times: dict[tuple[str, Case], list[float]] = {}
    phases: dict[tuple[str, Case], dict[str, float]] = {}
    for _ in range(options.rounds):
        for case, plan in zip(cases, plans, strict=True):
            for kv, executor in executors.items():
                if plan is None:
                    continue
                seconds, by_phase = fastest(executor, plan, options.budget, clock)
                if seconds < min(times.get((kv, case), [float("inf")])):
                    phases[kv, case] = by_phase
                times.setdefault((kv, case), []).append(seconds)
    print(
        f"{'kv':>9} {'requests':>8} {'chunk':>6} {'context':>8} {'shared':>7} {'mask':>6} {'ms':>9} {'tok/s':>8} "
        f"{'spread':>7}"
    )
    table = []
    for (kv, case), seconds in times.items():
        median = statistics.median(seconds)
        rate, spread = case.requests * case.chunk / median, max(seconds) / min(seconds)
        table.append(
            {
                "kv": kv,
                **case._asdict(),
                "seconds": median,
                "tokens_per_s": rate,
                "spread": spread,
                "phases": phases[kv, case],
            }
        )
        print(
            f"{kv:>9} {case.requests:>8} {case.chunk:>6} {case.context:>8} {case.shared:>7} {case.mask:>6} "
            f"{median * 1e3:>9.2f} {rate:>8.0f} {spread:>7.2f}"
        )
        if options.phases:
            print("          " + ", ".join(f"{name} {1e3 * s:.2f}" for name, s in phases[kv, case].items()))
    if options.json:
        device = next(iter(executors.values())).device
        options.json.write_text(json.dumps({"device": device, "load": os.getloadavg(), "cases": table}, indent=1))


if __name__ == "__main__":
    run_main(main)
