"""Each activation at a few points, and the gate times the rest."""

from __future__ import annotations

import math

import pytest
import torch

from radixlang.kernels.reference.activation import activate, gated

POINTS = [-2.0, -0.5, 0.0, 1.0, 3.0]
FORMULAS = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu2": lambda x: max(x, 0.0) ** 2,
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_an_activation_is_its_formula(kind: str) -> None:
    wanted = torch.tensor([FORMULAS[kind](x) for x in POINTS])
    torch.testing.assert_close(activate(torch.tensor(POINTS), kind), wanted)
    up = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0])
    torch.testing.assert_close(gated(torch.cat([torch.tensor(POINTS), up]), kind), wanted * up)
