"""Plain torch: linears with weights of few bits, experts, adapters. Sums in float32, of float64 in float64.

M rows, E features in, N features out, G groups."""

from __future__ import annotations

import torch
from torch import Tensor

from .activation import gated


def unpack_w4(packed_NE: Tensor, num_groups: int) -> Tensor:
    """Integers 0..15, uint8 [N, E]; see `kernels.ops.linear_w4`."""
    rows = len(packed_NE)
    pairs = packed_NE.view(rows, num_groups // 2, 1, -1)
    return torch.cat((pairs & 15, pairs >> 4), dim=2).view(rows, -1)


def pack_w4(integers_NE: Tensor, group: int) -> Tensor:
    """The inverse. E divides by 2 · group."""
    rows, features = integers_NE.shape
    pairs = integers_NE.to(torch.uint8).view(rows, features // (2 * group), 2, group)
    return (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(rows, features // 2).contiguous()


def linear_w4(x_ME: Tensor, packed_NE: Tensor, scale_NG: Tensor, offset_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    rows, groups = scale_NG.shape
    q_NGE = unpack_w4(packed_NE, groups).view(rows, groups, -1).float()
    weight_NE = (q_NGE * scale_NG.float().unsqueeze(-1) + offset_NG.float().unsqueeze(-1)).flatten(1)
    out_MN = x_ME.float() @ weight_NE.to(x_ME.dtype).float().T
    return (out_MN if bias_N is None else out_MN + bias_N.float()).to(x_ME.dtype)


def quantise_rows(x_ME: Tensor, dtype: torch.dtype, groups: int = 1) -> tuple[Tensor, Tensor]:
    """(int8 or float8_e4m3fn rows, float32 [M, G] scales): symmetric, the largest of a group on the type's largest."""
    largest = 127.0 if dtype == torch.int8 else 448.0
    x_MGE = x_ME.float().view(len(x_ME), groups, -1)
    scale_MG = (x_MGE.abs().amax(-1) / largest).clamp(min=1e-30)
    steps = x_MGE / scale_MG.unsqueeze(-1)
    if dtype == torch.int8:
        steps = steps.round()
    return steps.clamp(-largest, largest).to(dtype).view(x_ME.shape), scale_MG


def linear_w8a8(x_ME: Tensor, weight_NE: Tensor, scale_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    groups = scale_NG.shape[1]
    steps_ME, scale_MG = quantise_rows(x_ME, weight_NE.dtype, groups)
    out_MN = torch.zeros(len(x_ME), len(weight_NE), device=x_ME.device)
    parts = zip(steps_ME.chunk(groups, 1), weight_NE.chunk(groups, 1), strict=True)
    for group, (x_Mg, weight_Ng) in enumerate(parts):
        products_MN = (x_Mg.double() @ weight_Ng.double().T).float()
        out_MN += products_MN * scale_MG[:, group, None] * scale_NG[:, group]
    return (out_MN if bias_N is None else out_MN + bias_N.float()).to(x_ME.dtype)


def moe(
    x_TE: Tensor, gate_up_XNE: Tensor, down_XEI: Tensor, experts_TK: Tensor, weights_TK: Tensor, kind: str
) -> Tensor:
    wide = torch.promote_types(x_TE.dtype, torch.float32)
    out_TE = torch.zeros(x_TE.shape, dtype=wide, device=x_TE.device)
    for expert in range(len(gate_up_XNE)):
        rows, choice = (experts_TK == expert).nonzero(as_tuple=True)
        if len(rows):
            inner = gated(x_TE[rows] @ gate_up_XNE[expert].T, kind) @ down_XEI[expert].T
            out_TE.index_add_(0, rows, inner.to(wide) * weights_TK[rows, choice, None].to(wide))
    return out_TE.to(x_TE.dtype)


def add_lora(
    out_TN: Tensor, x_TE: Tensor, down_XRE: Tensor, up_XNR: Tensor, scale_X: Tensor, adapter_T: Tensor
) -> None:
    wide = torch.promote_types(out_TN.dtype, torch.float32)
    for adapter in torch.unique(adapter_T).tolist():
        if adapter >= 0:
            rows = (adapter_T == adapter).nonzero().flatten()
            added = (x_TE[rows] @ down_XRE[adapter].T) @ up_XNR[adapter].T
            out_TN[rows] += (added.to(wide) * scale_X[adapter]).to(out_TN.dtype)
