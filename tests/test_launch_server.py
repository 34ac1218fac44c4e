"""The server's command line before anything is started."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from radixlang.errors import ConfigError
from radixlang.launch_server import _with_key
from radixlang.runtime.config import ServerConfig


def test_a_file_of_keys_has_one_a_line(tmp_path) -> None:
    path = tmp_path / "keys"
    path.write_text("first\n\n  second \r\nthird")
    found = _with_key(ServerConfig(api_key_file=str(path), api_keys=("given",)))
    assert (found.api_key, found.api_keys) == ("first", ("given", "second", "third"))


@pytest.mark.parametrize("content", [b"", b"\nsecond\n", b"\xff\xfe\x00\n", None])
def test_a_file_without_a_first_key_is_refused(tmp_path, content) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        _with_key(ServerConfig(api_key_file=str(path)))
    assert raised.value.param == "api_key_file"
    assert str(path) in raised.value.message


def test_a_system_that_refuses_files_is_told_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "radixlang.launch_server", "--model-path", "none", "--port", "0"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),  # no folder for the socket
    )
    assert done.returncode == 1
    assert done.stderr.startswith("radixlang: configuration error: the system refuses what a server needs (")
    assert done.stderr.count("\n") == 1
