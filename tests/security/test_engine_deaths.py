"""The real server whose engine is killed or stopped: who is answered what, and who is refused afterwards."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

LONG = {"text": "a", "sampling_params": {"n": 64, "max_new_tokens": 1900, "ignore_eos": True, "temperature": 0}}
SHORT = {"text": "b", "sampling_params": {"max_new_tokens": 2, "temperature": 0}}


class Server:
    def __init__(self, model, log, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", str(model), "--port", str(port)]
        with log.open("wb") as said:
            self.process = subprocess.Popen([*command, *options], stderr=said, cwd=log.parent)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)

    def until(self, reached):
        """What `reached` gives once it is true."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if found := reached():
                    return found
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def until_ready(self):
        self.until(lambda: self.http.get("/ready").status_code == 200)

    @property
    def engine(self):
        return self.http.get("/get_server_info").json()["scheduler_pid"]

    def is_running(self):
        answer = self.http.get("/v1/loads")
        return answer.status_code == 200 and answer.json()["loads"][0]["num_running_reqs"] > 0

    def close(self):
        self.http.close()
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture
def serve(tiny_model_dir, tmp_path):
    made = []

    def start(*options):
        made.append(Server(tiny_model_dir, tmp_path / "log", "--max-total-tokens", "200000", *options))
        made[-1].until_ready()
        return made[-1]

    yield start
    for server in made:
        server.close()


def test_a_request_that_ran_at_two_deaths_is_refused_and_the_others_are_served(serve):
    server = serve()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            answer = pool.submit(server.http.post, "/generate", json=LONG)
            server.until(server.is_running)
            os.kill(server.engine, signal.SIGKILL)
            assert answer.result().status_code == 503
            server.until_ready()
    refused = server.http.post("/generate", json=LONG)
    assert refused.status_code == 400
    assert "was running when the engine died, 2 times" in refused.text
    assert server.http.post("/generate", json=SHORT).status_code == 200
    assert server.http.get("/health").status_code == 200


@pytest.mark.slow
def test_a_stopped_engine_is_seen_and_replaced(serve):
    server = serve("--stuck-after", "1")
    first = server.engine
    os.kill(first, signal.SIGSTOP)
    health = server.until(lambda: (found := server.http.get("/health")).status_code == 503 and found)
    assert "has not finished a step" in health.json()["reason"]
    server.until_ready()
    assert server.engine != first
    assert server.http.post("/generate", json=SHORT).status_code == 200


def is_open(port):
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def test_sigterm_while_everything_is_still_loading_leaves_nothing(tiny_model_dir, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", str(tiny_model_dir)]
    with (
        tempfile.TemporaryDirectory(prefix="rx") as folder,  # a socket's path may not be long
        (tmp_path / "log").open("w+") as log,
    ):
        process = subprocess.Popen(
            [*command, "--port", str(port)], stderr=log, cwd=tmp_path, env={**os.environ, "TMPDIR": folder}
        )
        deadline = time.monotonic() + 60
        while not is_open(port):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        # Python's tempfile tries a folder out by a file with this content; it may be killed right then.
        assert [file for file in Path(folder).iterdir() if file.read_bytes() not in (b"", b"blat")] == []
        log.seek(0)
        assert "Traceback" not in log.read()
