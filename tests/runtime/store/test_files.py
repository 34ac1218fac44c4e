import os
import threading

import pytest

from radixlang.errors import ModelError, ModelNotFound
from radixlang.runtime.store import files
from radixlang.runtime.store.files import (
    digest_of,
    folder_of,
    is_name,
    is_verified,
    locked,
    record_verified,
    recorded_digest,
)
from radixlang.runtime.store.paths import cache_dir, models_dir, write_atomically


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "/etc", "a/b", ".hidden", "a\0b", "a b", "x" * 200, "~", "a..b", "-x"]
)
def test_paths_and_hidden_names_are_no_names(name):
    assert not is_name(name)
    with pytest.raises(ModelNotFound):
        folder_of(name)


def test_a_name_is_a_folder_of_the_store(store):
    assert folder_of("Qwen2.5-0.5b_q4") == store / "Qwen2.5-0.5b_q4"


def test_a_link_out_of_the_store_is_no_name(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    store.mkdir(parents=True)
    (store / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelNotFound):
        folder_of("link")


def test_a_mark_saves_the_hashing(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    digest = digest_of(path)
    assert is_verified(path, 7, digest)
    monkeypatch.setattr(files, "digest_of", lambda _: pytest.fail("hashed again"))
    assert is_verified(path, 7, digest)
    assert not is_verified(path, 8, digest)
    assert not is_verified(path, 7, "0" * 64)
    assert not is_verified(tmp_path / "none", 7, digest)


def test_a_file_younger_than_its_mark_is_hashed_again(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    digest = digest_of(path)
    record_verified(path, digest)
    assert recorded_digest(path) == digest
    path.write_bytes(b"CONTENT")
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert recorded_digest(path) is None
    assert not is_verified(path, 7, digest)


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe"])
def test_a_broken_mark_is_none(tmp_path, mark):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    (tmp_path / "model.gguf.sha256").write_bytes(mark)
    assert recorded_digest(path) is None


def test_a_lock_is_held_by_one(tmp_path):
    held, release = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path):
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    with pytest.raises(ModelError, match="another process"), locked(tmp_path, wait_s=0):
        pass
    release.set()
    thread.join()
    with locked(tmp_path, wait_s=0):
        pass


def test_the_environment_moves_the_folders(monkeypatch, tmp_path):
    assert models_dir() == cache_dir() / "models"
    monkeypatch.setenv("RADIXLANG_MODELS", str(tmp_path / "m"))
    assert models_dir() == tmp_path / "m"
    monkeypatch.delenv("RADIXLANG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x" / "radixlang"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "h"))
    assert cache_dir() == tmp_path / "h" / ".cache" / "radixlang"


def test_writing_leaves_nothing_half_done(tmp_path):
    path = tmp_path / "a" / "b"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == []
