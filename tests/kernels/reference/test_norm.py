"""Norms are computed in float32, whatever comes in."""

from __future__ import annotations

import torch

from radixlang.kernels.reference.norm import layer_norm, rms_norm


def test_rms_norm_is_its_formula() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 3, 16), torch.randn(16)
    wanted = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 0.1) * weight
    torch.testing.assert_close(rms_norm(x, weight, 0.1), wanted)


def test_layer_norm_is_its_formula() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(4, 16), torch.randn(16), torch.randn(16)
    centred = x - x.mean(-1, keepdim=True)
    wanted = centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + 0.1) * weight + bias
    torch.testing.assert_close(layer_norm(x, weight, bias, 0.1), wanted)


def test_large_halves_do_not_overflow() -> None:
    x = torch.full((2, 64), 3000.0, dtype=torch.float16)  # its square is not a float16
    found = rms_norm(x, torch.ones(64), 1e-6)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), torch.ones(2, 64))
