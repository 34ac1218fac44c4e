"""Facts of a config.json whose family only transformers' code runs."""

from pathlib import Path

import pytest

from radixlang.errors import BadCheckpoint
from radixlang.runtime.model.foreign_config import foreign_config, is_foreign

HERE = Path("somewhere/config.json")
GPT2 = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_embd": 768, "n_head": 12,
    "n_layer": 12, "n_positions": 1024, "bos_token_id": 50256, "eos_token_id": 50256,
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 32000, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "max_position_embeddings": 32768,
    "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"model_type": "llama"}, False),
        ({"model_type": "gemma3_text"}, False),
        ({"model_type": 3}, False),
        ({"model_type": "gpt2\nERROR"}, False),
        ({"model_type": "\ud800"}, False),
        ({"model_type": None}, False),
        ({"architectures": ["GPT2ForSequenceClassification"]}, False),
        ({"architectures": None}, False),
        ({"architectures": [7, "GPT2LMHeadModel"]}, True),
    ],
)
def test_only_families_that_are_not_ours_and_generate_text(changes, wanted):
    assert is_foreign({**GPT2, **changes}) is wanted


def test_facts_by_either_name():
    old, new = foreign_config(GPT2, HERE), foreign_config(MIXTRAL, HERE, {"eos_token_id": [2, 7]})
    assert old.architecture == "transformers:gpt2"
    assert (old.vocab_size, old.hidden_size, old.num_layers, old.num_heads, old.num_kv_heads, old.head_dim) == (
        50257, 768, 12, 12, 12, 64,
    )  # fmt: skip
    assert (old.max_context, old.eos_token_ids, old.bos_token_id) == (1024, (50256,), 50256)
    assert (new.max_context, new.num_kv_heads, new.head_dim, new.eos_token_ids) == (32768, 8, 128, (2, 7))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"vocab_size": 1 << 40}, "vocab_size"),
        ({"n_embd": "wide"}, "n_embd"),
        ({"n_layer": 1 << 30}, "n_layer"),
        ({"eos_token_id": [-1]}, "eos_token_id"),
        ({"auto_map": {"AutoModelForCausalLM": "x.Y"}}, "auto_map"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(changes, named):
    with pytest.raises(BadCheckpoint, match=named):
        foreign_config({**GPT2, **changes}, HERE)
