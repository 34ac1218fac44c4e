"""What this folder registers: for CUDA devices, above the reference."""

from __future__ import annotations

from ..registry import register
from . import activation, attention, grouped, kv_store, matmul, norm, sampling


def register_all() -> None:
    def add(op: str, kernel: object, **options: object) -> None:
        register(op, kernel, name="triton", device="cuda", rank=2, **options)  # type: ignore[arg-type]

    add("attention", attention.attention, fits=attention.fits)
    add("rotate_and_store", kv_store.rotate_and_store)
    add("rms_norm", norm.rms_norm)
    add("add_rms_norm", norm.add_rms_norm)
    add("gated", activation.gated)
    add("linear_w4", matmul.linear_w4)
    add("linear_w8a8", matmul.linear_w8a8, fits=matmul.fits_w8a8)
    add("moe", grouped.moe)
    add("add_lora", grouped.add_lora)
    add("sample_rows", sampling.sample_rows)
    add("logprobs_of", sampling.logprobs_of)
