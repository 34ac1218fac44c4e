"""Compiles every Triton kernel, as its host code launches it, for GPUs that need not be here.

    python examples/bench/compile_kernels.py [80 90 …]        compute capabilities; default 80 90

Prints kernel, registers, spills and shared memory; any failure ends with status 1.
"""

from __future__ import annotations

import os
import sys

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from radixlang.kernels.paged import describe
from radixlang.kernels.reference.batch import PackedBatch
from radixlang.kernels.reference.matmul import pack_w4, quantise_rows
from radixlang.kernels.triton import activation, attention, grouped, kv_store, matmul, norm, sampling

BF16 = torch.bfloat16


class Elsewhere:
    """A driver whose device is not here."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_interface(self):
        return torch.cuda


def launches(capability: int) -> None:
    """Every kernel in the shapes and types of Llama 3 8B, and with every option once; FP8 from 8.9 on."""
    import numpy as np

    heads, kv_heads, dim = 32, 8, 128
    starts, lengths, rows = (np.array(x, np.int32) for x in ([0, 1, 2, 66], [100, 200, 300], [0, 1, 2]))
    table = torch.zeros(4, 512, dtype=torch.int32)
    pages = describe(starts, lengths, rows, table, heads // kv_heads)
    batch = PackedBatch([], torch.zeros(66, dtype=torch.int64), pages)
    q = torch.zeros(66, heads, dim, dtype=BF16)
    fp8 = [torch.float8_e4m3fn] if capability >= 89 else []
    for pool in (BF16, torch.int8, *fp8):
        kv = torch.zeros(512, 2 * kv_heads, dim, dtype=pool)
        scale = torch.zeros(512, 2 * kv_heads) if pool == torch.int8 else None
        attention.attention(q, kv, scale, batch, scale=0.1)
        qkv, rope = torch.zeros(66, heads + 2 * kv_heads, dim, dtype=BF16), torch.zeros(66, dim // 2)
        slots = torch.zeros(66, dtype=torch.int64)
        kv_store.rotate_and_store(qkv, (rope, rope), kv, scale, slots, num_heads=heads, interleaved=False)
    kv = torch.zeros(512, 2 * kv_heads, dim, dtype=BF16)
    attention.attention(q, kv, None, batch, scale=0.1, window=64, softcap=30.0)
    pages.tree_TW = torch.zeros(66, 2, dtype=torch.int32)
    attention.attention(q, kv, None, batch, scale=0.1)
    x, weight = torch.zeros(66, 4096, dtype=BF16), torch.zeros(4096)
    norm.rms_norm(x, weight, 1e-5)
    norm.add_rms_norm(x, x.clone(), weight, 1e-5, 1.0)
    for kind in ("silu", "gelu", "gelu_tanh", "relu2"):
        activation.gated(torch.zeros(66, 1024, dtype=BF16), kind)
    for size in (1, 66):
        groups = torch.zeros(256, 4096 // 32, dtype=torch.float16)
        matmul.linear_w4(x[:size], pack_w4(torch.zeros(256, 4096), 32), groups, groups, None)
        for kind8 in (torch.int8, *fp8):
            matmul.linear_w8a8(x[:size], quantise_rows(torch.ones(256, 4096), kind8)[0], torch.zeros(256, 1), None)
    grouped.moe(
        x, torch.zeros(4, 512, 4096, dtype=BF16), torch.zeros(4, 4096, 256, dtype=BF16),
        torch.zeros(66, 2, dtype=torch.int32), torch.zeros(66, 2), "silu",
    )  # fmt: skip
    grouped.add_lora(
        x, x.clone(), torch.zeros(2, 16, 4096, dtype=BF16), torch.zeros(2, 4096, 16, dtype=BF16),
        torch.zeros(2), torch.zeros(66, dtype=torch.int32),
    )  # fmt: skip
    logits, nothing = torch.zeros(4, 128256), torch.zeros(0, dtype=torch.int32)
    sampling.sample_rows(
        logits, torch.zeros(4, dtype=torch.int32), torch.zeros(4, 6), torch.zeros(4, 6, dtype=torch.int32),
        torch.zeros(4, dtype=torch.float64), masks_MW=torch.zeros(1, 4008, dtype=torch.int32), bias_ids=nothing,
        bias_values=torch.zeros(0), penalty_ids=nothing, penalty_counts=nothing,
    )  # fmt: skip
    sampling.logprobs_of(logits, torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.int32))


def main() -> int:
    launch = JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        compiled = launch(self, *args, grid=grid, warmup=True, **options)
        assert "cubin" in compiled.asm
        seen[self.fn.__name__, compiled.hash] = compiled
        return compiled

    JITFunction.run = compile_only
    for capability in map(int, sys.argv[1:] or ("80", "90")):
        seen: dict[tuple[str, str], triton.compiler.CompiledKernel] = {}
        triton.runtime.driver.set_active(Elsewhere(capability))
        launches(capability)
        print(f"sm_{capability}: {len(seen)} kernels")
        for (name, _), compiled in seen.items():
            print(f"  {name:20} shared {compiled.metadata.shared:7} B, {compiled.metadata.num_warps} warps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
