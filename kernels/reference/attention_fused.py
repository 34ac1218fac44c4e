"""Attention by torch's fused kernel: one call for all decode rows of similar length, one for each longer sequence.

B sequences of a group, L slots, H query heads, K kv heads, G = H / K, C = 2K, D head dim. Padded slots get weight 0, so
a row's result depends on the other rows only through the kernel's choice of blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .batch import PackedBatch
from .cache import load_kv


def fits(
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    batch: PackedBatch,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> bool:
    """The fused kernel knows no softcap."""
    return not softcap


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
    """See `kernels.ops.attention`."""
    assert not softcap
    num_kv_heads = kv_SCD.shape[1] // 2
    out_THD = torch.empty_like(q_THD)
    for index, group in enumerate(batch.decode_groups()):
        size, length = group.slots_BL.shape
        kv_BLCD = load_kv(kv_SCD, scale_SC, group.slots_BL.flatten(), q_THD.dtype).view(size, length, *kv_SCD.shape[1:])
        k_BKLD = kv_BLCD[:, :, :num_kv_heads].transpose(1, 2)
        v_BKLD = kv_BLCD[:, :, num_kv_heads:].transpose(1, 2)
        # The heads of a group are the rows of one attention problem: K and V are read once for all of them.
        q_BKGD = q_THD.index_select(0, group.rows_B).unflatten(1, (num_kv_heads, -1))
        bias_BL = batch.group_bias(index, window, q_THD.dtype)
        bias_B11L = None if bias_BL is None else bias_BL[:, None, None]
        out_BKGD = scaled_dot_product_attention(q_BKGD, k_BKLD, v_BKLD, attn_mask=bias_B11L, scale=scale)
        out_THD.index_copy_(0, group.rows_B, out_BKGD.flatten(1, 2))
    for sequence in batch.extends():
        kv_1CLD = load_kv(kv_SCD, scale_SC, sequence.slots_L, q_THD.dtype).transpose(0, 1).unsqueeze(0)
        out_1HND = scaled_dot_product_attention(
            q_THD[sequence.first : sequence.end].transpose(0, 1).unsqueeze(0),
            kv_1CLD[:, :num_kv_heads],
            kv_1CLD[:, num_kv_heads:],
            attn_mask=batch.extend_bias(sequence, window, q_THD.dtype),
            scale=scale,
            enable_gqa=True,
        )
        out_THD[sequence.first : sequence.end] = out_1HND[0].transpose(0, 1)
    return out_THD
