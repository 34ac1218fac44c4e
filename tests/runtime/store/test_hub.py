"""Hub ids, through the real huggingface_hub against a server of our own in the hub's place."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading

import pytest

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files`: {repository: {name: bytes}}."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/[^/]+", path):
            files = self.server.files.get(match[1])
            if files is None:
                return self._answer(404, b'{"error": "no"}', {"X-Error-Code": "RepoNotFound"})
            entries = [
                {"type": "file", "path": name, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}
                for name, raw in files.items()
            ]
            siblings = [{"rfilename": entry["path"]} for entry in entries]
            told = entries if match[2] == "tree" else {"id": match[1], "sha": COMMIT, "siblings": siblings}
            return self._answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            files = self.server.files.get(match[1])
            if files is None:
                return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            if match[2] not in files:
                return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            raw = files[match[2]]
            return self._answer(200, raw, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(raw).hexdigest()}"'})
        return self._answer(404, b"", {})

    def _answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub(tiny_model_dir, tiny_gguf_path):
    folder = {path.name: path.read_bytes() for path in tiny_model_dir.iterdir() if path.is_file()}
    files = {
        "tiny/llama": {**folder, "README.md": b"# tiny", "pytorch_model.bin": b"never", "modeling.py": b"never"},
        "tiny/ggufs": {"a.gguf": tiny_gguf_path.read_bytes(), "b.gguf": b"GGUF", "README.md": b"two"},
        "tiny/parts": {f"m-0000{i}-of-00002.gguf": bytes([i]) for i in (1, 2)},
    }
    server = Hub(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def radixlang(tmp_path, *arguments, endpoint, **environment):
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "radixlang", *arguments],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**os.environ, **told},
    )  # fmt: skip


def refused(done):
    """The one line."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("radixlang: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_repository_is_fetched_once_and_without_its_code_and_pickles(hub, tmp_path):
    done = radixlang(tmp_path, "pull", "tiny/llama", endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()
    assert set(os.listdir(folder)) == {
        name for name in hub.files["tiny/llama"] if name.endswith((".json", ".safetensors"))
    }
    from radixlang.runtime.config import EngineConfig
    from radixlang.runtime.model_files import open_model

    assert open_model(EngineConfig(model_path=folder)).tokenizer.vocab_size == 320
    again = radixlang(tmp_path, "pull", "tiny/llama", endpoint="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert again.stdout.strip() == folder


def test_one_file_of_a_repository_is_fetched_by_its_name(hub, tmp_path, tiny_gguf_path):
    done = radixlang(tmp_path, "pull", "tiny/ggufs/a.gguf", endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    with open(done.stdout.strip(), "rb") as file:
        assert file.read() == tiny_gguf_path.read_bytes()
    assert not any("b.gguf" in path for path in hub.asked)


def test_all_parts_of_a_model_are_fetched_with_one_of_them(hub, tmp_path):
    done = radixlang(tmp_path, "pull", "tiny/parts/m-00002-of-00002.gguf", endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    folder, _, first = done.stdout.strip().rpartition("/")
    assert first == "m-00001-of-00002.gguf"
    assert sorted(os.listdir(folder)) == sorted(hub.files["tiny/parts"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny/nothing", "no model 'tiny/nothing' on the hub"),
        ("tiny/ggufs", "name one: tiny/ggufs/FILE.gguf"),
        ("tiny/ggufs/c.gguf", "tiny/ggufs has no file c.gguf"),
    ],
)
def test_what_the_hub_has_not_is_one_line(hub, tmp_path, name, told):
    assert told in refused(radixlang(tmp_path, "pull", name, endpoint=hub.url))


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no connection", "told to be offline"])
def test_without_a_network_it_is_one_line_that_says_what_to_do(tmp_path, environment):
    line = refused(radixlang(tmp_path, "pull", "tiny/llama", endpoint="http://127.0.0.1:9", **environment))
    assert "tiny/llama could not be fetched from the hub" in line
    assert "Check the network, or give a local path" in line
