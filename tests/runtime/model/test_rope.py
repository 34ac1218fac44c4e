"""Frequencies against transformers' own tables, and the served context fixing what depends on length."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from radixlang.runtime.model.config import RopeConfig
from radixlang.runtime.model.rope import frequencies

HEAD, CONTEXT = 32, 256
LONG = [1.0 + 0.3 * i for i in range(16)]
KINDS: list[tuple[RopeConfig, dict[str, Any]]] = [
    (RopeConfig(theta=500.0), {"rope_type": "default", "rope_theta": 500.0}),
    (RopeConfig(kind="linear", factor=4.0), {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    (
        RopeConfig(kind="llama3", theta=5e5, factor=8.0, original_max_context=64, low_freq_factor=1.0),
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 64,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    (
        RopeConfig(kind="yarn", factor=4.0, original_max_context=64),
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64},
    ),
    (
        RopeConfig(kind="yarn", factor=4.0, original_max_context=64, mscale=0.7, mscale_all_dim=1.1, beta_fast=16.0),
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
         "mscale": 0.7, "mscale_all_dim": 1.1, "beta_fast": 16.0},
    ),
    (
        RopeConfig(kind="yarn", factor=4.0, original_max_context=64, attention_factor=1.25),
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
         "attention_factor": 1.25},
    ),
    (  # no pair turns so often in so few tokens: the ramp's end lies before its beginning
        RopeConfig(kind="yarn", factor=4.0, original_max_context=8, theta=100.0, beta_slow=2.0, truncate=False),
        {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 8,
         "beta_slow": 2.0, "truncate": False},
    ),
    (
        RopeConfig(kind="longrope", original_max_context=64, short_factor=(1.0,) * 16, long_factor=tuple(LONG)),
        {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
         "short_factor": [1.0] * 16, "long_factor": LONG},
    ),
]  # fmt: skip


def peers(parameters: dict[str, Any], length: int | None) -> tuple[torch.Tensor, float]:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=HEAD * 2, num_attention_heads=2, max_position_embeddings=CONTEXT, rope_parameters=parameters
    )
    if parameters["rope_type"] == "default":
        return 1.0 / parameters["rope_theta"] ** (torch.arange(0, HEAD, 2) / HEAD), 1.0
    return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"), length)


@pytest.mark.parametrize(("rope", "parameters"), KINDS)
@pytest.mark.parametrize("served", [48, CONTEXT])
def test_frequencies_are_the_peers(rope: RopeConfig, parameters: dict[str, Any], served: int) -> None:
    found = frequencies(rope, HEAD, max_context=CONTEXT, served_context=served)
    inverse, magnitude = peers(parameters, served)
    torch.testing.assert_close(found.inverse_R, inverse, rtol=1e-6, atol=0)
    assert found.magnitude == pytest.approx(magnitude)


def test_dynamic_scaling_is_that_of_the_longest_sequence_served() -> None:
    rope = RopeConfig(kind="dynamic", factor=3.0)
    inside = frequencies(rope, HEAD, max_context=CONTEXT, served_context=100)
    torch.testing.assert_close(inside.inverse_R, frequencies(RopeConfig(), HEAD, max_context=1, served_context=1)[0])
    beyond = frequencies(rope, HEAD, max_context=CONTEXT, served_context=4 * CONTEXT)
    parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 3.0}
    torch.testing.assert_close(beyond.inverse_R, peers(parameters, 4 * CONTEXT)[0], rtol=1e-6, atol=0)


def test_stored_divisors_win_over_the_kind() -> None:
    divisors = tuple(1.0 + i for i in range(16))
    plain = frequencies(RopeConfig(), HEAD, max_context=CONTEXT, served_context=CONTEXT)
    stored = RopeConfig(kind="llama3", factor=8.0, freq_factors=divisors)
    found = frequencies(stored, HEAD, max_context=CONTEXT, served_context=CONTEXT)
    torch.testing.assert_close(found.inverse_R, plain.inverse_R / torch.tensor(divisors))


def test_partial_rotation_counts_its_own_dimensions() -> None:
    found = frequencies(RopeConfig(dim=8), HEAD, max_context=CONTEXT, served_context=CONTEXT)
    torch.testing.assert_close(found.inverse_R, 1.0 / 10000.0 ** (torch.arange(0, 8, 2) / 8))


def test_angles_are_positions_times_frequencies() -> None:
    found = frequencies(RopeConfig(attention_factor=2.0), 4, max_context=CONTEXT, served_context=CONTEXT)
    cos, sin = found.angles(torch.tensor([0, 7]))
    torch.testing.assert_close(cos, 2 * torch.tensor([[1.0, 1.0], [7.0, 0.07]]).mul(torch.tensor([[0.0], [1.0]])).cos())
    torch.testing.assert_close(sin, 2 * torch.tensor([[0.0, 0.0], [7.0, 0.07]]).sin())
