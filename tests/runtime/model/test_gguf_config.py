from array import array
from pathlib import Path

import numpy as np
import pytest

from radixlang.errors import BadCheckpoint, UnsupportedModel
from radixlang.runtime.model.gguf_config import config_from_gguf

HERE = Path("model.gguf")


def read(architecture="llama", small=None, shapes=None, **changes):
    metadata = {
        "general.architecture": architecture,
        **{
            f"{architecture}.{key}": value
            for key, value in {
                "block_count": 4, "context_length": 2048, "embedding_length": 64, "feed_forward_length": 128,
                "attention.head_count": 4, "attention.head_count_kv": 2,
                **{key.replace("__", "."): value for key, value in changes.items()},
            }.items()
            if value is not ...
        },
    }  # fmt: skip
    shapes = {"token_embd.weight": (320, 64), **{f"t{i}": (1,) for i in range(40)}} if shapes is None else shapes
    return config_from_gguf(metadata, shapes, small or {}, HERE)


def test_llama_is_plain():
    config = read()
    assert (config.vocab_size, config.head_dim, config.tie_embeddings, config.windows) == (320, 16, True, ())
    assert config.rope.theta == 10000.0


def test_heads_may_have_their_own_length():
    assert read("qwen3", attention__key_length=32, attention__value_length=32).head_dim == 32
    with pytest.raises(UnsupportedModel, match="different lengths"):
        read("qwen3", attention__key_length=32, attention__value_length=16)


@pytest.mark.parametrize(
    ("architecture", "changes", "windows"),
    [
        ("gemma2", {"attention__sliding_window": 32}, (32, 0, 32, 0)),
        ("gemma3", {"attention__sliding_window": 32}, (32,) * 4),
        ("gemma3", {"attention__sliding_window": 32, "attention__sliding_window_pattern": 2}, (32, 0, 32, 0)),
        (
            "gemma3",
            {"attention__sliding_window": 32, "attention__sliding_window_pattern": memoryview(bytes([1, 0, 0, 1]))},
            (32, 0, 0, 32),
        ),
        ("phi3", {"attention__sliding_window": 32}, (32,) * 4),
        ("phi3", {"attention__sliding_window": 0}, ()),
    ],
)
def test_which_layers_slide(architecture, changes, windows):
    assert read(architecture, **changes).windows == windows


def test_what_only_the_family_tells():
    gemma3 = read("gemma3", rope__freq_base=1e6)
    assert (gemma3.norm_placement, gemma3.norm_offset, gemma3.embedding_multiplier) == ("sandwich", 1.0, 8.0)
    assert (gemma3.rope.theta, gemma3.local_rope.theta) == (1e6, 10000.0)
    gemma2 = read("gemma2")
    assert (gemma2.attention_softcap, gemma2.logit_softcap) == (50.0, 30.0)
    assert read("smollm3").rope_layers == (True, True, True, False)
    granite = read("granite", attention__scale=0.5, embedding_scale=12.0, residual_scale=0.25, logit_scale=8.0)
    assert (granite.attention_scale, granite.embedding_multiplier) == (0.5, 12.0)
    assert (granite.residual_multiplier, granite.logit_divisor) == (0.25, 8.0)


def test_the_largest_gemmas_scale_by_hidden_over_heads():
    shapes = {"token_embd.weight": (320, 64), **{f"t{i}": (1,) for i in range(99)}}
    assert read("gemma2", shapes=shapes, block_count=46, attention__key_length=32).attention_scale == 0.25
    assert read("gemma2", shapes=shapes, block_count=42, attention__key_length=32).attention_scale == 0.0


def test_scalings():
    linear = read(rope__scaling__type="linear", rope__scaling__factor=4.0)
    assert (linear.rope.kind, linear.rope.factor) == ("linear", 4.0)
    yarn = read(rope__scaling__type="yarn", rope__scaling__factor=4.0, rope__scaling__original_context_length=512)
    assert (yarn.rope.kind, yarn.rope.original_max_context, yarn.rope.attention_factor) == ("yarn", 512, None)
    told = read(rope__scaling__type="yarn", rope__scaling__factor=4.0, rope__scaling__attn_factor=0.5)
    assert told.rope.attention_factor == pytest.approx(0.5 * (1 + 0.1 * np.log(4)))
    factors = {
        "rope_factors_long.weight": np.full(8, 2, np.float32),
        "rope_factors_short.weight": np.ones(8, np.float32),
    }
    long = read("phi3", small=factors, rope__scaling__attn_factor=1.19)
    assert (long.rope.kind, long.rope.attention_factor) == ("longrope", 1.19)


def test_a_head_of_its_own_unties():
    shapes = {"token_embd.weight": (320, 64), "output.weight": (320, 64), **{f"t{i}": (1,) for i in range(9)}}
    assert not read(shapes=shapes).tie_embeddings


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"block_count": 41 + 1}, BadCheckpoint, "block_count"),
        ({"block_count": ...}, BadCheckpoint, "block_count"),
        ({"attention__head_count": memoryview(array("i", [4, 2]))}, UnsupportedModel, "differs between layers"),
        ({"attention__head_count": memoryview(b"")}, UnsupportedModel, "differs between layers"),
        ({"context_length": -1}, BadCheckpoint, "context_length"),
        ({"shapes": {}}, BadCheckpoint, "token_embd"),
        ({"shapes": {"token_embd.weight": (320,)}}, BadCheckpoint, "token_embd"),
        ({"small": {"rope_freqs.weight": np.ones(3, np.float32)}}, BadCheckpoint, "freq_factors"),
        ({"small": {"rope_freqs.weight": np.zeros(8, np.float32)}}, BadCheckpoint, "freq_factors"),
        ({"small": {"rope_freqs.weight": np.full(8, np.nan, np.float32)}}, BadCheckpoint, "freq_factors"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, error, named):
    with pytest.raises(error, match=named):
        read(**changes)


def test_layers_that_agree_are_one_number():
    assert read(attention__head_count_kv=memoryview(array("i", [2] * 4))).num_kv_heads == 2
