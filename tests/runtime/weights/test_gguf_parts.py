"""A GGUF model in parts is the model; parts that are missing or another model's are named."""

import numpy as np
import pytest

from radixlang.errors import BadCheckpoint
from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.tokenizer.open import open_tokenizer
from radixlang.runtime.weights.gguf import GgufCheckpoint


@pytest.fixture
def split(tmp_path, gguf_parts, make_gguf_bytes):
    """Writes the tiny model in three parts and returns their paths; `changes`: of one part's metadata."""
    metadata, tensors = gguf_parts
    names = list(tensors)

    def write(changes=None, at=1, total=None):
        paths = []
        for number in range(3):
            told = {"split.no": number, "split.count": 3, "split.tensors.count": total or len(names)}
            told |= (metadata if number == 0 else {}) | (changes or {} if number == at else {})
            path = tmp_path / f"tiny-{number + 1:05d}-of-00003.gguf"
            path.write_bytes(make_gguf_bytes(told, {name: tensors[name] for name in names[number::3]}))
            paths.append(path)
        return paths

    return write


def test_parts_are_the_model_whichever_is_given(split, tiny_gguf_path):
    whole = GgufCheckpoint(tiny_gguf_path)
    for path in split():
        parts = GgufCheckpoint(path)
        assert parts.config == whole.config
        assert set(parts.names()) == set(whole.names())
        for name in whole.names():
            np.testing.assert_array_equal(parts.dense(name), whole.dense(name))
        assert open_tokenizer(parts).encode("hello there") == open_tokenizer(whole).encode("hello there")


def test_the_digest_is_of_all_parts(split):
    first, _, last = split()
    before = GgufCheckpoint(first).digest
    raw = bytearray(last.read_bytes())
    raw[-1] ^= 1
    last.write_bytes(raw)
    assert GgufCheckpoint(first).digest != before


def test_a_folder_of_the_parts_of_one_model_is_a_model(split, tmp_path):
    first, *_ = split()
    assert resolve_model(str(tmp_path)) == first
    (tmp_path / "other.gguf").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match="4 GGUF files"):
        resolve_model(str(tmp_path))


def test_a_missing_part_is_named(split):
    first, second, _ = split()
    second.unlink()
    with pytest.raises(BadCheckpoint, match=second.name):
        GgufCheckpoint(first)


@pytest.mark.parametrize(
    ("change", "named"), [({"split.no": 2}, "not part 2 of 3"), ({"split.count": 4}, "not part 2 of 3")]
)
def test_a_part_of_another_place_is_named(split, change, named):
    first, *_ = split(change)
    with pytest.raises(BadCheckpoint, match=named):
        GgufCheckpoint(first)


def test_tensors_are_counted(split):
    first, *_ = split(total=99)
    with pytest.raises(BadCheckpoint, match="not 99"):
        GgufCheckpoint(first)
