"""Matrix products in which every row picks its own weight: experts of an MoE layer, adapters of a batch (LoRA).

Rows are sorted by their group; a tile of rows belongs to one group. M rows, E features in, N out, X groups, R rank.
SGMV: Punica, arXiv 2310.18547.
"""

from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from .activation import gated
from .groups import sort_rows
from .tiles import Tiles, sized

Factor = Literal["none", "row", "group"]


@triton.jit
def _grouped(
    x_ptr, weight_ptr, tiles_ptr, order_ptr, factor_ptr, out_ptr,
    features_out, features_in, x_stride, out_stride,
    TILE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SPREAD: tl.constexpr, ADDS: tl.constexpr,
    FACTOR: tl.constexpr,
):  # fmt: skip
    tile = tiles_ptr + tl.program_id(1) * 3
    group, first, count = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    if count == 0:
        return
    m = tl.arange(0, TILE)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    in_m, in_n = m < count, n < features_out
    row = tl.load(order_ptr + first + m, mask=in_m, other=0)
    x_at = x_ptr + (row // SPREAD).to(tl.int64)[:, None] * x_stride + k[None, :]
    weight_at = weight_ptr + group.to(tl.int64) * features_out * features_in
    weight_at += n.to(tl.int64)[None, :] * features_in + k[:, None]
    acc = tl.zeros([TILE, BLOCK_N], tl.float32)
    for at in range(0, features_in, BLOCK_K):
        here = at + k < features_in
        x = tl.load(x_at + at, mask=in_m[:, None] & here[None, :], other=0.0)
        w = tl.load(weight_at + at, mask=in_n[None, :] & here[:, None], other=0.0)
        acc += tl.dot(x, w.to(x.dtype), input_precision="ieee")
    if FACTOR == "row":
        acc *= tl.load(factor_ptr + row, mask=in_m, other=0.0).to(tl.float32)[:, None]
    if FACTOR == "group":
        acc *= tl.load(factor_ptr + group).to(tl.float32)
    put = out_ptr + row.to(tl.int64)[:, None] * out_stride + n[None, :]
    kept = in_m[:, None] & in_n[None, :]
    if ADDS:
        acc += tl.load(put, mask=kept, other=0.0).to(tl.float32)
    tl.store(put, acc.to(out_ptr.dtype.element_ty), mask=kept)


def rows_of_tile(rows: int, num_groups: int) -> int:
    """A tile that the average group fills about once."""
    return int(min(64, max(16, triton.next_power_of_2(rows // num_groups))))


def _linear(
    x_ME: Tensor, weight_XNE: Tensor, order: Tensor, tiles: Tensor, tile: int, out_MN: Tensor,
    *, spread: int = 1, factor: Tensor | None = None, factor_of: Factor = "none", adds: bool = False,
) -> None:  # fmt: skip
    """out[i] (+)= factor * x[i // spread] · weight[group of i]ᵀ for the rows i of the tiles.

    factor_of: whether `factor` has an entry a row or a group.
    """
    _, features_out, features_in = weight_XNE.shape
    assert weight_XNE.is_contiguous()
    assert x_ME.stride(-1) == out_MN.stride(-1) == 1
    wide_n, wide_k = (max(16, triton.next_power_of_2(size)) for size in (features_out, features_in))
    own = Tiles(0, min(64, wide_n), min(64, wide_k), 4, 3)
    chosen = sized("grouped", (tile, min(wide_n, 128), min(wide_k, 128)), own)
    _grouped[(triton.cdiv(features_out, chosen.n), len(tiles))](
        x_ME, weight_XNE, tiles, order, factor, out_MN, features_out, features_in, x_ME.stride(0), out_MN.stride(0),
        TILE=tile, BLOCK_N=chosen.n, BLOCK_K=chosen.k, SPREAD=spread, ADDS=adds, FACTOR=factor_of,
        num_warps=chosen.warps, num_stages=chosen.stages,
    )  # fmt: skip


def moe(
    x_TE: Tensor, gate_up_XNE: Tensor, down_XEI: Tensor, experts_TK: Tensor, weights_TK: Tensor, kind: str
) -> Tensor:
    """See `kernels.ops.moe`."""
    (tokens, chosen), num_experts = experts_TK.shape, len(gate_up_XNE)
    rows = tokens * chosen
    if not rows:
        return torch.empty_like(x_TE)
    tile = rows_of_tile(rows, num_experts)
    order, tiles = sort_rows(experts_TK.flatten(), num_experts, tile)
    inner = torch.empty(rows, gate_up_XNE.shape[1], dtype=x_TE.dtype, device=x_TE.device)
    _linear(x_TE, gate_up_XNE, order, tiles, tile, inner, spread=chosen)
    each = torch.empty(rows, x_TE.shape[1], dtype=x_TE.dtype, device=x_TE.device)
    factor = weights_TK.flatten()
    _linear(gated(inner, kind), down_XEI, order, tiles, tile, each, factor=factor, factor_of="row")
    return each.view(tokens, chosen, -1).sum(1, dtype=torch.float32).to(x_TE.dtype)


def add_lora(
    out_TN: Tensor, x_TE: Tensor, down_XRE: Tensor, up_XNR: Tensor, scale_X: Tensor, adapter_T: Tensor
) -> None:
    """See `kernels.ops.add_lora`."""
    if not len(x_TE):
        return
    tile = rows_of_tile(len(x_TE), len(down_XRE))
    order, tiles = sort_rows(adapter_T, len(down_XRE), tile)
    inner = torch.empty(len(x_TE), down_XRE.shape[1], dtype=x_TE.dtype, device=x_TE.device)
    _linear(x_TE, down_XRE, order, tiles, tile, inner)
    _linear(inner, up_XNR, order, tiles, tile, out_TN, factor=scale_X, factor_of="group", adds=True)
