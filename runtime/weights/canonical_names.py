"""The names of a Hugging Face checkpoint's tensors as `Checkpoint` has them, whatever model they were written from."""

from __future__ import annotations

import re

_PREFIXES = (("model.language_model.", "model."), ("language_model.model.", "model."), ("language_model.", ""))
"""How multimodal checkpoints begin the names of their language part."""
_MIXTRAL = re.compile(r"(model\.layers\.\d{1,6}\.)block_sparse_moe\.(gate|experts\.\d{1,4})\.(w[123]\.)?(.*)")
_MIXTRAL_PARTS = {"w1.": "gate_proj.", "w2.": "down_proj.", "w3.": "up_proj.", None: ""}


def canonical_name(name: str) -> str | None:
    """None for what a decoder does not read: vision towers, stored rotary tables."""
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name[len(prefix) :]
            break
    if match := _MIXTRAL.fullmatch(name):
        layer, part, which, rest = match.groups()
        name = f"{layer}mlp.{part}.{_MIXTRAL_PARTS[which]}{rest}"
    if name.endswith("rotary_emb.inv_freq") or not name.startswith(("model.", "lm_head.")):
        return None
    return name if name.startswith(("model.layers.", "model.embed_tokens.", "model.norm.", "lm_head.")) else None
