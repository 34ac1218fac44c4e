"""A rotation is multiplication by a complex number, pair by pair."""

from __future__ import annotations

import pytest
import torch

from radixlang.kernels.reference.rope import rotate


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("pairs", [2, 4])
def test_pairs_turn_as_complex_numbers(interleaved: bool, pairs: int) -> None:
    torch.manual_seed(0)
    x, angle = torch.randn(5, 3, 8), torch.randn(5, pairs)
    if interleaved:
        first, second = list(range(0, 2 * pairs, 2)), list(range(1, 2 * pairs, 2))
    else:
        first, second = list(range(pairs)), list(range(pairs, 2 * pairs))
    turned = torch.complex(x[..., first], x[..., second]) * torch.polar(torch.ones(5, pairs), angle)[:, None]
    wanted = x.clone()
    wanted[..., first], wanted[..., second] = turned.real, turned.imag
    rotate(x, angle.cos(), angle.sin(), interleaved=interleaved)
    torch.testing.assert_close(x, wanted)
