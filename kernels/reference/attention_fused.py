"""Attention by torch's fused kernel: one call for all decode rows of similar length, one for each longer sequence.

B sequences of a group, L slots, H query heads, K kv heads, G = H / K, C = 2K, D head dim. Rows are padded to a multiple
of 16 and slots to a few lengths: at these shapes the kernel sums in one order, so a row's result has the same bits
whether it is decoded, or computed in a chunk of any size (CPU, found by trying; tests/parity holds it).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from .batch import PackedBatch
from .cache import load_kv

_ROWS = 16


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
        q_BKGD = q_THD.index_select(0, group.rows_B).view(size, num_kv_heads, -1, q_THD.shape[-1])
        bias_BL = batch.group_bias(index, window, q_THD.dtype)
        bias_B11L = None if bias_BL is None else bias_BL[:, None, None]
        out_BKGD = scaled_dot_product_attention(_padded(q_BKGD), k_BKLD, v_BKLD, attn_mask=bias_B11L, scale=scale)[
            :, :, : q_BKGD.shape[2]
        ]
        out_THD.index_copy_(0, group.rows_B, out_BKGD.flatten(1, 2))
    for sequence in batch.extends():
        kv_1CLD = load_kv(kv_SCD, scale_SC, sequence.slots_L, q_THD.dtype).transpose(0, 1).unsqueeze(0)
        q_1HND = q_THD[sequence.first : sequence.end].transpose(0, 1).unsqueeze(0)
        bias_NL = batch.extend_bias(sequence, window, q_THD.dtype)
        out_1HND = scaled_dot_product_attention(
            _padded(q_1HND),
            kv_1CLD[:, :num_kv_heads],
            kv_1CLD[:, num_kv_heads:],
            attn_mask=None if bias_NL is None else _padded(bias_NL),
            scale=scale,
            enable_gqa=True,
        )
        out_THD[sequence.first : sequence.end] = out_1HND[0, :, : sequence.end - sequence.first].transpose(0, 1)
    return out_THD


def _padded(x_ND: Tensor) -> Tensor:
    """With rows of zeros up to a multiple of _ROWS."""
    return pad(x_ND, (0, 0, 0, -x_ND.shape[-2] % _ROWS))
