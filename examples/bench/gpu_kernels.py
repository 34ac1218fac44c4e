"""Triton kernels against what the card can do and against torch's own calls. One table.

    python examples/bench/gpu_kernels.py                                on a CUDA device
    python examples/bench/gpu_kernels.py --tune                         first finds the best tiles for this card
    python examples/bench/gpu_kernels.py --device cpu                   in triton's interpreter, to see that it runs

The card's limits are measured first: a copy for bandwidth, a square bfloat16 product for arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

if "cpu" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

import numpy as np
import torch
from torch.nn import functional

BF16 = torch.bfloat16


class Shape(NamedTuple):
    """What is measured, of Llama 3 8B or for a look."""

    heads: int = 32
    kv_heads: int = 8
    dim: int = 128
    hidden: int = 4096
    inner: int = 14336
    vocab: int = 128256
    batches: tuple[int, ...] = (1, 64, 256)
    context: int = 1024
    prompts: tuple[int, ...] = (2048, 8192)
    rows: tuple[int, ...] = (1, 64, 512)
    turn: tuple[int, int] = (64, 16384)
    """New rows behind a cached prefix."""


TINY = Shape(4, 2, 16, 64, 64, 500, (2,), 32, (20,), (3,), (3, 600))
SHAPE, DEVICE = Shape(), "cuda"


def use(device: str) -> None:
    """A CPU is given the small shape: the interpreter takes seconds for a kernel."""
    global SHAPE, DEVICE
    SHAPE, DEVICE = (Shape() if device == "cuda" else TINY), device


def seconds(call: Callable[[], object], repeats: int = 20) -> float:
    """Median of runs behind a flush of the L2 cache."""
    if DEVICE == "cpu":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    flush = torch.empty(64 << 20, dtype=torch.int32, device="cuda")
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        flush.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]


def limits() -> tuple[float, float]:
    """(bytes a second, operations a second)"""
    size, side = (1 << 28, 8192) if DEVICE == "cuda" else (1 << 20, 256)
    source = torch.empty(size, dtype=torch.int32, device=DEVICE).random_(1000)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    square = torch.randn(side, side, dtype=BF16, device=DEVICE)
    return bandwidth, 2 * side**3 / seconds(lambda: square @ square)


def batch(rows: list[int], cached: list[int], max_context: int):
    """A packed batch over scattered slots, and the number of slots."""
    from radixlang.kernels.paged import describe
    from radixlang.kernels.reference.batch import PackedBatch

    lengths = np.array([r + c for r, c in zip(rows, cached, strict=True)], np.int32)
    total = int(lengths.sum())
    slots = np.random.default_rng(0).permutation(total).astype(np.int32)
    table = np.zeros((len(rows), max_context), np.int32)
    for b, end in enumerate(np.cumsum(lengths)):
        table[b, : lengths[b]] = slots[end - lengths[b] : end]
    starts = np.concatenate(([0], np.cumsum(rows))).astype(np.int32)
    paged = describe(
        starts, lengths, np.arange(len(rows), dtype=np.int32), torch.tensor(table, device=DEVICE),
        group=SHAPE.heads // SHAPE.kv_heads, head_dim=SHAPE.dim,
    )  # fmt: skip
    return PackedBatch([], torch.zeros(int(starts[-1]), dtype=torch.int64, device=DEVICE), paged), total


def attention_rows(bandwidth: float, arithmetic: float):
    from radixlang.kernels.triton.attention import attention

    for size in SHAPE.batches:
        packed, slots = batch([1] * size, [SHAPE.context - 1] * size, SHAPE.context)
        q = torch.randn(size, SHAPE.heads, SHAPE.dim, dtype=BF16, device=DEVICE)
        for dtype in (BF16, torch.int8):
            kv = torch.randn(slots, 2 * SHAPE.kv_heads, SHAPE.dim, device=DEVICE).to(dtype)
            scale = torch.ones(slots, 2 * SHAPE.kv_heads, device=DEVICE) if dtype == torch.int8 else None
            took = seconds(lambda q=q, kv=kv, s=scale, p=packed: attention(q, kv, s, p, scale=0.1))
            k = torch.randn(size, SHAPE.kv_heads, SHAPE.context, SHAPE.dim, dtype=BF16, device=DEVICE)
            one = q.view(size, SHAPE.heads, 1, SHAPE.dim)
            peer = seconds(lambda q=one, k=k: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True))
            name = f"decode attention, {size} x {SHAPE.context}, {str(dtype).removeprefix('torch.')}"
            yield name, took, kv.nbytes / took / bandwidth, peer
    for length in SHAPE.prompts:
        packed, slots = batch([length], [0], length)
        q = torch.randn(length, SHAPE.heads, SHAPE.dim, dtype=BF16, device=DEVICE)
        kv = torch.randn(slots, 2 * SHAPE.kv_heads, SHAPE.dim, dtype=BF16, device=DEVICE)
        took = seconds(lambda q=q, kv=kv, p=packed: attention(q, kv, None, p, scale=0.1), 10)
        q4, k4 = q.transpose(0, 1)[None], kv[:, : SHAPE.kv_heads].transpose(0, 1)[None].contiguous()
        peer = seconds(
            lambda q=q4, k=k4: functional.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True), 10
        )
        work = 4 * SHAPE.heads * SHAPE.dim * length * length / 2
        yield f"extend attention, {length} rows", took, work / took / arithmetic, peer
    rows, cached = SHAPE.turn
    packed, slots = batch([rows], [cached], rows + cached)
    q = torch.randn(rows, SHAPE.heads, SHAPE.dim, dtype=BF16, device=DEVICE)
    kv = torch.randn(slots, 2 * SHAPE.kv_heads, SHAPE.dim, dtype=BF16, device=DEVICE)
    took = seconds(lambda q=q, kv=kv, p=packed: attention(q, kv, None, p, scale=0.1))
    work = 4 * SHAPE.heads * SHAPE.dim * rows * cached
    share = max(work / arithmetic, kv.nbytes / bandwidth) / took
    q4, k4 = q.transpose(0, 1)[None], kv[:, : SHAPE.kv_heads].transpose(0, 1)[None].contiguous()
    peer = seconds(lambda q=q4, k=k4: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    yield f"extend attention, {rows} rows behind {cached}", took, share, peer


def linear_rows(bandwidth: float, arithmetic: float):
    from radixlang.kernels.reference.matmul import pack_w4
    from radixlang.kernels.triton.matmul import linear_w4, linear_w8a8

    weight = torch.randn(2 * SHAPE.inner, SHAPE.hidden, dtype=BF16, device=DEVICE)
    packed = pack_w4(torch.randint(0, 16, weight.shape, device=DEVICE), 32)
    scale = torch.rand(2 * SHAPE.inner, SHAPE.hidden // 32, device=DEVICE)
    eights = [
        (torch.randint(-127, 128, weight.shape, device=DEVICE).to(torch.int8), "int8"),
        (torch.randn(weight.shape, device=DEVICE).to(torch.float8_e4m3fn), "fp8"),
    ]
    for rows in SHAPE.rows:
        x = torch.randn(rows, SHAPE.hidden, dtype=BF16, device=DEVICE)
        peer = seconds(lambda x=x: functional.linear(x, weight))
        work = 2 * rows * weight.numel()
        size = packed.nbytes + 2 * scale.nbytes
        took = seconds(lambda x=x: linear_w4(x, packed, scale, scale, None))
        yield f"W4A16 linear, {rows} rows", took, max(work / arithmetic, size / bandwidth) / took, peer
        for eight, name in eights:
            took = seconds(lambda x=x, w=eight: linear_w8a8(x, w, torch.ones(len(w), 1, device=DEVICE), None))
            share = max(work / 2 / arithmetic, eight.nbytes / bandwidth) / took
            yield f"W8A8 {name} linear, {rows} rows", took, share, peer


def small_rows(bandwidth: float, _: float):
    from radixlang.kernels.triton import activation, kv_store, norm, sampling

    for rows in (64, 2048) if DEVICE == "cuda" else (3,):
        x = torch.randn(rows, SHAPE.hidden, dtype=BF16, device=DEVICE)
        weight, added = torch.ones(SHAPE.hidden, device=DEVICE), x.clone()
        took = seconds(lambda x=x, a=added, w=weight: norm.add_rms_norm(x, a, w, 1e-5, 1.0))
        peer = seconds(lambda x=x, a=added, w=weight: functional.rms_norm(x.add_(a).float(), w.shape, w, 1e-5).to(BF16))
        yield f"add + RMSNorm, {rows} rows", took, 4 * x.nbytes / took / bandwidth, peer
        inner = torch.randn(rows, 2 * SHAPE.inner, dtype=BF16, device=DEVICE)
        took = seconds(lambda i=inner: activation.gated(i, "silu"))
        peer = seconds(lambda i=inner: functional.silu(i[:, : SHAPE.inner]) * i[:, SHAPE.inner :])
        yield f"SiLU gate, {rows} rows", took, 1.5 * inner.nbytes / took / bandwidth, peer
        qkv = torch.randn(rows, SHAPE.heads + 2 * SHAPE.kv_heads, SHAPE.dim, dtype=BF16, device=DEVICE)
        rope = torch.rand(rows, SHAPE.dim // 2, device=DEVICE)
        kv = torch.zeros(4096, 2 * SHAPE.kv_heads, SHAPE.dim, dtype=BF16, device=DEVICE)
        slots = torch.randperm(4096, device=DEVICE)[:rows].int()
        took = seconds(
            lambda q=qkv, r=rope, kv=kv, s=slots: kv_store.rotate_and_store(
                q, (r, r), kv, None, s, num_heads=SHAPE.heads, interleaved=False
            )
        )
        yield f"rotary + KV store, {rows} rows", took, 2 * qkv.nbytes / took / bandwidth, None
    nothing = torch.zeros(0, dtype=torch.int32, device=DEVICE)
    for rows in (1, 64) if DEVICE == "cuda" else (2,):
        logits = torch.randn(rows, SHAPE.vocab, device=DEVICE)
        for name, values, top_k in (("top-p 0.9, top-k 50", (0.8, 0.9, 0.0), 50), ("no filter", (0.8, 1.0, 0.0), 0)):
            numbers = torch.tensor([[*values, 0.0, 0.0, 1.0]] * rows, device=DEVICE)
            integers = torch.tensor([[top_k, -1, 0, 0, 0, 0]] * rows, dtype=torch.int32, device=DEVICE)
            random = torch.rand(rows, dtype=torch.float64, device=DEVICE)
            index = torch.arange(rows, dtype=torch.int32, device=DEVICE)
            took = seconds(
                lambda x=logits, n=numbers, i=integers, r=random, at=index: sampling.sample_rows(
                    x, at, n, i, r, masks_MW=nothing.view(0, 0), bias_ids=nothing, bias_values=nothing.float(),
                    penalty_ids=nothing, penalty_counts=nothing,
                )
            )  # fmt: skip
            peer = seconds(lambda x=logits: torch.multinomial(torch.softmax(x.sort(-1, descending=True)[0], -1), 1))
            yield f"sampling, {name}, {rows} rows", took, logits.nbytes / took / bandwidth, peer


def expert_rows(bandwidth: float, arithmetic: float):
    """Experts of a Qwen3-30B layer: 128 of 768, 8 a token; beside a product of the same weights as one batch."""
    from radixlang.kernels.triton.grouped import moe

    experts, size, hidden, chosen = (128, 768, 2048, 8) if DEVICE == "cuda" else (4, 32, 64, 2)
    gate_up = torch.randn(experts, 2 * size, hidden, dtype=BF16, device=DEVICE) * 0.02
    down = torch.randn(experts, hidden, size, dtype=BF16, device=DEVICE) * 0.02
    for rows in SHAPE.rows:
        x = torch.randn(rows, hidden, dtype=BF16, device=DEVICE)
        weights, picked = torch.topk(torch.rand(rows, experts, device=DEVICE), chosen)
        took = seconds(lambda x=x, p=picked, w=weights: moe(x, gate_up, down, p, w, "silu"))
        wide = x.expand(experts, -1, -1)
        peer = seconds(
            lambda x=wide: torch.bmm(
                functional.silu(torch.bmm(x, gate_up[:, :size].mT)) * torch.bmm(x, gate_up[:, size:].mT), down.mT
            )
        )
        read = len(picked.unique()) * (gate_up[0].nbytes + down[0].nbytes)
        floor = max(read / bandwidth, 6 * rows * chosen * size * hidden / arithmetic)
        yield f"{experts} experts, {chosen} a token, {rows} rows", took, floor / took, peer


def tuned() -> Iterator[tuple[str, Callable[[], float]]]:
    """What `--tune` times: each kernel whose tiles are a choice, at every class of sizes that is measured."""
    from radixlang.kernels.reference.matmul import pack_w4
    from radixlang.kernels.triton.attention import attention
    from radixlang.kernels.triton.grouped import add_lora, moe
    from radixlang.kernels.triton.matmul import linear_w4, linear_w8a8

    def random(*shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        return (torch.randn(*shape, device=DEVICE) * 0.05).to(dtype)

    heads, kv_heads, dim, hidden = SHAPE.heads, SHAPE.kv_heads, SHAPE.dim, SHAPE.hidden
    for rows in ([1] * SHAPE.batches[-1], [64 // (heads // kv_heads)], [SHAPE.prompts[0]]):
        packed, slots = batch(rows, [SHAPE.context - 1] * len(rows), SHAPE.context + max(rows))
        q = random(sum(rows), heads, dim)
        for dtype in (BF16, torch.int8):
            kv = random(slots, 2 * kv_heads, dim).to(dtype)
            scale = torch.ones(slots, 2 * kv_heads, device=DEVICE) if dtype == torch.int8 else None
            yield (
                f"attention, {len(rows)} x {rows[0]} rows",
                lambda q=q, kv=kv, s=scale, p=packed: seconds(lambda: attention(q, kv, s, p, scale=0.1)),
            )
    for rows in (1, 32, 64, 128, 256, 2048) if DEVICE == "cuda" else (3,):
        x = random(rows, hidden)
        for features in (hidden, 4 * hidden):
            nibbles = pack_w4(torch.randint(0, 16, (features, hidden), device=DEVICE), 32)
            side = random(features, hidden // 32, dtype=torch.float16)
            yield (
                f"W4A16, {rows} rows",
                lambda x=x, w=nibbles, s=side: seconds(lambda: linear_w4(x, w, s, s, None)),
            )
        for dtype in (torch.int8, torch.float8_e4m3fn):
            for groups in (1, hidden // 32 if DEVICE == "cpu" else hidden // 128):
                eights, side = random(2 * hidden, hidden).to(dtype), torch.ones(2 * hidden, groups, device=DEVICE)
                yield (
                    f"W8A8 {dtype}, {groups} groups, {rows} rows",
                    lambda x=x, w=eights, s=side: seconds(lambda: linear_w8a8(x, w, s, None)),
                )
        experts, size, chosen = (128, 768, 8) if DEVICE == "cuda" else (4, 32, 2)
        gate_up, down = random(experts, 2 * size, hidden), random(experts, hidden, size)
        weights, picked = torch.topk(torch.rand(rows, experts, device=DEVICE), chosen)
        yield (
            f"experts, {rows} rows",
            lambda x=x, p=picked, w=weights, g=gate_up, d=down: seconds(lambda: moe(x, g, d, p, w, "silu")),
        )
        lora = random(8, 16, hidden), random(8, hidden, 16), torch.ones(8, device=DEVICE)
        of = torch.randint(-1, 8, (rows,), dtype=torch.int32, device=DEVICE)
        yield f"adapters, {rows} rows", lambda x=x, a=lora, of=of: seconds(lambda: add_lora(x.clone(), x, *a, of))


def measured(bandwidth: float, arithmetic: float) -> Iterator[tuple[str, float, float, float | None]]:
    """(kernel, seconds, share of the card's limit, seconds of torch's own call, where it has one)"""
    for rows in (attention_rows, linear_rows, expert_rows, small_rows):
        yield from rows(bandwidth, arithmetic)


def table(device: str) -> Iterator[tuple[str, float]]:
    """As numbers by name, for gpu.py."""
    use(device)
    bandwidth, arithmetic = limits()
    yield from (("bytes/s", bandwidth), ("operations/s", arithmetic))
    for name, took, share, peer in measured(bandwidth, arithmetic):
        yield f"kernel {name} share", share
        if peer is not None:
            yield f"kernel {name} torch / ours", peer / took
        yield f"kernel {name} µs", took * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--shape", default="8b", choices=["8b", "tiny"], help="a CPU always takes the tiny one")
    parser.add_argument("--tune", action="store_true", help="find the best tiles first; kernels read them from then on")
    parser.add_argument("--budget-s", type=float, default=1200.0, help="seconds for tuning")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: --device cpu, or compile_kernels.py, which compiles the kernels", file=sys.stderr)
        return 1
    use(options.device)
    if options.tune:
        from tune_kernels import tune

        from radixlang.kernels.triton.tiles import table_path

        path = table_path()
        tune(tuned(), budget_s=options.budget_s, path=path)
        print(f"{path or 'not kept: no GPU here'}\n")
    bandwidth, arithmetic = limits()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "the interpreter, on a CPU"
    print(f"{name}: {bandwidth / 1e12:.3f} TB/s, {arithmetic / 1e12:.3f} TFLOP/s in bfloat16\n")
    print(f"| {'kernel':38} | µs | share of the card's limit | torch's own / ours |\n| --- | ---: | ---: | ---: |")
    rows = []
    for kernel, took, share, peer in measured(bandwidth, arithmetic):
        ratio = "" if peer is None else f"{peer / took:.2f}"
        print(f"| {kernel:38} | {took * 1e6:.1f} | {share:.2f} | {ratio} |", flush=True)
        rows.append({"kernel": kernel, "seconds": took, "share": share, "torch_seconds": peer})
    out = Path("bench-results") / f"gpu_kernels_{options.device}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"bytes_s": bandwidth, "operations_s": arithmetic, "table": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
