"""`Runtime`'s server ends with the program that started it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import radixlang as sgl
runtime = sgl.Runtime(model_path={model!r}, num_threads=1)
print(runtime.pid, flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_goes_when_its_program_is_killed(tiny_model_dir: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.format(model=str(tiny_model_dir))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        server = int(program.stdout.readline())
        assert Path(f"/proc/{server}").exists()
        os.kill(program.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()
