"""What a model's makers propose, from both kinds of checkpoints."""

import json

import pytest

from radixlang.runtime.sampling_defaults import sampling_defaults_of
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.open import open_checkpoint


@pytest.fixture
def proposed(tmp_path, make_tiny_model):
    """What is read of a directory whose generation_config.json says this."""
    path = make_tiny_model(tmp_path / "model")

    def read(**values):
        (path / "generation_config.json").write_text(json.dumps(values))
        return sampling_defaults_of(open_checkpoint(path))

    return read


def test_generation_config_proposes_sampling(proposed):
    assert proposed(temperature=0.6, top_p=0.95, top_k=20, repetition_penalty=1.1, do_sample=True, max_length=20) == {
        "temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1,
    }  # fmt: skip
    assert proposed(eos_token_id=2, top_k=None) == {}


def test_what_cannot_be_is_left_out_and_told(proposed, caplog):
    assert proposed(temperature=-1, top_p="0.9", top_k=2.5, min_p=True, repetition_penalty=1.5) == {
        "repetition_penalty": 1.5
    }
    for key in ("temperature", "top_p", "top_k", "min_p"):
        assert f"its {key} is not taken" in caplog.text


def test_a_gguf_header_proposes_sampling(tmp_path, gguf_parts, make_gguf_bytes):
    metadata, tensors = gguf_parts
    metadata |= {"general.sampling.temp": 0.5, "general.sampling.top_k": 7}
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(metadata, tensors))
    assert sampling_defaults_of(GgufCheckpoint(path)) == {"temperature": 0.5, "top_k": 7}
