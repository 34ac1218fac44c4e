"""The real command with the default model: people's clients, signals, a killed engine, a bad model."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore::ResourceWarning")]
HI = [{"role": "user", "content": "Say hello."}]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Running:
    """A server process and a client of it."""

    def __init__(self, *options, log, scheme="http", trusts=True):
        self.port = free_port()
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "radixlang.launch_server", "--port", str(self.port), *options],
            stderr=log.open("wb"),
            cwd=log.parent,
        )
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False, verify=trusts)

    def wait_ready(self):
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.http.get("/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def close(self):
        self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Running("--max-total-tokens", "16384", log=tmp_path_factory.mktemp("server") / "log")
    try:
        yield running.wait_ready()
    finally:
        running.close()


@pytest.fixture(scope="module")
def client(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "size": {"enum": ["small", "large"]}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
TOOL = {"name": "look", "description": "Looks a city up.", "input_schema": CITY, "strict": True}


@pytest.mark.parametrize(
    "fields",
    [
        {"output_format": {"type": "json_schema", "schema": CITY}},
        {"output_config": {"format": {"type": "json_schema", "schema": CITY}}},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"tools": [TOOL, {**TOOL, "name": "find"}], "tool_choice": {"type": "tool", "name": "look"}},
    ],
    ids=["output_format", "output_config", "any tool", "a tool"],
)
def test_anthropics_constraints_are_obeyed(server, fields):
    body = {"messages": HI, "max_tokens": 60, **fields}
    answer = server.http.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    (block,) = answer.json()["content"]
    if "tools" in fields:
        assert (block["type"], block["name"], answer.json()["stop_reason"]) == ("tool_use", "look", "tool_use")
    found = block["input"] if "tools" in fields else json.loads(block["text"])
    assert list(found) == ["city", "size"]
    assert found["size"] in ("small", "large")
    refused = server.http.post("/v1/messages", json={**body, "regex": "a"})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request_error"


def weather(city, days):
    """A turn in which a call's arguments are not what the tool's schema says."""
    call = {"name": "get_weather", "arguments": json.dumps({"town": city, "days": days, "unit": "C"})}
    return [
        {"role": "user", "content": f"Weather in {city}, {days} days"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
        {"role": "assistant", "content": "Sunny."},
    ]


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_strict_tool_that_the_model_calls_by_itself_gets_arguments_of_its_schema(client, temperature):
    days = {"type": "integer", "minimum": 1, "maximum": 9}
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": days},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    said = [*weather("Oslo", 12), *weather("Bern", 30), *weather("Lima", 11)]
    asked = dict(
        model="default",
        messages=[*said, {"role": "user", "content": "Weather in Oslo, 20 days"}],
        max_tokens=120,
        temperature=temperature,
    )

    def arguments(strict, seed):
        function = {"name": "get_weather", "parameters": schema, "strict": strict}
        tools = [{"type": "function", "function": function}]
        (choice,) = client.chat.completions.create(**asked, tools=tools, seed=seed).choices
        calls = [json.loads(call.function.arguments) for call in choice.message.tool_calls or []]
        assert (choice.finish_reason == "tool_calls") == bool(calls)
        return calls

    found = [call for seed in range(6) for call in arguments(True, seed)]
    assert found
    for call in found:
        assert list(call) == ["city", "days"]
        assert call["city"] in ("Paris", "Rome")
        assert call["days"] in range(1, 10)
    # It is the constraint that made them so: without it the model goes on as the conversation began.
    assert any("town" in call for seed in range(6) for call in arguments(False, seed))


def stats(server):
    return server.http.get("/get_server_info").json()["internal_states"][0]


def until_idle(server):
    deadline = time.monotonic() + 30
    while (told := stats(server)).get("num_running_reqs") or told.get("num_queue_reqs"):
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


def test_the_openai_client_gets_the_same_text_streamed_and_whole(client):
    asked = dict(model="default", messages=HI, max_tokens=12, temperature=0)
    whole = client.chat.completions.create(**asked)
    assert whole._request_id
    assert whole.usage.completion_tokens <= 12
    text, usage = "", None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert text == whole.choices[0].message.content
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_a_schema_is_obeyed_and_a_forced_call_is_a_call(client):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    asked = dict(model="default", messages=HI, max_tokens=40)
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert json.loads(client.chat.completions.create(**asked, response_format=form).choices[0].message.content)[
        "n"
    ] in (1, 2)
    tool = {"type": "function", "function": {"name": "pick", "parameters": schema}}
    (choice,) = client.chat.completions.create(**asked, tools=[tool], tool_choice="required").choices
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments)["n"] in (1, 2)


def test_a_batch_of_the_openai_client(client):
    asked = {"model": "default", "messages": HI, "max_tokens": 4}
    lines = [
        json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": asked})
        for i in range(5)
    ]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    deadline = time.monotonic() + 60
    while batch.status in ("in_progress", "finalizing"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 5)
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [a["custom_id"] for a in answers] == [str(i) for i in range(5)]
    assert all(a["response"]["body"]["usage"]["completion_tokens"] <= 4 for a in answers)
    assert client.files.delete(file.id).deleted


def test_errors_have_the_types_that_the_client_knows(client):
    import openai

    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=HI)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="default", messages=HI, temperature=-1)
    assert bad.value.param == "temperature"


def test_a_client_that_leaves_frees_its_request(server):
    body = {"text": "Once", "sampling_params": {"max_new_tokens": 4000, "ignore_eos": True}, "stream": True}
    with server.http.stream("POST", "/generate", json=body) as answer:
        next(answer.iter_lines())
    until_idle(server)


def test_raw_sockets_that_break_the_rules_get_an_error_and_the_door(server):
    def ask(raw, *, is_second=False):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            if is_second:
                s.sendall(b"GET /health HTTP/1.1\r\n" + host + b"\r\n")
                while b'"ok"' not in s.recv(65536):
                    pass
            s.sendall(raw)
            answer = b""
            try:
                while piece := s.recv(65536):
                    answer += piece
                    if b"\r\n\r\n" in answer:
                        break
            except ConnectionResetError:
                pass
            return answer.split(b"\r\n")[0]

    host = b"host: localhost\r\n"
    post = b"POST /generate HTTP/1.1\r\n" + host
    assert b" 400 " in ask(post + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello")
    assert b" 400 " in ask(post + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    assert b" 400 " in ask(post + b"transfer-encoding: chunked\r\n\r\nzz\r\n")
    for is_second in (False, True):
        huge = b"GET /health HTTP/1.1\r\n" + host + b"x: " + b"a" * 40_000 + b"\r\n\r\n"
        assert b" 431 " in ask(huge, is_second=is_second)
    assert b" 431 " in ask(b"GET /health HTTP/1.1\r\n" + host + b"x: a\r\n" * 500 + b"\r\n")
    assert b" 413 " in ask(post + b"content-length: 10737418240\r\n\r\n")
    assert b" 400 " in ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert b" 400 " in ask(b"GET /health HTTP/1.1\r\n\r\n")
    assert b" 400 " in ask(b"GET /health HTTP/1.1\r\n" + host + host + b"\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(b"no protocol at all\r\n\r\n")
        refusal = b"".join(iter(lambda: s.recv(65536), b""))
    assert json.loads(refusal.split(b"\r\n\r\n")[1])["error"]["type"] == "invalid_request_error"
    assert server.http.get("/health").status_code == 200


def test_a_killed_engine_answers_everyone_and_comes_back(server):
    body = {"text": "Once", "sampling_params": {"max_new_tokens": 2000, "ignore_eos": True}}

    def whole(_):
        return server.http.post("/generate", json=body)

    begun = []

    def streamed(_):
        with server.http.stream("POST", "/generate", json={**body, "stream": True}) as answer:
            lines = answer.iter_lines()
            begun.append(next(lines))
            return [line for line in lines if line]

    with ThreadPoolExecutor(4) as pool:
        wholes, streams = [pool.submit(whole, i) for i in range(2)], [pool.submit(streamed, i) for i in range(2)]
        engine = server.http.get("/get_server_info").json()["scheduler_pid"]
        try:
            deadline = time.monotonic() + 60
            while (told := stats(server)).get("num_running_reqs", 0) < 4 or len(begun) < 2:
                assert time.monotonic() < deadline, told
                time.sleep(0.02)
        finally:
            os.kill(engine, signal.SIGKILL)
        for answer in wholes:
            assert answer.result(30).status_code == 503
        for lines in streams:
            *_, error, done = lines.result(30)
            assert json.loads(error.removeprefix("data: "))["error"]["code"] == "engine_dead"
            assert done == "data: [DONE]"
    server.wait_ready()
    assert (
        server.http.post("/generate", json={"text": "a", "sampling_params": {"max_new_tokens": 1}}).status_code == 200
    )


def test_sigterm_lets_streams_end_refuses_new_work_and_leaves_nothing(tmp_path):
    running = Running("--max-total-tokens", "8192", log=tmp_path / "log")
    try:
        running.wait_ready()
        engine = running.http.get("/get_server_info").json()["scheduler_pid"]
        body = {"text": "Once", "sampling_params": {"max_new_tokens": 60, "ignore_eos": True}, "stream": True}
        with running.http.stream("POST", "/generate", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.process.terminate()
            deadline = time.monotonic() + 30
            with httpx.Client(base_url=running.url, trust_env=False) as other:
                while (ready := other.get("/ready")).status_code == 200:
                    assert time.monotonic() < deadline
                refused = other.post("/generate", json={"text": "a"})
            assert ready.status_code == refused.status_code == 503
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["meta_info"]["completion_tokens"] == 60
        assert running.process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(engine, 0)
    finally:
        running.close()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"junk" * 100, None])
def test_a_bad_model_is_one_line_and_exit_code_1(tmp_path, content):
    model = tmp_path / "bad.gguf"
    if content is not None:
        model.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "radixlang.launch_server", "--port", str(free_port()), "--model-path", str(model)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "radixlang.launch_server", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert port in done.stderr


def test_a_refusal_reaches_a_client_that_still_sends(server):
    for body, code in (
        (b'{"text":"' + b"x" * (65 << 20), "request_too_large"),
        (b"[]," * (12 << 20), "request_too_large"),
    ):
        answer = server.http.post("/generate", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, code)
        endless = server.http.post("/generate", content=iter([body[: 1 << 20]] * 70))
        assert endless.status_code == 413


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls_serves_streams_and_refusals(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    trusts = ssl.create_default_context(cafile=str(certificate))
    options = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), "--max-total-tokens", "4096"]
    running = Running(*options, log=tmp_path / "log", scheme="https", trusts=trusts)
    try:
        running.wait_ready()
        body = {"text": "Once", "sampling_params": {"max_new_tokens": 8}, "stream": True}
        with running.http.stream("POST", "/generate", json=body) as answer:
            assert [line for line in answer.iter_lines() if line][-1] == "data: [DONE]"
        assert running.http.post("/generate", content=b"x", headers={"content-encoding": "gzip"}).status_code == 415
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(100)
        assert running.http.get("/health").status_code == 200
    finally:
        running.close()


def test_a_bad_certificate_is_one_line_and_an_exit_code(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    command = [sys.executable, "-m", "radixlang.launch_server", "--port", str(free_port()), "--ssl-certfile", str(bad)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 1
    assert "--ssl-certfile" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
