"""A directory of a family that is not ours: opened without transformers, checked like any other."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from radixlang.errors import BadCheckpoint, ModelNotFound
from radixlang.runtime.weights.foreign import ForeignCheckpoint
from radixlang.runtime.weights.open import open_checkpoint

CONFIG = {
    "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "vocab_size": 10, "hidden_size": 4,
    "num_attention_heads": 2, "num_hidden_layers": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tensors = {"gpt_neox.embed_in.weight": np.arange(40, dtype=np.float32).reshape(10, 4), "scalar": np.float16(3)}
    save_file({name: np.asarray(array) for name, array in tensors.items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_tensors_have_the_names_of_the_file(folder):
    checkpoint = open_checkpoint(folder)
    assert isinstance(checkpoint, ForeignCheckpoint)
    assert sorted(checkpoint.names()) == ["gpt_neox.embed_in.weight", "scalar"]
    assert checkpoint.formats() == ["F16", "F32"]
    assert checkpoint.dense("gpt_neox.embed_in.weight").tolist() == np.arange(40).reshape(10, 4).tolist()
    assert checkpoint.packed("scalar").shape == ()
    with pytest.raises(KeyError):
        checkpoint.packed("other")


def test_the_digest_is_of_config_and_files(folder):
    first = open_checkpoint(folder).digest
    assert open_checkpoint(folder).digest == first
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": 2}))
    assert open_checkpoint(folder).digest != first


def test_damaged_and_missing_files_are_named(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        open_checkpoint(folder)
    file.write_bytes(b"")
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        open_checkpoint(folder)
    file.unlink()
    with pytest.raises(ModelNotFound):
        open_checkpoint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BadCheckpoint, match="pickled"):
        open_checkpoint(folder)
