import pytest

from radixlang.runtime.weights.canonical_names import canonical_name


@pytest.mark.parametrize(
    ("stored", "canonical"),
    [
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.layers.3.input_layernorm.weight", "model.layers.3.input_layernorm.weight"),
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("model.layers.1.block_sparse_moe.gate.weight", "model.layers.1.mlp.gate.weight"),
        ("model.layers.1.block_sparse_moe.experts.7.w2.weight", "model.layers.1.mlp.experts.7.down_proj.weight"),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
        ("model.vision_tower.layers.0.weight", None),
        ("vision_model.embeddings.weight", None),
    ],
)
def test_names_of_every_writer_become_ours(stored, canonical):
    assert canonical_name(stored) == canonical
