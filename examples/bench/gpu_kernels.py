"""Triton kernels against what the card can do and against torch's own calls. One table.

    python examples/bench/gpu_kernels.py                 needs a CUDA device

The card's limits are measured first: a copy for bandwidth, a square bfloat16 product for arithmetic.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

HEADS, KV_HEADS, DIM, HIDDEN, INNER, VOCAB = 32, 8, 128, 4096, 14336, 128256
BF16 = torch.bfloat16


def seconds(call: Callable[[], object], repeats: int = 20) -> float:
    """Median of runs behind a flush of the L2 cache."""
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
    source = torch.empty(1 << 28, dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    square = torch.randn(8192, 8192, dtype=BF16, device="cuda")
    return bandwidth, 2 * 8192**3 / seconds(lambda: square @ square)


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
        starts, lengths, np.arange(len(rows), dtype=np.int32), torch.tensor(table, device="cuda"),
        HEADS // KV_HEADS,
    )  # fmt: skip
    return PackedBatch([], torch.zeros(int(starts[-1]), dtype=torch.int64, device="cuda"), paged), total


def attention_rows(bandwidth: float, arithmetic: float):
    from radixlang.kernels.triton.attention import attention

    for size in (1, 64, 256):
        packed, slots = batch([1] * size, [1023] * size, 1024)
        q = torch.randn(size, HEADS, DIM, dtype=BF16, device="cuda")
        for dtype in (BF16, torch.int8):
            kv = torch.zeros(slots, 2 * KV_HEADS, DIM, dtype=dtype, device="cuda")
            scale = torch.ones(slots, 2 * KV_HEADS, device="cuda") if dtype == torch.int8 else None
            took = seconds(lambda q=q, kv=kv, s=scale, p=packed: attention(q, kv, s, p, scale=0.1))
            k = torch.randn(size, KV_HEADS, 1024, DIM, dtype=BF16, device="cuda")
            one = q.view(size, HEADS, 1, DIM)
            peer = seconds(lambda q=one, k=k: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True))
            name = f"decode attention, {size} x 1024, {str(dtype).removeprefix('torch.')}"
            yield name, took, kv.nbytes / took / bandwidth, peer
    for length in (2048, 8192):
        packed, slots = batch([length], [0], length)
        q = torch.randn(length, HEADS, DIM, dtype=BF16, device="cuda")
        kv = torch.randn(slots, 2 * KV_HEADS, DIM, dtype=BF16, device="cuda")
        took = seconds(lambda q=q, kv=kv, p=packed: attention(q, kv, None, p, scale=0.1), 10)
        q4, k4 = q.transpose(0, 1)[None], kv[:, :KV_HEADS].transpose(0, 1)[None].contiguous()
        peer = seconds(
            lambda q=q4, k=k4: functional.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True), 10
        )
        work = 4 * HEADS * DIM * length * length / 2
        yield f"extend attention, {length} rows", took, work / took / arithmetic, peer


def linear_rows(bandwidth: float, arithmetic: float):
    from radixlang.kernels.reference.matmul import pack_w4
    from radixlang.kernels.triton.matmul import linear_w4, linear_w8a8

    weight = torch.randn(2 * INNER, HIDDEN, dtype=BF16, device="cuda")
    packed = pack_w4(torch.randint(0, 16, weight.shape, device="cuda"), 32)
    scale = torch.rand(2 * INNER, HIDDEN // 32, device="cuda")
    eights = [
        (torch.randint(-127, 128, weight.shape, device="cuda").to(torch.int8), "int8"),
        (torch.randn(weight.shape, device="cuda").to(torch.float8_e4m3fn), "fp8"),
    ]
    for rows in (1, 64, 512):
        x = torch.randn(rows, HIDDEN, dtype=BF16, device="cuda")
        peer = seconds(lambda x=x: functional.linear(x, weight))
        work = 2 * rows * weight.numel()
        size = packed.nbytes + 2 * scale.nbytes
        took = seconds(lambda x=x: linear_w4(x, packed, scale, scale, None))
        yield f"W4A16 linear, {rows} rows", took, max(work / arithmetic, size / bandwidth) / took, peer
        for eight, name in eights:
            took = seconds(lambda x=x, w=eight: linear_w8a8(x, w, torch.ones(len(w), device="cuda"), None))
            share = max(work / 2 / arithmetic, eight.nbytes / bandwidth) / took
            yield f"W8A8 {name} linear, {rows} rows", took, share, peer


def small_rows(bandwidth: float, _: float):
    from radixlang.kernels.triton import activation, kv_store, norm, sampling

    for rows in (64, 2048):
        x = torch.randn(rows, HIDDEN, dtype=BF16, device="cuda")
        weight, added = torch.ones(HIDDEN, device="cuda"), x.clone()
        took = seconds(lambda x=x, a=added, w=weight: norm.add_rms_norm(x, a, w, 1e-5, 1.0))
        peer = seconds(lambda x=x, a=added, w=weight: functional.rms_norm(x.add_(a).float(), w.shape, w, 1e-5).to(BF16))
        yield f"add + RMSNorm, {rows} rows", took, 4 * x.nbytes / took / bandwidth, peer
        inner = torch.randn(rows, 2 * INNER, dtype=BF16, device="cuda")
        took = seconds(lambda i=inner: activation.gated(i, "silu"))
        peer = seconds(lambda i=inner: functional.silu(i[:, :INNER]) * i[:, INNER:])
        yield f"SiLU gate, {rows} rows", took, 1.5 * inner.nbytes / took / bandwidth, peer
        qkv = torch.randn(rows, HEADS + 2 * KV_HEADS, DIM, dtype=BF16, device="cuda")
        rope = torch.rand(rows, DIM // 2, device="cuda")
        kv = torch.zeros(4096, 2 * KV_HEADS, DIM, dtype=BF16, device="cuda")
        slots = torch.randperm(4096, device="cuda")[:rows].int()
        took = seconds(
            lambda q=qkv, r=rope, kv=kv, s=slots: kv_store.rotate_and_store(
                q, (r, r), kv, None, s, num_heads=HEADS, interleaved=False
            )
        )
        yield f"rotary + KV store, {rows} rows", took, 2 * qkv.nbytes / took / bandwidth, float("nan")
    nothing = torch.zeros(0, dtype=torch.int32, device="cuda")
    for rows in (1, 64):
        logits = torch.randn(rows, VOCAB, device="cuda")
        for name, values, top_k in (("top-p 0.9, top-k 50", (0.8, 0.9, 0.0), 50), ("no filter", (0.8, 1.0, 0.0), 0)):
            numbers = torch.tensor([[*values, 0.0, 0.0, 1.0]] * rows, device="cuda")
            integers = torch.tensor([[top_k, -1, 0, 0, 0, 0]] * rows, dtype=torch.int32, device="cuda")
            random = torch.rand(rows, dtype=torch.float64, device="cuda")
            index = torch.arange(rows, dtype=torch.int32, device="cuda")
            took = seconds(
                lambda x=logits, n=numbers, i=integers, r=random, at=index: sampling.sample_rows(
                    x, at, n, i, r, masks_MW=nothing.view(0, 0), bias_ids=nothing, bias_values=nothing.float(),
                    penalty_ids=nothing, penalty_counts=nothing,
                )
            )  # fmt: skip
            peer = seconds(lambda x=logits: torch.multinomial(torch.softmax(x.sort(-1, descending=True)[0], -1), 1))
            yield f"sampling, {name}, {rows} rows", took, logits.nbytes / took / bandwidth, peer


def main() -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: examples/bench/compile_kernels.py compiles the kernels without one", file=sys.stderr)
        return 1
    bandwidth, arithmetic = limits()
    print(f"{torch.cuda.get_device_name()}: {bandwidth / 1e12:.2f} TB/s, {arithmetic / 1e12:.0f} TFLOP/s in bfloat16\n")
    print(f"| {'kernel':38} | µs | share of the card's limit | torch's own / ours |\n| --- | ---: | ---: | ---: |")
    table = []
    for rows in (attention_rows, linear_rows, small_rows):
        for name, took, share, peer in rows(bandwidth, arithmetic):
            print(f"| {name:38} | {took * 1e6:.1f} | {share:.2f} | {peer / took:.2f} |", flush=True)
            table.append({"kernel": name, "seconds": took, "share": share, "torch_seconds": peer})
    out = Path("bench-results") / "gpu_kernels.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"bytes_s": bandwidth, "flop_s": arithmetic, "table": table}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
