"""Llama shapes with random weights on one GPU: kernels, decode, prefill, offline, reuse, overlap, peers. One table.

    python examples/bench/gpu.py                              Llama 3 8B shapes, under 8 minutes on an H200
    python examples/bench/gpu.py --shape 1b                   Llama 3.2 1B shapes
    python examples/bench/gpu.py --shape tiny --device cpu    the same on a CPU, to see that it runs

Every part is a process of its own; what would not fit into --budget-s is left out, and named. Shares are of a roofline
measured on the same card: max(weights / bandwidth, 2 · weights · rows / arithmetic) + KV / bandwidth.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workloads import REUSE, PerfectCache, words

SHAPES = {  # layers, hidden, inner, heads, kv heads, head dim, vocabulary, tied head
    "8b": (32, 4096, 14336, 32, 8, 128, 128256, False),
    "1b": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "tiny": (2, 64, 128, 4, 2, 16, 30016, True),
}
PARTS = ("kernels", "main", "no overlap", "no cache", "alone", "peer")


def write_model(folder: Path, shape: str) -> None:
    """config.json and a tokenizer of bytes; the weights are `--load-format dummy`."""
    layers, hidden, inner, heads, kv_heads, dim, vocab, tied = SHAPES[shape]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": dim, "vocab_size": vocab, "tie_word_embeddings": tied,
        "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
        "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = {piece: i + 2 for i, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE({"<bos>": 0, "<eos>": 1, **pieces}, []))
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "bos_token": "<bos>"})
    )


class Ours:
    def __init__(self, model: Path, device: str, **options: object) -> None:
        import radixlang as sgl

        self.engine = sgl.Engine(
            model_path=str(model), load_format="dummy", device=device, speculative_algorithm="none", weight_cache=False,
            chunked_prefill_size=8192 if device == "cuda" else 512, **options,
        )  # fmt: skip

    def run(self, wave: list[tuple[list[int], int]]) -> list[list[int]]:
        params = [{"max_new_tokens": n, "temperature": 0, "ignore_eos": True} for _, n in wave]
        answers = self.engine.generate(input_ids=[ids for ids, _ in wave], sampling_params=params)
        return [a["output_ids"] for a in answers]


def timed(run, wave) -> float:
    started = time.perf_counter()
    run(wave)
    return time.perf_counter() - started


def decode(run, batch: int, context: int, tokens: int) -> float:
    """Tokens a second, prefill taken off by a run of one token over the same lengths."""
    rng = random.Random(batch)
    run([(words(rng, context), 2) for _ in range(batch)])  # warm
    first = timed(run, [(words(rng, context), 1) for _ in range(batch)])
    both = timed(run, [(words(rng, context), 1 + tokens) for _ in range(batch)])
    return batch * tokens / (both - first)


def reuse(run, name: str) -> float:
    """Seconds of one workload of workloads.py."""
    waves = REUSE[name](random.Random(7))
    started = time.perf_counter()
    wave = next(waves)
    try:
        while True:
            wave = waves.send(run([(r.ids, r.max_tokens) for r in wave]))
    except StopIteration:
        return time.perf_counter() - started


def work_ratio(name: str) -> float:
    """Prompt and output tokens without a cache to those with a perfect one."""
    waves, cache, total, saved = REUSE[name](random.Random(7)), PerfectCache(), 0, 0
    wave = next(waves)
    try:
        while True:
            outputs = [[(31 * i + j) % 30000 for j in range(r.max_tokens)] for i, r in enumerate(wave)]
            for request, ids in zip(wave, outputs, strict=True):
                total += len(request.ids) + len(ids)
                saved += cache.reusable(request, ids)
            wave = waves.send(outputs)
    except StopIteration:
        return total / (total - saved)


def alone(model: Path, device: str, batch: int, context: int, tokens: int) -> float:
    """Tokens a second of decode steps launched one behind the other, without a scheduler: the device never waits."""
    import numpy as np
    from transformers_peer import greedy

    from radixlang.runtime.config import EngineConfig
    from radixlang.runtime.model_runner.load import load_executor
    from radixlang.runtime.model_runner.plan import StepPlan
    from radixlang.runtime.weights.open import open_checkpoint

    width = context + tokens + 8
    config = EngineConfig(device=device, max_total_tokens=batch * width, context_length=width, weight_cache=False)
    executor = load_executor(config, open_checkpoint(model, dummy=True))
    table = np.zeros((config.max_running_requests, width), np.int32)
    table[:batch] = np.random.default_rng(0).permutation(batch * width).reshape(batch, width)
    every, samples = np.arange(batch, dtype=np.int32), [greedy(row) for row in range(batch)]

    def plan(position: int) -> StepPlan:
        at = np.full(batch, position, np.int32)
        return StepPlan(
            step=0, token_ids_T=every + 9, positions_T=at, slots_T=table[:batch, position].copy(),
            query_start_B1=np.arange(batch + 1, dtype=np.int32), kv_lens_B=at + 1, table_rows_B=every,
            page_table=table, samples=samples,
        )  # fmt: skip

    executor.execute(plan(context))
    started = time.perf_counter()
    if hasattr(executor, "launch"):
        for launched in [executor.launch(plan(context + i), relays=False) for i in range(tokens)]:
            launched.result()
    else:
        for i in range(tokens):
            executor.execute(plan(context + i))
    return batch * tokens / (time.perf_counter() - started)


def part(options: argparse.Namespace) -> dict[str, float]:
    """What one process measures."""
    model, small = Path(options.model), options.shape == "tiny"
    batch, context, tokens = (4, 128, 16) if small else (64, 1024, 128)
    if options.part == "kernels":
        from gpu_kernels import table

        return table(options.device)
    if options.part == "peer":
        from gpu_peer import transformers_peer

        return transformers_peer(
            model, options.device, batches=(1, batch), count=batch, size=32 if small else 128
        )  # fmt: skip
    if options.part == "alone":
        return {f"decode bs {batch}, no scheduler": alone(model, options.device, batch, context, tokens)}
    if options.part == "no cache":
        ours = Ours(model, options.device, disable_radix_cache=True)
        return {f"{name}, cache off, seconds": reuse(ours.run, name) for name in options.reuse}
    if options.part == "no overlap":
        ours = Ours(model, options.device, disable_overlap_schedule=True)
        return {f"decode bs {batch}, overlap off": decode(ours.run, batch, context, tokens)}
    ours, found = Ours(model, options.device), {}
    for size in (1, batch) if small else (1, batch, 256):
        found[f"decode bs {size}"] = decode(ours.run, size, context, tokens)
    rng, length = random.Random(3), 512 if small else 8192
    ours.run([(words(rng, length), 1)])
    found[f"prefill {length}"] = length / min(timed(ours.run, [(words(rng, length), 1)]) for _ in range(3))
    count, size = (4, 32) if small else (256, 1000)
    found[f"offline {count} x {size}/{size}"] = (
        count * size / timed(ours.run, [(words(rng, size), size) for _ in range(count)])
    )
    size = 32 if small else 128
    found[f"ours beside transformers, {batch} x {size}/{size}"] = (
        batch * size / timed(ours.run, [(words(rng, size), size) for _ in range(batch)])
    )
    return found | {f"{name}, cache on, seconds": reuse(ours.run, name) for name in options.reuse}


def roofline(shape: str, bandwidth: float, arithmetic: float) -> dict[str, float]:
    """Tokens a second that the card's measured limits allow."""
    layers, hidden, inner, heads, kv_heads, dim, vocab, _ = SHAPES[shape]
    body = layers * (hidden * dim * (2 * heads + 2 * kv_heads) + 3 * hidden * inner)
    weights, a_token = body + hidden * vocab, 2 * kv_heads * dim * layers * 2

    def step(batch: int, context: int) -> float:
        return max(2 * weights / bandwidth, 2 * weights * batch / arithmetic) + batch * context * a_token / bandwidth

    allowed = {f"decode bs {batch}": batch / step(batch, 1088) for batch in (1, 4, 64, 256)}
    allowed |= {f"decode bs {batch}, no scheduler": batch / step(batch, 1088) for batch in (4, 64)}
    return allowed | {"prefill 8192": arithmetic / (2 * body), "offline 256 x 1000/1000": 256 / step(256, 1500)}


