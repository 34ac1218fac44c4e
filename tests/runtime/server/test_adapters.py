"""Adapters over HTTP, on a server of its own process: every API's way to name one, loading, and an engine's death."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import radixlang as sgl
from radixlang.runtime.engine import Engine

GREEDY = {"max_new_tokens": 8, "temperature": 0.0}
PROMPT = "hello world"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_model_dir, make_adapter, make_merged):
    """Adapter and merged model, of two."""
    base = tmp_path_factory.mktemp("adapters")
    made = {}
    for name, rank in (("first", 4), ("second", 8)):
        folder = make_adapter(base / name, tiny_model_dir, rank=rank, seed=rank, size=0.6)
        made[name] = (folder, make_merged(base / f"merged-{name}", tiny_model_dir, folder))
    return made


@pytest.fixture(scope="module")
def wanted(folders, tiny_model_dir):
    """The greedy ids of each adapter, from merged weights; "": of the model itself."""
    found = {}
    for name, path in {"": tiny_model_dir, **{name: merged for name, (_, merged) in folders.items()}}.items():
        with Engine(model_path=str(path), max_total_tokens=512, dtype="float32", kv_cache_dtype="float32") as engine:
            found[name] = engine.generate(PROMPT, GREEDY)["output_ids"]
    assert len({tuple(ids) for ids in found.values()}) == 3, "the adapters make no difference"
    return found


@pytest.fixture(scope="module")
def server(tiny_model_dir, folders, tmp_path_factory):
    """Two adapters compute at once at most; the first is there from the start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    options = ["--model-path", str(tiny_model_dir), "--port", str(port), "--kv-cache-dtype", "float32"]
    options += ["--served-model-name", "tiny", "--max-total-tokens", "2048", "--max-loras-per-batch", "1"]
    options += ["--lora-paths", f"first={folders['first'][0]}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "radixlang.launch_server", *options], stdout=out, stderr=out, cwd=log.parent
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    try:
        wait_ready(client, process, log)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def wait_ready(client, process, log):
    deadline = time.monotonic() + 120
    while True:
        assert process is None or process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "not ready"
        with contextlib.suppress(httpx.TransportError):
            if client.get("/ready").status_code == 200:
                return
        time.sleep(0.05)


@pytest.fixture
def both(server, folders):
    """The second adapter loaded too, while the server runs."""
    server.post("/load_lora_adapter", json={"lora_name": "second", "lora_path": str(folders["second"][0])})
    yield server
    server.post("/unload_lora_adapter", json={"lora_name": "second"})


def ids_of(server, adapter, **more):
    body = {"text": PROMPT, "sampling_params": GREEDY, "lora_path": adapter or None, **more}
    answer = server.post("/generate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["output_ids"]


def test_each_adapter_answers_as_its_merged_model(both, wanted):
    for adapter in ("first", "", "second", "first"):
        assert ids_of(both, adapter) == wanted[adapter]


def test_a_batch_of_several_adapters(both, wanted):
    who = ["first", None, "second", "first"]
    body = {"text": [PROMPT] * 4, "sampling_params": GREEDY, "lora_path": who}
    found = [answer["output_ids"] for answer in both.post("/generate", json=body).json()]
    assert found == [wanted[adapter or ""] for adapter in who]


def test_many_at_once_where_one_adapter_computes_at_a_time(both, wanted):
    who = ["first", "second", ""] * 4
    with ThreadPoolExecutor(len(who)) as pool:
        assert list(pool.map(lambda adapter: ids_of(both, adapter), who)) == [wanted[adapter] for adapter in who]


def test_adapters_are_models(both, wanted, folders):
    listed = {card["id"]: card for card in both.get("/v1/models").json()["data"]}
    assert list(listed) == ["tiny", "first", "second"]
    assert (listed["first"]["parent"], listed["first"]["root"]) == ("tiny", str(folders["first"][0]))
    assert both.get("/v1/models/second").json()["root"] == str(folders["second"][0])
    said = {}
    for model in ("tiny", "first", "tiny:second", "second"):
        body = {"model": model, "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "return_token_ids": True}
        answer = both.post("/v1/completions", json=body).json()
        said[model] = answer["choices"][0]["text"]
        assert answer["model"] == model
    body = {"model": "tiny", "lora_path": "first", "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    assert both.post("/v1/completions", json=body).json()["choices"][0]["text"] == said["first"]
    assert said["second"] == said["tiny:second"]
    assert len(set(said.values())) == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 4}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}], "stream": False}),
    ],
)
def test_every_api_takes_an_adapter_as_its_model_and_refuses_an_unknown_one(server, path, body):
    answer = server.post(path, json={"model": "first", **body})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "first"
    assert server.post(path, json={"model": "third", **body}).status_code == 404


