"""Running streams while a long prompt is admitted: gaps between tokens, beside llama.cpp's server and vLLM's.

    python examples/bench/mixed.py [--engines radixlang llama.cpp] [--prompt 2000] [--streams 8] [--rounds 3]

The same requests over /v1/completions on each engine in turn. A gap is the time between two pieces of one stream, taken
from the long prompt's asking until its first token. Prints medians over the rounds; writes bench-results/mixed.json.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import time
from pathlib import Path

import httpx
from command import run_main
from engines import HttpEngine, LlamaCpp, Missing, Radixlang, Vllm, parsed
from workloads import words

SERVERS = {engine.name: engine for engine in (Radixlang, LlamaCpp, Vllm)}
OUT = Path("bench-results/mixed.json")
STREAM_TOKENS = 400
BEFORE_TOKENS = 20  # of every stream, until the long prompt is asked
TOGETHER_S = 1e-3  # pieces of one step (drafts that were right) come at once: no gap


async def measure(engine: HttpEngine, streams: int, prompt: int, seed: int) -> dict[str, float]:
    """Milliseconds: the gaps' p50, p99 and longest, and the long prompt's time to first token."""
    rng = random.Random(seed)
    times: list[list[float]] = [[] for _ in range(streams)]
    is_running, told = asyncio.Event(), asyncio.Event()
    async with httpx.AsyncClient(base_url=str(engine.client.base_url), timeout=600, trust_env=False) as client:

        async def stream(at: int) -> None:
            body = {
                "model": "default", "prompt": words(rng, 64), "max_tokens": STREAM_TOKENS, "temperature": 0,
                "ignore_eos": True, "stream": True,
            }  # fmt: skip
            async with client.stream("POST", "/v1/completions", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        times[at].append(time.perf_counter())
                        if min(map(len, times)) >= BEFORE_TOKENS:
                            is_running.set()
                        if told.is_set():
                            return

        async def ask() -> tuple[float, float]:
            await is_running.wait()
            begun = time.perf_counter()
            body = {"model": "default", "prompt": words(rng, prompt), "max_tokens": 1, "temperature": 0}
            (await client.post("/v1/completions", json=body)).raise_for_status()
            ended = time.perf_counter()
            told.set()
            return begun, ended

        tasks = [asyncio.create_task(stream(i)) for i in range(streams)]
        begun, ended = await ask()
        await asyncio.gather(*tasks)
    gaps = sorted(
        1e3 * (late - early)
        for mine in times
        for early, late in itertools.pairwise(mine)
        if late > begun and early < ended and late - early > TOGETHER_S
    )
    return {
        "p50": statistics.median(gaps),
        "p99": gaps[len(gaps) * 99 // 100],
        "longest": gaps[-1],
        "prompt": 1e3 * (ended - begun),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["radixlang", "llama.cpp"], choices=list(SERVERS))
    parser.add_argument("--prompt", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=8)
    options = parsed(parser)
    print(f"load average {os.getloadavg()[0]:.2f}")
    found: dict[str, list[dict[str, float]]] = {}
    for round_ in range(options.rounds):
        for name in options.engines:
            try:
                engine = SERVERS[name](options.model, options.threads, options.streams + 1, options.prompt + 64)
            except (Missing, RuntimeError) as missing:
                print(f"missing: {missing}")
                continue
            try:
                for seed in (0, 100 + round_):  # the first warms it up
                    got = asyncio.run(measure(engine, options.streams, options.prompt, seed))
                found.setdefault(name, []).append(got)
            finally:
                engine.stop()
    medians = {name: {k: statistics.median(r[k] for r in runs) for k in runs[0]} for name, runs in found.items()}
    print(f"{'ms between pieces of a stream':32}{'p50':>9}{'p99':>9}{'longest':>9}{'first token of the prompt':>28}")
    for name, m in medians.items():
        print(f"{name:32}{m['p50']:9.1f}{m['p99']:9.1f}{m['longest']:9.1f}{m['prompt']:28.0f}")
    peers = [m["p99"] for name, m in medians.items() if name != "radixlang"]
    if peers and "radixlang" in medians:
        print(f"p99 against the best peer: {medians['radixlang']['p99'] / min(peers):.2f} (goal 0.5 or less)")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"medians": medians, "runs": found}, indent=1))


if __name__ == "__main__":
    run_main(main)