def ratios(found: dict[str, float], names: list[str]) -> list[tuple[str, float, str]]:
    """(what, how much, beside what) of rows that are compared with each other."""
    told: list[tuple[str, float, str]] = []

    def tell(what: str, over: str, under: str, goal: str) -> None:
        if found.get(over) and found.get(under):
            told.append((what, found[over] / found[under], goal))

    for batch in (4, 64):
        decode = f"decode bs {batch}"
        tell("overlap on / off", decode, f"{decode}, overlap off", "goal 1.10")
        tell("scheduled / device alone (1 less the idle share)", decode, f"{decode}, no scheduler", "goal 0.98")
        tell(f"ours / transformers generate, bs {batch}", decode, f"transformers generate, bs {batch}", "")
        for size in (32, 128):
            load = f"{batch} x {size}/{size}"
            tell(
                "ours / transformers continuous batching", f"ours beside transformers, {load}",
                f"transformers continuous batching, {load}", "goal 5",
            )  # fmt: skip
    for name in names:
        tell(f"{name}: cache off / on", f"{name}, cache off, seconds", f"{name}, cache on, seconds",
             f"goal 0.7 of {work_ratio(name):.2f} by work")  # fmt: skip
    return told


def run_part(name: str, options: argparse.Namespace, folder: str, seconds: float) -> dict[str, float]:
    """What the part's process tells; empty, with a line that says why, where it fails or takes too long."""
    command = [
        sys.executable, __file__, "--part", name, "--model", folder, "--shape", options.shape,
        "--device", options.device, "--reuse", *options.reuse,
    ]  # fmt: skip
    started = time.perf_counter()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"{name}: left out, it took more than the {seconds:.0f} s that were left", file=sys.stderr)
        return {}
    if done.returncode:
        print(f"{name}: failed with status {done.returncode}", file=sys.stderr)
        return {}
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="8b", choices=list(SHAPES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--reuse", nargs="*", default=["shared_prefix", "tree_of_thought", "agents"])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--budget-s", type=float, default=470.0, help="seconds for all parts together")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the JSON file")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print("\n" + json.dumps(part(options)))
        return 0
    begun, found, failed = time.perf_counter(), {}, []
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), options.shape)
        for name in options.parts:
            left = options.budget_s - (time.perf_counter() - begun)
            told = run_part(name, options, folder, left) if left > 0 else {}
            found |= told
            failed += [] if told else [name]
    bandwidth, arithmetic = (found.pop(name, 0.0) for name in ("bytes/s", "operations/s"))
    allowed = roofline(options.shape, bandwidth, arithmetic) if options.device == "cuda" and bandwidth else {}
    kernels = {name: value for name, value in found.items() if name.startswith("kernel ")}
    compared = ratios(found, options.reuse)
    print(
        f"\n{bandwidth / 1e12:.2f} TB/s, {arithmetic / 1e12:.1f} TFLOP/s in bfloat16, measured; load {os.getloadavg()}"
    )
    print(f"\n| {options.shape} on {options.device} | measured | share of the limit |\n| --- | ---: | ---: |")
    for name, value in found.items():
        if name not in kernels:
            share = f"{value / allowed[name]:.2f}" if name in allowed else ""
            unit = "s" if name.endswith("seconds") else "tokens/s"
            print(f"| {name.removesuffix(', seconds')} | {value:.2f} {unit} | {share} |")
    for what, ratio, goal in compared:
        print(f"| {what} | {ratio:.2f} | {goal} |")
    for name in [name for name in kernels if name.endswith(" µs")]:
        stem = name.removesuffix(" µs")
        beside = kernels.get(f"{stem} torch / ours")
        rest = f"{kernels[f'{stem} share']:.2f}" + (f", torch's own / ours {beside:.2f}" if beside else "")
        print(f"| {stem} | {kernels[name]:.1f} µs | {rest} |")
    out = options.out / f"gpu_{options.shape}_{options.device}.json"
    out.parent.mkdir(exist_ok=True)
    report = {
        "found": found, "allowed": allowed, "ratios": compared, "bytes_s": bandwidth, "operations_s": arithmetic,
        "seconds": time.perf_counter() - begun, "failed": failed,
    }  # fmt: skip
    out.write_text(json.dumps(report, indent=1))
    print(f"\n{out}, {report['seconds']:.0f} s" + (f"; without {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
