import struct
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radixlang.errors import BadCheckpoint, RadixlangError, UnsupportedModel
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.gguf_header import StringArray, read_header, read_strings

HERE = Path("model.gguf")


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(value):
    return u64(len(value)) + value.encode()


def header(raw):
    return read_header(memoryview(raw), HERE)


def test_what_is_written_is_read(make_gguf_bytes):
    metadata = {"a": 7, "b": True, "c": "héllo", "d": ["x", "", "żółw"], "e": [1, -2, 3], "f": 1.5}
    found = header(make_gguf_bytes(metadata, {"t": (0, (2, 3), bytes(24)), "u": (8, (1, 32), bytes(34))}))
    assert {key: found.metadata[key] for key in "abcf"} == {key: metadata[key] for key in "abcf"}
    assert found.metadata["e"].tolist() == [1, -2, 3]
    assert found.tensors["t"].shape == (2, 3)
    assert found.tensors["u"].start - found.tensors["t"].start == 32
    assert isinstance(found.metadata["d"], StringArray)
    raw = make_gguf_bytes(metadata, {})
    assert read_strings(memoryview(raw), header(raw).metadata["d"]) == ["x", "", "żółw"]
    assert read_strings(memoryview(raw), header(raw).metadata["d"], 1, 3) == ["", "żółw"]


@pytest.mark.parametrize("kind", ["B", "b", "H", "h", "I", "i", "f", "Q", "q", "d"])
@pytest.mark.parametrize("numbers", [[], [3], [1, 2, 100]])
def test_arrays_of_numbers_are_read_wherever_they_begin(kind, numbers, make_gguf_bytes):
    number = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "Q": 10, "q": 11, "d": 12}[kind]
    raw = u32(number) + u64(len(numbers)) + struct.pack(f"<{len(numbers)}{kind}", *numbers)
    found = header(make_gguf_bytes({"odd": "x" * 3, "a": (9, raw), "n": 7}, {})).metadata
    assert (found["a"].tolist(), found["n"]) == (numbers, 7)


LONG = st.sampled_from(["\0", "\0" * 8, "a" * 255, "b" * 256, "c" * 600])
STRINGS = st.lists(st.one_of(st.text(max_size=3), LONG), min_size=1)


@settings(max_examples=200, deadline=None)
@example(strings=["b" * 256, *("x" * 60)], behind="")
@given(strings=STRINGS, behind=st.sampled_from(["", "\0" * 20, "z" * 40]))
def test_strings_of_all_lengths_are_walked(strings, behind, make_gguf_bytes):
    raw = memoryview(make_gguf_bytes({"before": 1, "d": strings, "behind": behind, "n": 7}, {}))
    found = header(raw).metadata
    assert (found["behind"], found["n"]) == (behind, 7)
    assert read_strings(raw, found["d"]) == strings


def lies(make):
    """(what it is, bytes, error, what the message must name)"""
    tensor = {"t": (0, (4, 8), bytes(128))}
    good = make({"general.architecture": "llama"}, tensor)
    nested = u32(9) + u64(1) + u32(4) + u64(1) + u32(1)
    return {
        "empty": (b"", BadCheckpoint, "GGUF"),
        "bad magic": (b"GGML" + good[4:], BadCheckpoint, "GGUF"),
        "only magic": (b"GGUF", BadCheckpoint, "version"),
        "version 99": (make({}, {}, version=99), UnsupportedModel, "99"),
        "version 1": (make({}, {}, version=1), UnsupportedModel, "version 1"),
        "big-endian": (make({}, {}, version=3 << 24), UnsupportedModel, "big-endian"),
        "2^60 tensors": (make({}, {}, num_tensors=1 << 60), BadCheckpoint, "tensors"),
        "2^60 keys": (make({}, {}, num_keys=1 << 60), BadCheckpoint, "keys"),
        "one key too many": (make({"a": 1}, {}, num_keys=9, alignment=1), BadCheckpoint, "past the end"),
        "string of 2^62": (make({"a": (8, u64(1 << 62))}, {}), BadCheckpoint, "'a'"),
        "string of 2^56 in a list": (
            make({"a": (9, u32(8) + u64(1) + u64((1 << 56) + 1) + b"y")}, {}), BadCheckpoint, "'a'"
        ),
        "array of 2^61": (make({"a": (9, u32(4) + u64(1 << 61))}, {}), BadCheckpoint, "'a'"),
        "2^61 strings": (make({"a": (9, u32(8) + u64(1 << 61))}, {}), BadCheckpoint, "'a'"),
        "strings past the end": (make({"a": (9, u32(8) + u64(2) + u64(1 << 40))}, {}), BadCheckpoint, "'a'"),
        "last string past the end": (make({"a": (9, u32(8) + u64(1) + u64(1 << 40))}, {}), BadCheckpoint, "'a'"),
        "nested arrays": (make({"a": (9, nested)}, {}), BadCheckpoint, "array of arrays"),
        "value type": (make({"a": (77, b"1234")}, {}), BadCheckpoint, "77"),
        "element type": (make({"a": (9, u32(78) + u64(1) + b"1234")}, {}), BadCheckpoint, "78"),
        "not UTF-8": (make({"a": (8, u64(2) + b"\xff\xfe")}, {}), BadCheckpoint, "UTF-8"),
        "tensor type": (make({}, {"t": (99, (4, 8), bytes(128))}), BadCheckpoint, "99"),
        "a type not read here": (make({}, {"t": (16, (1, 256), bytes(66))}), UnsupportedModel, "IQ2_XXS"),
        "9 dimensions": (make({}, {"t": (0, (1,) * 9, bytes(4))}), BadCheckpoint, "9 dimensions"),
        "0 dimensions": (make({}, {"t": (0, (), bytes(4))}), BadCheckpoint, "0 dimensions"),
        "zero rows": (make({}, {"t": (0, (0, 8), b"")}), BadCheckpoint, "'t'"),
        "size overflow": (make({}, {"t": (0, (1 << 33, 1 << 33), bytes(4))}), BadCheckpoint, "'t'"),
        "past the end": (make({}, {"t": (0, (64, 8), bytes(128))}), BadCheckpoint, "past the end"),
        "offset of 2^63": (make({}, {"t": (0, (4, 8), bytes(128), 1 << 63)}), BadCheckpoint, "past the end"),
        "odd offset": (make({}, {"t": (0, (4, 2), bytes(128), 8)}), BadCheckpoint, "alignment"),
        "overlap": (make({}, {**tensor, "u": (0, (4, 8), bytes(128), 32)}), BadCheckpoint, "overlap"),
        "half a block": (make({}, {"t": (2, (4, 8), bytes(128))}), BadCheckpoint, "Q4_0"),
        "alignment 0": (make({"general.alignment": 0}, tensor), BadCheckpoint, "alignment"),
        "alignment 48": (make({"general.alignment": 48}, tensor), BadCheckpoint, "alignment"),
        "alignment of text": (make({"general.alignment": "32"}, tensor), BadCheckpoint, "alignment"),
        "cut in the data": (good[:-1], BadCheckpoint, "past the end"),
    }  # fmt: skip


