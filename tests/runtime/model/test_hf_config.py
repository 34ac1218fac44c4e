import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.errors import BadCheckpoint, RadixlangError, UnsupportedModel
from radixlang.runtime.model.families import FAMILIES
from radixlang.runtime.model.hf_config import config_from_hf

HERE = Path("config.json")
BASE = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "eos_token_id": 2,
}  # fmt: skip


def read(generation=None, **changes):
    values = {key: value for key, value in (BASE | changes).items() if value is not ...}
    return config_from_hf(values, HERE, generation)


def test_llama_is_plain():
    config = read()
    assert (config.head_dim, config.rope.theta, config.windows, config.qk_norm) == (16, 10000.0, (), "none")
    assert (config.norm_eps, config.tie_embeddings, config.eos_token_ids) == (1e-6, False, (2,))


def test_the_old_and_the_new_spelling_of_rope_are_the_same():
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 512}  # fmt: skip
    old = read(rope_theta=5e5, rope_scaling=scaling)
    new = read(rope_parameters=scaling | {"rope_theta": 5e5})
    oldest = read(rope_theta=5e5, rope_scaling={"type" if k == "rope_type" else k: v for k, v in scaling.items()})
    assert old.rope == new.rope == oldest.rope
    assert (old.rope.kind, old.rope.factor, old.rope.theta, old.rope.original_max_context) == ("llama3", 8.0, 5e5, 512)


def test_scalings_keep_their_numbers():
    yarn = read(rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048, "beta_fast": 16})
    assert (yarn.rope.kind, yarn.rope.beta_fast, yarn.max_context) == ("yarn", 16.0, 8192)
    dynamic = read(rope_scaling={"type": "dynamic", "factor": 2.0})
    assert (dynamic.rope.kind, dynamic.rope.original_max_context) == ("dynamic", 2048)
    long = read(
        model_type="phi3",
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        rope_scaling={"type": "su", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
    )
    assert (long.rope.kind, long.rope.factor, len(long.rope.long_factor)) == ("longrope", 32.0, 8)
    assert long.rope.attention_factor is None
    unscaled = read(
        model_type="phi3",
        rope_scaling={
            "type": "longrope", "factor": 1.0, "original_max_position_embeddings": 512, "short_factor": [1.0] * 8,
            "long_factor": [2.0] * 8,
        },
    )  # fmt: skip
    assert unscaled.rope.attention_factor == 1.0


def test_partial_rotation_counts_dimensions():
    assert read(model_type="phi3", partial_rotary_factor=0.5).rope.dim == 8
    assert read(model_type="phi3", partial_rotary_factor=1.0).rope.dim == 0


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 32}, (32,) * 4),
        ({"model_type": "mistral", "sliding_window": None}, ()),
        ({"model_type": "qwen2", "sliding_window": 32, "max_window_layers": 2}, ()),
        (
            {"model_type": "qwen2", "sliding_window": 32, "max_window_layers": 2, "use_sliding_window": True},
            (0, 0, 32, 32),
        ),
        ({"model_type": "gemma2", "sliding_window": 32}, (32, 0, 32, 0)),
        ({"model_type": "gemma3_text", "sliding_window": 32, "sliding_window_pattern": 3}, (32, 32, 0, 32)),
        ({"model_type": "gemma3_text", "sliding_window": 32}, (32,) * 4),
        ({"model_type": "olmo3", "sliding_window": 32}, (32, 32, 32, 0)),
        (
            {"model_type": "qwen3", "sliding_window": 8, "use_sliding_window": True,
             "layer_types": ["full_attention", "sliding_attention"] * 2},
            (0, 8, 0, 8),
        ),
    ],
)  # fmt: skip
def test_which_layers_slide(changes, windows):
    assert read(**changes).windows == windows


def test_gemma3_turns_its_sliding_layers_by_another_base():
    old = read(
        model_type="gemma3_text",
        rope_theta=1e6,
        rope_local_base_freq=1e4,
        rope_scaling={"type": "linear", "factor": 8.0},
    )
    new = read(
        model_type="gemma3_text",
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    )
    for config in (old, new):
        assert (config.rope.kind, config.rope.factor, config.rope.theta) == ("linear", 8.0, 1e6)
        assert (config.local_rope.kind, config.local_rope.theta) == ("default", 1e4)


