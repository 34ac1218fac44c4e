"""Matrix products in which every row picks its own weight: experts of an MoE layer, adapters of a batch (LoRA).

Rows are sorted by their group; a tile of rows belongs to one group. M rows, E features in, N out, X groups, R rank.
SGMV: Punica, arXiv 2310.18547.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .activation import gated

TILE_M = 32


@triton.jit
def _grouped(
    x_ptr, weight_ptr, tiles_ptr, take_ptr, put_ptr, factor_ptr, out_ptr,
    features_out, features_in, x_stride, out_stride,
    TILE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, ADDS: tl.constexpr, HAS_FACTOR: tl.constexpr,
):  # fmt: skip
    tile = tiles_ptr + tl.program_id(1) * 3
    group, first, count = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    m = tl.arange(0, TILE)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    in_m, in_n = m < count, n < features_out
    taken = tl.load(take_ptr + first + m, mask=in_m, other=0).to(tl.int64)
    weight = weight_ptr + group.to(tl.int64) * features_out * features_in
    acc = tl.zeros([TILE, BLOCK_N], tl.float32)
    for at in range(0, features_in, BLOCK_K):
        here = at + k < features_in
        x = tl.load(
            x_ptr + taken[:, None] * x_stride + (at + k)[None, :], mask=in_m[:, None] & here[None, :], other=0.0
        )
        w = tl.load(
            weight + n.to(tl.int64)[None, :] * features_in + (at + k)[:, None],
            mask=in_n[None, :] & here[:, None], other=0.0,
        )  # fmt: skip
        acc += tl.dot(x, w.to(x.dtype), input_precision="ieee")
    if HAS_FACTOR:
        acc *= tl.load(factor_ptr + first + m, mask=in_m, other=0.0)[:, None]
    put = tl.load(put_ptr + first + m, mask=in_m, other=0).to(tl.int64)
    at = out_ptr + put[:, None] * out_stride + n[None, :]
    kept = in_m[:, None] & in_n[None, :]
    if ADDS:
        acc += tl.load(at, mask=kept, other=0.0).to(tl.float32)
    tl.store(at, acc.to(out_ptr.dtype.element_ty), mask=kept)


def tiles_of(group_M: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """(order [M], tiles [N, 3]) int32: rows stably sorted by group; group, first place in the order, rows of each tile.

    Rows of a negative group are in no tile. Computed on the host: the router's choice must be known to size the grid.
    """
    order = torch.argsort(group_M, stable=True)
    counts = torch.bincount(group_M[group_M >= 0].long(), minlength=num_groups).tolist()
    first = int((group_M < 0).sum())
    tiles = []
    for group, count in enumerate(counts):
        tiles += [(group, first + at, min(TILE_M, count - at)) for at in range(0, count, TILE_M)]
        first += count
    device = group_M.device
    return order.to(torch.int32), torch.tensor(tiles, dtype=torch.int32, device=device).view(-1, 3)


def grouped_linear(
    x_ME: Tensor,
    weight_XNE: Tensor,
    tiles: Tensor,
    take: Tensor,
    put: Tensor,
    out: Tensor,
    *,
    factor: Tensor | None = None,
    adds: bool = False,
) -> None:
    """out[put[i]] (+)= factor[i] * x[take[i]] · weight[group]ᵀ for the places i of the tiles; a row has one writer."""
    if not len(tiles):
        return
    _, features_out, features_in = weight_XNE.shape
    block_n = min(64, max(16, triton.next_power_of_2(features_out)))
    block_k = min(64, max(16, triton.next_power_of_2(features_in)))
    _grouped[(triton.cdiv(features_out, block_n), len(tiles))](
        x_ME, weight_XNE, tiles, take, put, factor, out, features_out, features_in, x_ME.stride(0), out.stride(0),
        TILE=TILE_M, BLOCK_N=block_n, BLOCK_K=block_k, ADDS=adds, HAS_FACTOR=factor is not None, num_warps=4,
    )  # fmt: skip


def moe(
    x_TE: Tensor, gate_up_XNE: Tensor, down_XEI: Tensor, experts_TK: Tensor, weights_TK: Tensor, kind: str
) -> Tensor:
    """See `kernels.ops.moe`."""
    tokens, chosen = experts_TK.shape
    order, tiles = tiles_of(experts_TK.flatten(), len(gate_up_XNE))
    take = order // chosen
    inner = torch.empty(tokens * chosen, gate_up_XNE.shape[1], dtype=x_TE.dtype, device=x_TE.device)
    grouped_linear(x_TE, gate_up_XNE, tiles, take, order, inner)
    each = torch.empty(tokens * chosen, x_TE.shape[1], dtype=torch.float32, device=x_TE.device)
    factor = weights_TK.flatten()[order.long()].float()
    grouped_linear(gated(inner, kind), down_XEI, tiles, order, order, each, factor=factor)
    return each.view(tokens, chosen, -1).sum(1).to(x_TE.dtype)


def add_lora(
    out_TN: Tensor, x_TE: Tensor, down_XRE: Tensor, up_XNR: Tensor, scale_X: Tensor, adapter_T: Tensor
) -> None:
    """See `kernels.ops.add_lora`."""
    order, tiles = tiles_of(adapter_T, len(down_XRE))
    inner = torch.zeros(len(x_TE), down_XRE.shape[1], dtype=x_TE.dtype, device=x_TE.device)
    grouped_linear(x_TE, down_XRE, tiles, order, order, inner)
    factor = scale_X[adapter_T.clamp(min=0).long()][order.long()].float()
    grouped_linear(inner, up_XNR, tiles, order, order, out_TN, factor=factor, adds=True)