def test_an_unknown_adapter_is_a_404_that_says_which_there_are(server):
    for path, body in (("/generate", {"text": "x"}), ("/v1/completions", {"prompt": "x"})):
        answer = server.post(path, json={**body, "lora_path": "third"})
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "lora_path"
        assert "first" in answer.json()["error"]["message"]
    answer = server.post("/v1/completions", json={"model": "first", "lora_path": "third", "prompt": "x"})
    assert answer.status_code == 400


def test_loading_and_unloading_tell_what_is_there(server, folders, tmp_path):
    loaded = server.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": str(folders["second"][0])})
    assert loaded.json()["loaded_adapters"]["x"] == str(folders["second"][0])
    again = server.post("/load_lora_adapter", json={"lora_name": "x", "lora_path": str(folders["second"][0])})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "lora_name")
    unloaded = server.post("/v1/unload_lora_adapter", json={"lora_name": "x"})
    assert "x" not in unloaded.json()["loaded_adapters"]
    assert server.post("/unload_lora_adapter", json={"lora_name": "x"}).status_code == 400
    bad = server.post("/load_lora_adapter", json={"lora_name": "x", "lora_path": str(tmp_path)})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "lora_path")


def test_constraints_options_and_programs_with_an_adapter(both, request):
    regex = {"text": PROMPT, "sampling_params": {**GREEDY, "regex": "[ab]{3}c"}, "lora_path": "second"}
    assert both.post("/generate", json=regex).json()["text"][3:] == "c"
    scores = {}
    for adapter in (None, "first", "second"):
        body = {"text": PROMPT, "choices": [" a", " the"], "lora_path": adapter}
        scores[adapter] = str(both.post("/score_choices", json=body).json()["choices"])
    assert len(set(scores.values())) == 3

    @sgl.function
    def program(s):
        s += PROMPT + sgl.gen("x", max_tokens=8, lora_path="second")
        s += sgl.gen("y", max_tokens=4) + sgl.select("z", ["a", "b"])

    endpoint = sgl.RuntimeEndpoint(str(both.base_url))
    request.addfinalizer(endpoint.shutdown)
    state = program.run(backend=endpoint, temperature=0, lora_path="first")
    assert state["x"] == both.post("/generate", json={
        "text": PROMPT, "sampling_params": GREEDY, "lora_path": "second"}).json()["text"]  # fmt: skip
    with pytest.raises(sgl.errors.RadixlangError):
        program.run(backend=endpoint, temperature=0, lora_path="third")["y"]


def test_vectors_and_labels_are_those_of_the_adapter(server):
    vectors, labels = {}, {}
    for model in ("tiny", "first"):
        answer = server.post("/v1/embeddings", json={"model": model, "input": PROMPT}).json()
        vectors[model] = str(answer["data"][0]["embedding"])
        body = {"model": model, "query": "a", "items": ["b"], "label_token_ids": [5, 6], "apply_softmax": True}
        labels[model] = str(server.post("/v1/score", json=body).json()["scores"])
    assert vectors["tiny"] != vectors["first"]
    assert labels["tiny"] != labels["first"]
    assert server.post("/encode", json={"text": PROMPT, "lora_path": "third"}).status_code == 404


def test_prefixes_are_shared_within_an_adapter_alone(both):
    prompt = {"text": "a prompt of its own, long enough"}
    for adapter, cached in (("first", False), ("first", True), ("second", False), (None, False)):
        found = both.post("/v1/cache/lookup", json={**prompt, "lora_path": adapter}).json()
        assert (found["cached_tokens"] > 4) == cached
        both.post("/generate", json={**prompt, "sampling_params": GREEDY, "lora_path": adapter})


def test_a_new_engine_has_the_adapters_of_the_old_one(both, wanted):
    before = both.get("/get_server_info").json()["scheduler_pid"]
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while both.get("/get_server_info").json().get("scheduler_pid") in (before, None):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_ready(both, None, None)
    assert ids_of(both, "second") == wanted["second"]
    assert ids_of(both, "first") == wanted["first"]
