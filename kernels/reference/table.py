"""What this folder registers: the plain meaning of every op, and torch's own faster calls beside it."""

from __future__ import annotations

from ..registry import register
from . import activation, attention, attention_fused, cache, linear, linear_onednn, norm, rope


def register_all() -> None:
    register("attention", attention.attention, name="reference")
    register("attention", attention_fused.attention, name="sdpa", rank=1, fits=attention_fused.fits)
    register("store_kv", cache.store_kv, name="reference")
    register("pack_linear", linear.pack, name="reference")
    register("pack_linear", linear_onednn.pack, name="onednn", device="cpu", rank=1, fits=linear_onednn.fits_pack)
    register("linear", linear.linear, name="reference")
    register("linear", linear_onednn.linear, name="onednn", device="cpu", rank=1, fits=linear_onednn.fits)
    register("rms_norm", norm.rms_norm, name="reference")
    register("layer_norm", norm.layer_norm, name="reference")
    register("rotate", rope.rotate, name="reference")
    register("gated", activation.gated, name="reference")
    register("activate", activation.activate, name="reference")
