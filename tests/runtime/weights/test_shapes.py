from pathlib import Path

import pytest

from radixlang.errors import BadCheckpoint, WeightMismatch
from radixlang.runtime.model.config import ModelConfig
from radixlang.runtime.weights.shapes import check_shapes, expected_shapes


def config(**changes):
    return ModelConfig(
        **{
            "architecture": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "num_layers": 2,
            "num_heads": 4, "num_kv_heads": 2, "head_dim": 4, "max_context": 64, "tie_embeddings": True, **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "shape"),
    [
        ({}, "model.layers.1.self_attn.k_proj.weight", (8, 8)),
        ({"head_dim": 6}, "model.layers.0.self_attn.o_proj.weight", (8, 24)),
        ({"tie_embeddings": False}, "lm_head.weight", (32, 8)),
        ({"qk_norm": "head"}, "model.layers.0.self_attn.q_norm.weight", (4,)),
        ({"qk_norm": "full"}, "model.layers.0.self_attn.k_norm.weight", (8,)),
        ({"norm_placement": "sandwich"}, "model.layers.0.pre_feedforward_layernorm.weight", (8,)),
        ({"norm_placement": "post"}, "model.layers.0.post_feedforward_layernorm.weight", (8,)),
    ],
)
def test_what_a_config_asks_for(changes, name, shape):
    expected = dict(expected_shapes(config(**changes), has_head=False))
    assert expected[name] == shape
    check_shapes(expected, config(**changes), Path("x"))
    with pytest.raises(BadCheckpoint, match=name):
        check_shapes({k: v for k, v in expected.items() if k != name}, config(**changes), Path("x"))
    with pytest.raises(WeightMismatch, match=name):
        check_shapes(expected | {name: (*shape, 1)}, config(**changes), Path("x"))


def test_models_with_norms_after_only_have_none_before():
    assert not any("input_layernorm" in name for name, _ in expected_shapes(config(norm_placement="post"), False))


def test_a_bias_is_as_long_as_its_rows():
    expected = dict(expected_shapes(config(), has_head=False))
    name = "model.layers.0.self_attn.q_proj.bias"
    check_shapes(expected | {name: (16,)}, config(), Path("x"))
    with pytest.raises(WeightMismatch, match=name):
        check_shapes(expected | {name: (8,)}, config(), Path("x"))
