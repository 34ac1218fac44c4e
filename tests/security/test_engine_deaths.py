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


FAULT = """
import importlib.util, sys

class Faulty:
    def find_spec(self, name, path, target=None):
        if name != "radixlang.runtime.model_runner.native":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            for kind in [each for each in vars(module).values() if isinstance(each, type) and "execute" in vars(each)]:
                kind.execute = faulty(kind.execute)
        spec.loader.exec_module = exec_module
        return spec

def faulty(execute):
    def run(self, plan):
        if ((plan.token_ids_T == 77) & (plan.positions_T == 2)).any():
            raise RuntimeError("injected")
        return execute(self, plan)
    return run

sys.meta_path.insert(0, Faulty())
"""
"""A sitecustomize under which no step survives that computes token 77 in third place."""


class Server:
    def __init__(self, model, log, *options, path=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", str(model), "--port", str(port)]
        with log.open("wb") as said:
            env = {**os.environ, "PYTHONPATH": str(path)} if path else None
            self.process = subprocess.Popen([*command, *options], stderr=said, cwd=log.parent, env=env)
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

    def start(*options, path=""):
        made.append(Server(tiny_model_dir, tmp_path / "log", "--max-total-tokens", "200000", *options, path=path))
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


def test_a_step_that_raises_ends_the_requests_to_blame_and_loses_nothing(serve, tmp_path):
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULT)
    server = serve(path=folder)
    good = {"input_ids": [5, 6, 8, 9], "sampling_params": {**LONG["sampling_params"], "n": 8, "max_new_tokens": 400}}
    alone = [one["output_ids"] for one in server.http.post("/generate", json=good).json()]
    bad = {"input_ids": [[5, 6, 77, last] for last in (1, 1, 2, 3)], "sampling_params": {"max_new_tokens": 4}}
    with ThreadPoolExecutor(4) as pool:
        beside = pool.submit(server.http.post, "/generate", json=good)
        server.until(server.is_running)
        answers = [pool.submit(server.http.post, "/generate", json={**bad, "stream": on}) for on in (False, True)]
        assert [answer.result().status_code for answer in answers] == [500, 500]
        assert "injected" not in "".join(answer.result().text for answer in answers)
        assert [one["output_ids"] for one in beside.result().json()] == alone
    now = server.http.get("/get_server_info").json()["internal_states"][0]
    assert now["num_failed_steps"] > 0
    assert now["num_used_tokens"] == now["kv_leaked_tokens_total"] == 0
    assert now["kv_available_tokens"] + now["kv_evictable_tokens"] == now["max_total_num_tokens"]
    log = server.log.read_text()
    assert "freed twice" not in log
    assert "could not be committed" not in log


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


ENDED_AT_ONCE = """
import os, signal, sys
from radixlang import launch_server

make = launch_server.socket_folder

def make_and_end():
    folder = make()
    os.kill(os.getpid(), signal.SIGTERM)
    return folder

launch_server.socket_folder = make_and_end
sys.exit(launch_server.main(sys.argv[1:]))
"""


def test_sigterm_right_after_the_sockets_folder_was_made_leaves_nothing(tiny_model_dir, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-c", ENDED_AT_ONCE, "--model-path", str(tiny_model_dir), "--port", "0"]
    process = subprocess.run(command, cwd=tmp_path, env={**os.environ, "TMPDIR": str(folder)}, timeout=60)
    assert process.returncode == 0
    assert list(folder.glob("radixlang-*")) == []
