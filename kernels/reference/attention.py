"""Plain torch: the meaning of attention over cached slots.

N rows of one sequence, L slots, H query heads, K kv heads, G = H / K heads of a group, C = 2K, D head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from .batch import Extend, PackedBatch
from .cache import load_kv

_ROWS = 64
"""Rows of one score matrix: bounds its memory, and makes the arithmetic of a row independent of most others."""


def attention(
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    batch: PackedBatch,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """See `kernels.ops.attention`. One sequence at a time, scores and sums in float32 (float64 for float64)."""
    out_THD = torch.empty_like(q_THD)
    for sequence in batch.sequences:
        attend_sequence(out_THD, q_THD, kv_SCD, scale_SC, batch, sequence, scale=scale, window=window, softcap=softcap)
    return out_THD


def attend_sequence(
    out_THD: Tensor,
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    batch: PackedBatch,
    sequence: Extend,
    *,
    scale: float,
    window: int,
    softcap: float,
) -> None:
    """Fills `out_THD` for the sequence's rows."""
    num_kv_heads = kv_SCD.shape[1] // 2
    wide = torch.promote_types(q_THD.dtype, torch.float32)
    kv_CLD = load_kv(kv_SCD, scale_SC, sequence.slots_L, wide).transpose(0, 1)
    k_K1DL = kv_CLD[:num_kv_heads].unsqueeze(1).transpose(-1, -2)
    v_K1LD = kv_CLD[num_kv_heads:].unsqueeze(1)
    visible_NL = batch.visible(sequence, window)
    for first in range(sequence.first, sequence.end, _ROWS):
        end = min(first + _ROWS, sequence.end)
        size = end - first
        # Rows of zeros up to a multiple of 16: see attention_fused.
        q_NHD = pad(q_THD[first:end].to(wide), (0, 0, 0, 0, 0, -size % 16))
        q_KGND = q_NHD.view(len(q_NHD), num_kv_heads, -1, q_NHD.shape[-1]).permute(1, 2, 0, 3)
        scores_KGNL = torch.matmul(q_KGND, k_K1DL) * scale
        if softcap:
            scores_KGNL = torch.tanh(scores_KGNL / softcap) * softcap
        hidden_NL = ~visible_NL[first - sequence.first : end - sequence.first]
        scores_KGNL[:, :, :size].masked_fill_(hidden_NL, float("-inf"))
        weights_KGNL = torch.softmax(scores_KGNL, dim=-1)
        out_KGND = torch.matmul(weights_KGNL, v_K1LD)
        out_THD[first:end] = out_KGND.permute(2, 0, 1, 3).flatten(1, 2)[:size].to(out_THD.dtype)
