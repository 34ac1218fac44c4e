"""Model files that are read without being kept."""

import mmap

import pytest

from radixlang.errors import BadCheckpoint
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.pages import SampledFile, forget_pages, map_file, unreadable


def test_samples_are_the_first_the_middle_and_the_last_bytes(tmp_path):
    raw = bytes(range(256)) * 8
    (tmp_path / "file").write_bytes(raw)
    with SampledFile(tmp_path / "file") as file:
        assert file.samples(100, 1000) == raw[100:164] + raw[600:664] + raw[1036:1100]
        assert file.samples(7, 10) == raw[7:17] + raw[12:17] + raw[7:17]
        assert file.samples(7, 0) == b""


def resident_kib(path):
    """Of the mappings of a file, in this process."""
    found, counts = 0, False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if "-" in line.split()[0]:
                counts = line.rstrip().endswith(str(path))
            elif counts and line.startswith("Rss:"):
                found += int(line.split()[1])
    return found


def test_forgotten_pages_leave_the_process_and_come_back(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 20))
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert memory.find(b"y") == -1
    assert resident_kib(path) == 1024
    forget_pages(memory)
    assert resident_kib(path) == 0
    assert memory[-1:] == b"x"


def test_opening_a_model_keeps_little_of_it_and_sizes_are_known_without_reading(tiny_gguf_path):
    checkpoint = GgufCheckpoint(tiny_gguf_path)
    checkpoint.forget_pages()
    sizes = {name: checkpoint.packed(name).nbytes for name in checkpoint.names()}
    assert resident_kib(tiny_gguf_path) == 0
    assert sizes == {name: checkpoint.packed(name).data.nbytes for name in checkpoint.names()}


def test_a_file_that_cannot_be_read_is_told_with_what_to_do(tmp_path):
    (tmp_path / "whole").write_bytes(b"abc")
    assert map_file(tmp_path / "whole")[:] == b"abc"
    (tmp_path / "empty").write_bytes(b"")
    for wrong in (tmp_path / "missing", tmp_path / "empty", tmp_path):
        with pytest.raises(BadCheckpoint, match="download the model again") as caught:
            map_file(wrong)
        assert str(wrong) in caught.value.message
    assert "allow this user to read it" in unreadable(tmp_path, PermissionError(13, "Permission denied")).message
