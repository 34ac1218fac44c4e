"""Plain torch: activations of the MLP."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def activate(x_TN: Tensor, kind: str) -> Tensor:
    if kind == "silu":
        return functional.silu(x_TN)
    if kind == "gelu":
        return functional.gelu(x_TN)
    if kind == "gelu_tanh":
        return functional.gelu(x_TN, approximate="tanh")
    assert kind == "relu2"
    return functional.relu(x_TN).square()


def gated(gate_up_TN: Tensor, kind: str) -> Tensor:
    gate, up = gate_up_TN.chunk(2, dim=-1)
    return activate(gate, kind).mul_(up)
