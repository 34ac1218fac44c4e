"""Files of packed weights: kept while they are used, deleted when they are not."""

import os

import pytest

from radixlang.kernels.cpu import pack_cache

HEADER = b"packed"


def write(folder, name, size=100, last_use=1000):
    path = folder / name
    path.write_bytes(HEADER.ljust(size, b"."))
    os.utime(path, (last_use, last_use))
    return path


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_longest_unused_go_first_until_the_rest_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_cache, "MAX_BYTES", 250)
    for age, name in enumerate(("v2-new.packed", "v2-b.packed", "v2-c.packed", "v2-d.packed")):
        write(tmp_path, name, last_use=1000 - age)
    pack_cache.prune(tmp_path, 2, keep=tmp_path / "v2-new.packed")
    assert names(tmp_path) == {"v2-new.packed", "v2-b.packed", "v2-c.packed"}


def test_the_newest_stays_however_large(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_cache, "MAX_BYTES", 0)
    kept = write(tmp_path, "v2-new.packed", size=10_000, last_use=1)
    write(tmp_path, "v2-old.packed")
    pack_cache.prune(tmp_path, 2, keep=kept)
    assert names(tmp_path) == {"v2-new.packed"}


def test_other_layouts_and_what_a_killed_process_left_go_at_once_and_other_files_stay(tmp_path):
    for name in ("v1-a.packed", "0123456789abcdef.packed", ".packing-x", "v2-a.packed", "notes.txt"):
        write(tmp_path, name)
    pack_cache.prune(tmp_path, 2, keep=tmp_path / "v2-new.packed")
    assert names(tmp_path) == {"v2-a.packed", "notes.txt"}


def test_what_is_mapped_or_being_written_is_never_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_cache, "MAX_BYTES", 0)
    old, layout = write(tmp_path, "v2-old.packed"), write(tmp_path, "v1-a.packed")
    mapped = [pack_cache.map_file(path, HEADER, 100) for path in (old, layout)]
    being_written = pack_cache.new_file(tmp_path, 10)
    pack_cache.prune(tmp_path, 2, keep=tmp_path / "v2-new.packed")
    assert names(tmp_path) == {old.name, layout.name, being_written.path.name}
    for found in mapped:
        found.close()
    os.close(being_written.descriptor)
    pack_cache.prune(tmp_path, 2, keep=tmp_path / "v2-new.packed")
    assert names(tmp_path) == set()


def test_mapping_is_use(tmp_path):
    path = write(tmp_path, "v2-a.packed", last_use=1)
    found = pack_cache.map_file(path, HEADER, 100)
    assert found[: len(HEADER)] == HEADER
    assert path.stat().st_mtime > 1


@pytest.mark.parametrize(("size", "header"), [(99, HEADER), (101, HEADER), (100, b"other!")])
def test_a_file_that_is_not_whole_is_not_mapped(tmp_path, size, header):
    assert pack_cache.map_file(write(tmp_path, "v2-a.packed", size=size), header, 100) is None


@pytest.mark.parametrize(("given", "left"), [("0", 0), ("1e-6", 1), ("nonsense", 2)])
def test_the_limit_can_be_set(tmp_path, monkeypatch, given, left):
    monkeypatch.setenv("RADIXLANG_WEIGHT_CACHE_GB", given)
    for name in "ab":
        write(tmp_path, f"v2-{name}.packed", size=1000)
    pack_cache.prune(tmp_path, 2, keep=tmp_path / "v2-new.packed")
    assert len(names(tmp_path)) == left
