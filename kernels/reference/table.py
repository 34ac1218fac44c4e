"""What this folder registers: the plain meaning of every op, and torch's own faster calls beside it."""

from __future__ import annotations

from ..registry import register
from . import activation, attention, attention_fused, linear, linear_onednn, matmul, norm, rope, sampling


def register_all() -> None:
    register("attention", attention.attention, name="reference")
    register("attention", attention_fused.attention, name="sdpa", rank=1, fits=attention_fused.fits)
    register("rotate_and_store", rope.rotate_and_store, name="reference")
    register("pack_linear", linear.pack, name="reference")
    register("pack_linear", linear_onednn.pack, name="onednn", device="cpu", rank=1, fits=linear_onednn.fits_pack)
    register("linear", linear.linear, name="reference")
    register("linear", linear_onednn.linear, name="onednn", device="cpu", rank=1, fits=linear_onednn.fits)
    register("rms_norm", norm.rms_norm, name="reference")
    register("add_rms_norm", norm.add_rms_norm, name="reference")
    register("layer_norm", norm.layer_norm, name="reference")
    register("gated", activation.gated, name="reference")
    register("activate", activation.activate, name="reference")
    register("linear_w4", matmul.linear_w4, name="reference")
    register("linear_w8a8", matmul.linear_w8a8, name="reference")
    register("moe", matmul.moe, name="reference")
    register("add_lora", matmul.add_lora, name="reference")
    register("sample_rows", sampling.sample_rows, name="reference")
    register("logprobs_of", sampling.logprobs_of, name="reference")
