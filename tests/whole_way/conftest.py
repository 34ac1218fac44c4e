"""The real default model: one engine in this process and one server in another, for all tests of the whole way."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

import radixlang as sgl

MODEL = "smollm2-135m-instruct"


def pytest_collection_modifyitems(items):
    for item in items:
        if "whole_way" in item.path.parts:
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def engine():
    with sgl.Engine(model_path=MODEL, max_total_tokens=16384, random_seed=1) as running:
        yield running


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    """A server of its own process, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", MODEL, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--max-total-tokens", "16384"], stdout=out, stderr=out, cwd=os.path.dirname(log)
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0, log.read_text()


@pytest.fixture(scope="session")
def endpoint(server_url):
    running = sgl.RuntimeEndpoint(server_url)
    yield running
    running.shutdown()


@pytest.fixture(params=["engine", "endpoint"])
def backend(request):
    """Both ways to run a program: in this process and over HTTP."""
    return request.getfixturevalue(request.param)
