"""Compiles every Triton kernel, as its host code launches it, for GPUs that need not be here.

    python examples/bench/compile_kernels.py [80 90 …]        compute capabilities; default 80 90

Prints shared memory, registers and bytes of spilled registers; what does not compile, or does not fit into the shared
memory of that GPU, ends with status 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from radixlang.kernels.paged import describe
from radixlang.kernels.reference.batch import PackedBatch
from radixlang.kernels.reference.matmul import pack_w4, quantise_rows
from radixlang.kernels.triton import activation, attention, attention_extend, grouped, kv_store, matmul, norm, sampling
from radixlang.kernels.triton.tiles import has_large_memory

BF16 = torch.bfloat16
SHARED = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}
"""KiB that a program may take, by compute capability. Source: CUDA C++ Programming Guide, technical specifications."""
HEADS = [(32, 8, 128), (32, 8, 64), (9, 3, 64), (8, 4, 256), (71, 1, 64)]
"""Llama 3 8B, Llama 3.2 1B, SmolLM2, Gemma 2, Falcon 7B."""


class Elsewhere:
    """A driver whose device is not here."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch  # compiled kernels are remembered by device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_interface(self):
        return torch.cuda


def attention_launches(heads: int, kv_heads: int, dim: int, dtype: torch.dtype, pools: list[torch.dtype]) -> None:
    """Decoding and both tiles of extending, over each kind of pool."""
    for rows in (3, 64):
        q, batch = attention_batch(heads, kv_heads, dim, dtype, rows)
        for pool in pools:
            kv = torch.zeros(512, 2 * kv_heads, dim, dtype=pool)
            scale = torch.zeros(512, 2 * kv_heads) if pool == torch.int8 else None
            attention.attention(q, kv, scale, batch, scale=0.1)
            qkv, rope = torch.zeros(2 + rows, heads + 2 * kv_heads, dim, dtype=dtype), torch.zeros(2 + rows, dim // 2)
            slots = torch.zeros(2 + rows, dtype=torch.int32)
            kv_store.rotate_and_store(qkv, (rope, rope), kv, scale, slots, num_heads=heads, interleaved=False)


def attention_batch(heads: int, kv_heads: int, dim: int, dtype: torch.dtype, rows: int):
    """Two sequences that are decoded and one of so many rows, with their queries."""
    import numpy as np

    table = torch.zeros(4, 512, dtype=torch.int32)
    starts, lengths, of = (np.array(x, np.int32) for x in ([0, 1, 2, 2 + rows], [100, 200, 300], [0, 1, 2]))
    pages = describe(starts, lengths, of, table, group=heads // kv_heads, head_dim=dim)
    batch = PackedBatch([], torch.zeros(2 + rows, dtype=torch.int64), pages)
    return torch.zeros(2 + rows, heads, dim, dtype=dtype), batch


def launches(capability: int) -> None:
    """Every kernel in the shapes and types of known models, and with every option once; FP8 from 8.9 on."""
    fp8 = [torch.float8_e4m3fn] if capability >= 89 else []
    attention_launches(*HEADS[0], BF16, [BF16, torch.int8, *fp8])
    for heads in HEADS[1:]:
        attention_launches(*heads, BF16, [BF16])
    attention_launches(*HEADS[0], torch.float16, [torch.float16])
    attention_extend.num_splits = lambda *_: 2  # a tile of few rows behind a long prefix
    attention_launches(*HEADS[0], BF16, [BF16])
    q, batch = attention_batch(*HEADS[0], BF16, 64)
    kv = torch.zeros(512, 16, 128, dtype=BF16)
    attention.attention(q, kv, None, batch, scale=0.1, window=64, softcap=30.0)
    batch.paged.tree_2T = torch.zeros(2, 66, dtype=torch.int32)
    attention.attention(q, kv, None, batch, scale=0.1)
    qkv, slots = torch.zeros(66, 48, 128, dtype=BF16), torch.zeros(66, dtype=torch.int32)
    kv_store.rotate_and_store(qkv, None, kv, None, slots, num_heads=32, interleaved=False)
    x, weight = torch.zeros(66, 4096, dtype=BF16), torch.zeros(4096)
    norm.rms_norm(x, weight, 1e-5)
    norm.add_rms_norm(x, x.clone(), weight, 1e-5, 1.0)
    for kind in ("silu", "gelu", "gelu_tanh", "relu2"):
        activation.gated(torch.zeros(66, 1024, dtype=BF16), kind)
    wide = torch.zeros(130, 4096, dtype=BF16)
    for size in (1, 20, 40, 130):
        for kind in (torch.float16, torch.float32):
            groups = torch.zeros(256, 4096 // 32, dtype=kind)
            matmul.linear_w4(wide[:size], pack_w4(torch.zeros(256, 4096), 32), groups, groups, None)
        for kind8 in (torch.int8, *fp8):
            for count in (1, 32):
                eights = quantise_rows(torch.ones(256, 4096), kind8)[0]
                matmul.linear_w8a8(wide[:size], eights, torch.zeros(256, count), torch.zeros(256, dtype=BF16))
        grouped.moe(
            wide[:size], torch.zeros(4, 512, 4096, dtype=BF16), torch.zeros(4, 4096, 256, dtype=BF16),
            torch.zeros(size, 2, dtype=torch.int64), torch.zeros(size, 2), "silu",
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


def registers(compiled: triton.compiler.CompiledKernel) -> str:
    """What the compiler took, told by the disassembler that comes with triton."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        told = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=False)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told.stdout)
    return "" if found is None else f"{found[1]:>4} registers, {found[2]:>4} B spilled"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capabilities", metavar="CAPABILITY", type=int, nargs="*", default=[80, 90])
    capabilities = parser.parse_args().capabilities
    launch = JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        compiled = launch(self, *args, grid=grid, warmup=True, **options)
        assert "cubin" in compiled.asm
        if (self.fn.__name__, compiled.hash) not in seen:
            seen[self.fn.__name__, compiled.hash] = compiled
            shared, limit = compiled.metadata.shared, 1024 * SHARED.get(capability, 99)
            if shared > limit:
                too_large.append(self.fn.__name__)
            print(
                f"  {self.fn.__name__:20} {compiled.metadata.num_warps} warps, shared {shared:7} B, "
                + registers(compiled) + (f": MORE THAN {limit} B" if shared > limit else ""), flush=True,
            )  # fmt: skip
        return compiled

    JITFunction.run = compile_only
    too_large: list[str] = []
    for capability in capabilities:
        seen: dict[tuple[str, str], triton.compiler.CompiledKernel] = {}
        triton.runtime.driver.set_active(Elsewhere(capability))
        has_large_memory.cache_clear()
        print(f"sm_{capability}:")
        launches(capability)
        print(f"sm_{capability}: {len(seen)} kernels")
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