NAMES = [
    "empty", "bad magic", "only magic", "version 99", "version 1", "big-endian", "2^60 tensors", "2^60 keys",
    "one key too many", "string of 2^62", "string of 2^56 in a list", "array of 2^61", "2^61 strings",
    "strings past the end", "last string past the end", "nested arrays", "value type", "element type", "not UTF-8",
    "tensor type",
    "a type not read here", "9 dimensions", "0 dimensions", "zero rows", "size overflow", "past the end",
    "offset of 2^63", "odd offset", "overlap", "half a block", "alignment 0", "alignment 48",
    "alignment of text", "cut in the data",
]  # fmt: skip


def test_the_list_of_lies_is_complete(make_gguf_bytes):
    assert set(lies(make_gguf_bytes)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_lies_is_refused_at_once(make_gguf_bytes, name, tmp_path):
    raw, error, named = lies(make_gguf_bytes)[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    with pytest.raises(error) as caught:
        GgufCheckpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    if name != "empty":  # an empty file cannot even be mapped
        assert named in str(caught.value)


@pytest.mark.parametrize("name", ["k" * 60_000, "\n\x08" * 500])
def test_a_long_name_is_told_by_its_beginning(name):
    with pytest.raises(BadCheckpoint, match="unknown value type 77") as caught:
        header(b"GGUF" + u32(3) + u64(0) + u64(1) + text(name) + u32(77))
    assert len(str(caught.value)) < 300


def test_names_may_not_repeat():
    def entry(name, offset):
        return text(name) + u32(1) + u64(8) + u32(0) + u64(offset)

    key = text("a") + u32(4) + u32(1)
    twice = b"GGUF" + u32(3) + u64(0) + u64(2) + key + key
    with pytest.raises(BadCheckpoint, match="'a' appears twice"):
        header(twice)
    head = b"GGUF" + u32(3) + u64(2) + u64(0) + entry("t", 0) + entry("t", 32)
    with pytest.raises(BadCheckpoint, match="'t' appears twice"):
        header(head + bytes(-len(head) % 32) + bytes(64))


def test_every_cut_of_a_good_file_is_refused(make_gguf_bytes, gguf_parts):
    metadata, tensors = gguf_parts
    whole = make_gguf_bytes(metadata, tensors)
    header(whole)
    for size in [*range(0, 400, 7), *range(400, len(whole), 4999), len(whole) - 1]:
        with pytest.raises(BadCheckpoint):
            header(whole[:size])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_file_opens_or_is_refused_and_nothing_else(data, make_gguf_bytes, tmp_path_factory):
    base = _base(make_gguf_bytes)
    raw = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(raw), 12_000) - 1))
        kind = data.draw(st.sampled_from(["byte", "number", "cut", "copy"]))
        if kind == "byte":
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "number":
            raw[at : at + 8] = u64(
                data.draw(st.sampled_from([0, 1, 2, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]))
            )
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 64))]
        else:
            other = data.draw(st.integers(0, min(len(raw), 12_000) - 1))
            raw[at : at + 16] = raw[other : other + 16]
    path = tmp_path_factory.mktemp("mutated") / "model.gguf"
    path.write_bytes(raw)
    began = time.process_time()
    try:
        checkpoint = GgufCheckpoint(path)
        for name in checkpoint.names()[:4]:
            checkpoint.dense(name)
    except RadixlangError:
        pass
    assert time.process_time() - began < 5


_BASES = {}


def _base(make):
    if "gguf" not in _BASES:
        from_conftest = make.__globals__["tiny_gguf_parts"]
        _BASES["gguf"] = make(*from_conftest())
    return _BASES["gguf"]