def test_families_differ_where_they_must():
    gemma2 = read(model_type="gemma2", query_pre_attn_scalar=144, head_dim=16)
    assert (gemma2.norm_placement, gemma2.norm_offset, gemma2.activation) == ("sandwich", 1.0, "gelu_tanh")
    assert (gemma2.attention_softcap, gemma2.logit_softcap, gemma2.tie_embeddings) == (50.0, 30.0, True)
    assert gemma2.attention_scale == pytest.approx(1 / 12)
    assert gemma2.embedding_multiplier == 8.0
    assert read(model_type="gemma2", attn_logit_softcapping=None).attention_softcap == 0.0
    granite = read(
        model_type="granite",
        attention_multiplier=0.5,
        embedding_multiplier=12.0,
        residual_multiplier=0.25,
        logits_scaling=8.0,
    )
    assert (granite.attention_scale, granite.embedding_multiplier) == (0.5, 12.0)
    assert (granite.residual_multiplier, granite.logit_divisor) == (0.25, 8.0)
    assert read(model_type="smollm3").rope_layers == (True, True, True, False)
    assert read(model_type="smollm3", no_rope_layers=[1, 0, 1, 0]).rope_layers == (True, False, True, False)
    assert read(model_type="olmo2").norm_placement == "post"
    assert read(model_type="qwen3", head_dim=None).head_dim == 128


def test_stop_tokens_of_the_generation_config_win():
    assert read(generation={"eos_token_id": [1, 2, 1]}).eos_token_ids == (1, 2)
    assert read(generation={}).eos_token_ids == (2,)
    assert read(eos_token_id=None).eos_token_ids == ()


def test_the_language_part_of_a_multimodal_config_is_read():
    inner = {**BASE, "model_type": "gemma3_text", "sliding_window": 32}
    config = config_from_hf({"model_type": "gemma3", "text_config": inner, "vision_config": {"hidden_size": 9}}, HERE)
    assert (config.architecture, config.hidden_size) == ("gemma3", 64)


def test_an_unknown_architecture_is_told_which_are_known():
    with pytest.raises(UnsupportedModel) as caught:
        read(model_type="mamba")
    assert all(name in str(caught.value) for name in FAMILIES)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"num_attention_heads": 0}, BadCheckpoint, "num_attention_heads"),
        ({"num_attention_heads": True}, BadCheckpoint, "num_attention_heads"),
        ({"vocab_size": 1 << 40}, BadCheckpoint, "vocab_size"),
        ({"hidden_size": "64"}, BadCheckpoint, "hidden_size"),
        ({"hidden_size": ...}, BadCheckpoint, "hidden_size"),
        ({"num_hidden_layers": 1 << 30}, BadCheckpoint, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, BadCheckpoint, "heads"),
        ({"rope_theta": float("inf")}, BadCheckpoint, "rope_theta"),
        ({"rope_theta": -1}, BadCheckpoint, "rope_theta"),
        ({"rope_scaling": "linear"}, BadCheckpoint, "rope_scaling"),
        ({"rope_scaling": {"type": "spiral"}}, UnsupportedModel, "spiral"),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, BadCheckpoint, "factor"),
        ({"layer_types": ["chunked_attention"] * 4, "sliding_window": 8}, UnsupportedModel, "chunked_attention"),
        ({"layer_types": ["full_attention"]}, BadCheckpoint, "layer_types"),
        ({"hidden_act": "swiglu-7"}, UnsupportedModel, "swiglu-7"),
        ({"rms_norm_eps": "small"}, BadCheckpoint, "rms_norm_eps"),
        ({"auto_map": {"AutoConfig": "x.Y"}}, BadCheckpoint, "auto_map"),
        ({"architectures": ["LlamaForSequenceClassification"]}, UnsupportedModel, "SequenceClassification"),
        ({"model_type": ["llama"]}, BadCheckpoint, "model_type"),
        ({"model_type": ...}, UnsupportedModel, "architecture"),
        ({"eos_token_id": [-1]}, BadCheckpoint, "eos_token_id"),
        ({"tie_word_embeddings": "yes"}, BadCheckpoint, "tie_word_embeddings"),
        ({"use_bidirectional_attention": True}, UnsupportedModel, "both directions"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(changes, error, named):
    with pytest.raises(error, match=named) as caught:
        read(**changes)
    assert "\n" not in str(caught.value)


ANY = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
)
KEYS = [
    *BASE, "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "sliding_window", "layer_types", "text_config",
    "hidden_act", "partial_rotary_factor", "bos_token_id", "no_rope_layers", "architectures", "sliding_window_pattern",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    changes=st.dictionaries(
        st.sampled_from(KEYS), ANY | st.dictionaries(st.sampled_from(["type", "factor"]), ANY), max_size=3
    ),
)
def test_any_values_give_a_config_or_an_error_of_ours(family, changes):
    try:
        config = config_from_hf({**BASE, "model_type": family, **changes}, HERE)
    except RadixlangError:
        return
    assert config.num_heads % config.num_kv_heads == 0
    assert len(config.windows) in (0, config.num_layers)


@pytest.mark.slow  # of which transformers' import takes most
def test_a_config_that_transformers_writes_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=3e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 12345.0},
    )  # fmt: skip
    theirs.save_pretrained(tmp_path)
    ours = config_from_hf(json.loads((tmp_path / "config.json").read_text()), tmp_path)
    assert (ours.norm_eps, ours.tie_embeddings, ours.head_dim) == (3e-5, True, 16)
    assert (ours.rope.kind, ours.rope.factor, ours.rope.theta) == ("linear", 2.0, 12345.0)
