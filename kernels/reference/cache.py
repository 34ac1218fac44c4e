"""Plain torch: the KV pool's rows, written and read by slot.

S slots, C = 2K cached heads of a slot (K's, then V's), D head dim, L slots read, T rows written.
"""

from __future__ import annotations

import torch
from torch import Tensor


def store_kv(kv_SCD: Tensor, scale_SC: Tensor | None, rows_TCD: Tensor, slots_T: Tensor) -> None:
    """int8: symmetric, one scale a head of a token (KL 1.7e-3 on SmolLM2, the best of the 8-bit types). FP8: rounded as
    it is, what is too large becomes the largest."""
    if kv_SCD.dtype == torch.float8_e4m3fn:
        eights = rows_TCD.float().clamp(-448.0, 448.0).to(kv_SCD.dtype)
        kv_SCD.view(torch.uint8).index_copy_(0, slots_T, eights.view(torch.uint8))
        return
    if scale_SC is None:
        kv_SCD.index_copy_(0, slots_T, rows_TCD.to(kv_SCD.dtype))
        return
    rows = rows_TCD.float()
    scale_TC = rows.abs().amax(dim=-1).div_(127.0)
    steps = rows / scale_TC.clamp(min=1e-30).unsqueeze(-1)
    kv_SCD.index_copy_(0, slots_T, steps.round_().clamp_(-127, 127).to(torch.int8))
    scale_SC.index_copy_(0, slots_T, scale_TC)


def load_kv(kv_SCD: Tensor, scale_SC: Tensor | None, slots_L: Tensor, dtype: torch.dtype) -> Tensor:
    """[L, C, D] in `dtype`."""
    if kv_SCD.dtype == torch.float8_e4m3fn:
        return kv_SCD.view(torch.uint8).index_select(0, slots_L).view(kv_SCD.dtype).to(dtype)
    rows_LCD = kv_SCD.index_select(0, slots_L)
    if scale_SC is None:
        return rows_LCD.to(dtype)
    return (rows_LCD.float() * scale_SC.index_select(0, slots_L).unsqueeze(-1)).to(dtype)
