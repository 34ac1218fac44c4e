"""Llama shapes with random weights on one GPU, end to end: decode, prefill, offline, reuse, overlap, peers. One table.

    python examples/bench/gpu.py                              Llama 3 8B shapes, under 8 minutes on an H200
    python examples/bench/gpu.py --shape tiny --device cpu    the same on a CPU, to see that it runs

Every configuration is an engine in a process of its own. Shares are of a roofline measured on the same card:
max(weights / bandwidth, 2 · weights · rows / arithmetic) + KV / bandwidth. `gpu_kernels.py` has the kernels alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from workloads import REUSE, PerfectCache

SHAPES = {  # layers, hidden, inner, heads, kv heads, head dim, vocabulary, tied head
    "8b": (32, 4096, 14336, 32, 8, 128, 128256, False),
    "1b": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "tiny": (2, 64, 128, 4, 2, 16, 30016, True),
}


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


def words(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(1000, 30000) for _ in range(length)]


class Ours:
    def __init__(self, model: Path, device: str, **options: object) -> None:
        import radixlang as sgl

        self.engine = sgl.Engine(
            model_path=str(model), load_format="dummy", device=device, speculative_algorithm="none",
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


def transformers_peer(model: Path, shape: str, device: str) -> dict[str, float]:
    """generate() in one padded-free batch, and its continuous batching where the version has it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(model)
    with torch.device(device):
        peer = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    rng, found = random.Random(1), {}
    for batch in (1, 64):
        ids = torch.tensor([words(rng, 128) for _ in range(batch)], device=device)
        run = partial(peer.generate, ids, do_sample=False, pad_token_id=1, eos_token_id=None)
        run(max_new_tokens=2)
        first = timed(lambda n, run=run: run(max_new_tokens=n), 1)
        both = timed(lambda n, run=run: run(max_new_tokens=n), 65)
        found[f"transformers generate, batch {batch}"] = batch * 64 / (both - first)
    if hasattr(peer, "generate_batch"):
        prompts = [words(rng, 128) for _ in range(64)]
        settings = GenerationConfig(max_new_tokens=128, do_sample=False, eos_token_id=-1, pad_token_id=1)
        peer.generate_batch(inputs=prompts[:4], generation_config=settings)
        took = timed(lambda _: peer.generate_batch(inputs=prompts, generation_config=settings), None)
        found["transformers continuous batching, 64 x 128/128"] = 64 * 128 / took
    return found


def part(options: argparse.Namespace) -> dict[str, float]:
    """What one process measures."""
    model, small = Path(options.model), options.shape == "tiny"
    if options.part == "peer":
        return transformers_peer(model, options.shape, options.device)
    if options.part == "no cache":
        ours = Ours(model, options.device, disable_radix_cache=True)
        return {f"{name}, cache off": reuse(ours.run, name) for name in options.reuse}
    if options.part == "no overlap":
        ours = Ours(model, options.device, disable_overlap_schedule=True)
        return {"decode bs 64, overlap off": decode(ours.run, 4 if small else 64, 128, 16 if small else 256)}
    ours, found = Ours(model, options.device), {}
    batches = (1, 4) if small else (1, 64, 256)
    for batch in batches:
        found[f"decode bs {batch}"] = decode(ours.run, batch, 128 if small else 1024, 16 if small else 128)
    found["decode bs 64, overlap on"] = decode(ours.run, 4 if small else 64, 128, 16 if small else 256)
    rng, length = random.Random(3), 512 if small else 8192
    ours.run([(words(rng, length), 1)])
    found["prefill, tokens/s"] = length / min(timed(ours.run, [(words(rng, length), 1)]) for _ in range(3))
    count, size = (4, 32) if small else (512, 1000)
    found[f"offline {count} x {size}/{size}, output tokens/s"] = (
        count * size / timed(ours.run, [(words(rng, size), size) for _ in range(count)])
    )
    found[f"64 x 128/128, output tokens/s ({'' if small else 'beside '}transformers)"] = (
        64 * 128 / timed(ours.run, [(words(rng, 128), 128) for _ in range(64)])
    )
    for name in options.reuse:
        found[f"{name}, cache on"] = reuse(ours.run, name)
    return found


def roofline(shape: str) -> dict[str, float]:
    """Tokens a second that the card's measured limits allow."""
    from gpu_kernels import limits

    bandwidth, arithmetic = limits()
    layers, hidden, inner, heads, kv_heads, dim, vocab, _ = SHAPES[shape]
    body = layers * (hidden * dim * (2 * heads + 2 * kv_heads) + 3 * hidden * inner)
    weights, a_token = body + hidden * vocab, 2 * kv_heads * dim * layers * 2
    allowed = {"prefill, tokens/s": arithmetic / (2 * body)}
    for batch in (1, 64, 256):
        step = max(2 * weights / bandwidth, 2 * weights * batch / arithmetic) + batch * 1088 * a_token / bandwidth
        allowed[f"decode bs {batch}"] = batch / step
    return allowed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="8b", choices=list(SHAPES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--reuse", nargs="*", default=["shared_prefix", "tree_of_thought", "agents"])
    parser.add_argument("--parts", nargs="+", default=["main", "no cache", "no overlap", "peer"])
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print("\n" + json.dumps(part(options)))
        return 0
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), options.shape)
        for name in options.parts:
            started = time.perf_counter()
            command = [
                sys.executable, __file__, "--part", name, "--model", folder, "--shape", options.shape,
                "--device", options.device, "--reuse", *options.reuse,
            ]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                print(f"{name}: failed with status {done.returncode}", file=sys.stderr)
                continue
            found |= json.loads(done.stdout.splitlines()[-1])
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    allowed = roofline(options.shape) if options.device == "cuda" else {}
    print(f"\n| {options.shape} | measured | share of the roofline |\n| --- | ---: | ---: |")
    for name, value in found.items():
        print(f"| {name} | {value:.2f} | {f'{value / allowed[name]:.2f}' if name in allowed else ''} |")
    for name in options.reuse:
        on, off = found.get(f"{name}, cache on"), found.get(f"{name}, cache off")
        if on and off:
            print(f"| {name}: cache off / on | {off / on:.2f} | of {work_ratio(name):.2f} by work |")
    out = Path("bench-results") / f"gpu_{options.shape}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"found": found, "allowed": allowed}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
