"""Experts of a config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radixlang.errors import BadCheckpoint, UnsupportedModel
from radixlang.runtime.model.config import ExpertsConfig
from radixlang.runtime.model.facts import Facts
from radixlang.runtime.model.hf_experts import experts_of

PATH = Path("config.json")


def read(architecture: str, **values: Any) -> ExpertsConfig | None:
    return experts_of(Facts({"intermediate_size": 80, **values}, PATH), architecture, 4)


def test_each_family_says_it_in_its_own_words() -> None:
    assert read("mixtral", num_local_experts=4) == ExpertsConfig(count=4, chosen=2, size=80)
    assert read("olmoe", num_experts=16, norm_topk_prob=True) == ExpertsConfig(count=16, chosen=8, size=80)
    shared = read("qwen2_moe", num_experts=6, shared_expert_intermediate_size=24)
    assert shared == ExpertsConfig(count=6, chosen=4, size=1408, shared_size=24, renormalises=False)
    assert read("llama") is None


def test_dense_layers_are_listed_or_counted() -> None:
    found = read("qwen3_moe", mlp_only_layers=[1], decoder_sparse_step=2)
    assert found is not None
    assert found.dense_layers == (0, 1, 2)  # experts in every second layer, and layer 1 is listed


@pytest.mark.parametrize(
    ("values", "words"),
    [({"num_experts_per_tok": 5}, "not from 1 to 4"), ({"num_local_experts": 1 << 20}, "num_local_experts")],
)
def test_numbers_that_cannot_be_are_told(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadCheckpoint, match=words):
        read("mixtral", **{"num_local_experts": 4, **values})


def test_clipped_projections_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="clip_qkv"):
        read("olmoe", clip_qkv=8.0)
