"""The documented soak, in its short form: a server under random use loses nothing."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "bench" / "soak.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_of_random_use_leaks_nothing():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SCRIPT), "--minutes", "1", "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing leaked" in done.stdout
