import pytest

from radixlang.errors import BadCheckpoint, ModelNotFound
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint


def test_the_format_is_seen_from_what_lies_there(tiny_model_dir, tiny_gguf_path):
    assert isinstance(open_checkpoint(tiny_model_dir), SafetensorsCheckpoint)
    assert isinstance(open_checkpoint(tiny_gguf_path), GgufCheckpoint)


def test_formats_are_told_without_reading(tiny_model_dir, tiny_gguf_path):
    assert open_checkpoint(tiny_model_dir).formats() == ["F32"]
    assert open_checkpoint(tiny_gguf_path).formats() == ["F32"]


def test_nothing_there_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match=r"nothing\.gguf"):
        open_checkpoint(tmp_path / "nothing.gguf")


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth"])
def test_pickles_are_refused_by_their_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadCheckpoint, match="never loaded"):
        open_checkpoint(tmp_path / name)
