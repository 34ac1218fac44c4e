"""Llama shapes with random weights on one GPU: kernels, decode, prefill, offline, reuse, overlap, peers. One table.

    python examples/bench/gpu.py                              Llama 3 8B and 1B shapes, under 8 minutes
    python examples/bench/gpu.py --shape tiny --device cpu    the same on a CPU, to see that it runs

Every part is a process of its own with a share of --budget-s; what overruns its share is cut and named, and what it
told until then is kept. Shares are of a roofline measured on the same card: max(weights / bandwidth,
2 · weights · rows / arithmetic) + KV / bandwidth. The goals, of 8B shapes on an H200, stand beside the figures.
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
from collections.abc import Iterator
from pathlib import Path

from gpu_table import CUT, SHAPES, report
from workloads import REUSE, words

WEIGHTS = {"kernels": 1.6, "main": 3.0, "no overlap": 1.0, "no cache": 2.0, "alone": 1.0, "peer": 1.5}
"""Parts in their order, and their shares of the time."""
MARK = "@told "


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
    """Tokens a second; the prompts lie in the cache, and a run of one token each is taken off."""
    rng = random.Random(batch)
    prompts = [words(rng, context) for _ in range(batch)]
    run([(ids, 2) for ids in prompts])
    first = timed(run, [(ids, 1) for ids in prompts])
    both = timed(run, [(ids, 1 + tokens) for ids in prompts])
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


def part(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """What one process measures, told as soon as it is known."""
    model, small = Path(options.model), options.shape == "tiny"
    batch, context, tokens = (4, 128, 16) if small else (64, 1024, 128)
    if options.part == "kernels":
        from gpu_kernels import table

        yield from table(options.device)
    elif options.part == "peer":
        from gpu_peer import transformers_peer

        yield from transformers_peer(
            model, options.device, batches=(1, batch), count=batch, size=32 if small else 128
        )  # fmt: skip
    elif options.part == "alone":
        yield f"decode bs {batch}, no scheduler", alone(model, options.device, batch, context, tokens)
    elif options.part == "no cache":
        ours = Ours(model, options.device, disable_radix_cache=True)
        for name in options.reuse:
            yield f"{name}, cache off, seconds", reuse(ours.run, name)
    elif options.part == "no overlap":
        ours = Ours(model, options.device, disable_overlap_schedule=True)
        yield f"decode bs {batch}, overlap off", decode(ours.run, batch, context, tokens)
    else:
        yield from ours_alone(Ours(model, options.device), options.reuse, small, batch, context, tokens)


def ours_alone(
    ours: Ours, names: list[str], small: bool, batch: int, context: int, tokens: int
) -> Iterator[tuple[str, float]]:
    """The engine as it is started by default."""
    for size in (1, batch) if small else (1, batch, 256):
        yield f"decode bs {size}", decode(ours.run, size, context, tokens)
    rng, length = random.Random(3), 512 if small else 8192
    ours.run([(words(rng, length), 1)])
    yield f"prefill {length}", length / min(timed(ours.run, [(words(rng, length), 1)]) for _ in range(3))
    size = 32 if small else 128
    yield (
        f"ours beside transformers, {batch} x {size}/{size}",
        batch * size / timed(ours.run, [(words(rng, size), size) for _ in range(batch)]),
    )
    for name in names:
        yield f"{name}, cache on, seconds", reuse(ours.run, name)
    count, size = (4, 32) if small else (256, 1000)
    yield (
        f"offline {count} x {size}/{size}",
        count * size / timed(ours.run, [(words(rng, size), size) for _ in range(count)]),
    )


def run_part(name: str, options: argparse.Namespace, shape: str, folder: str, seconds: float) -> dict[str, float]:
    """What the part's process told until it ended, failed or was cut; a line says so."""
    command = [
        sys.executable, __file__, "--part", name, "--model", folder, "--shape", shape,
        "--device", options.device, "--reuse", *options.reuse,
    ]  # fmt: skip
    started = time.perf_counter()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=seconds)
        out, end = done.stdout, f"FAILED with status {done.returncode}" if done.returncode else "done"
    except subprocess.TimeoutExpired as late:
        raw = late.stdout or b""
        out, end = raw if isinstance(raw, str) else raw.decode(), f"CUT: its share was {seconds:.0f} s"
    print(f"{shape}, {name}: {end}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    told = [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]
    return dict(told) | ({} if end == "done" else {f"{CUT}{name}": 1.0})


def run_shape(options: argparse.Namespace, shape: str, parts: list[str], until: float) -> dict[str, float]:
    """All parts, one after the other; who ends early leaves time for those behind."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), shape)
        for i, name in enumerate(parts):
            left = until - time.perf_counter()
            share = left * WEIGHTS[name] / sum(WEIGHTS[other] for other in parts[i:])
            found |= run_part(name, options, shape, folder, share) if share > 1 else {f"{CUT}{name}": 1.0}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["8b", "1b"], choices=list(SHAPES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--reuse", nargs="*", default=["shared_prefix", "tree_of_thought", "agents"])
    parser.add_argument("--parts", nargs="+", choices=list(WEIGHTS), help="default: all; main alone of a second shape")
    parser.add_argument("--budget-s", type=float, default=460.0, help="seconds for everything together")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the JSON file")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        options.shape = options.shape[0]
        for told in part(options):
            print(f"\n{MARK}{json.dumps(told)}", flush=True)
        return 0
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("no CUDA device here: --device cpu --shape tiny, to see that it runs", file=sys.stderr)
            return 1
    begun, tables, limits = time.perf_counter(), {}, (0.0, 0.0)
    for i, shape in enumerate(options.shape):
        parts = options.parts or (list(WEIGHTS) if i == 0 else ["main"])
        weights = [
            sum(WEIGHTS[name] for name in (list(WEIGHTS) if j == 0 else ["main"])) for j in range(len(options.shape))
        ]
        left = options.budget_s - (time.perf_counter() - begun)
        found = run_shape(options, shape, parts, time.perf_counter() + left * weights[i] / sum(weights[i:]))
        measured = (found.pop("bytes/s", 0.0), found.pop("operations/s", 0.0))
        limits = measured if all(measured) else limits
        if i == 0:
            speed = f"{limits[0] / 1e12:.2f} TB/s, {limits[1] / 1e12:.1f} TFLOP/s in bfloat16"
            print(f"{speed}, measured; load {os.getloadavg()}")
        tables[shape] = report(shape, options.device, found, limits, options.reuse) | {"found": found}
    out = options.out / f"gpu_{'_'.join(options.shape)}_{options.device}.json"
    out.parent.mkdir(exist_ok=True)
    seconds = time.perf_counter() - begun
    told = {"tables": tables, "bytes_s": limits[0], "operations_s": limits[1], "seconds": seconds}
    out.write_text(json.dumps(told, indent=1))
    print(f"\n{out}, {seconds:.0f} s")
    return 1 if any(table["cut"] for table in tables.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
