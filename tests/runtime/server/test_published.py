"""Programs that a server publishes: typed routes, and models of the chat API."""

import json

import pytest

from radixlang.errors import ConfigError

FILE = '''
import radixlang as sgl
from typing import Literal

@sgl.function
def ask(s, question):
    """Answers a question."""
    s += sgl.user(question) + sgl.assistant(sgl.gen("answer", max_tokens=5))

@sgl.function
def count(s, topic, num: int = 2, tone: Literal["dry", "warm"] = "dry"):
    for i in range(num):
        s += f"{tone} {topic} {i}:" + sgl.gen(f"a{i}", max_tokens=2)
    return {"all": [s[f"a{i}"] for i in range(num)]}

@sgl.function
async def later(s, q: str, k: float):
    s += q + sgl.gen("a", max_tokens=2)
    return await s.get("a") + str(k)

@sgl.function
def broken(s, q):
    s += sgl.gen("a", max_tokens=2)
    return s["a"] + 1

@sgl.function
def talk(s, messages):
    for m in messages:
        s += m["role"] + ":" + m["content"] + "/"
    s += sgl.gen("a", max_tokens=4)

@sgl.function
def returned(s, q):
    s += q + sgl.gen("a", max_tokens=4) + " and " + sgl.gen("b", max_tokens=1)
    return s["a"]

@sgl.function
def twice(s, q):
    s += sgl.user(q) + sgl.assistant("First " + sgl.gen("a", max_tokens=3))
    s += sgl.user("More?") + sgl.assistant("Then " + sgl.gen("b", max_tokens=4) + ".")

@sgl.function
def looped(s, messages):
    for m in messages:
        s += sgl.user(m["content"])
        s += sgl.assistant(sgl.gen("a", max_tokens=4))

@sgl.function
def decided(s, q):
    s += q + sgl.gen("a", max_tokens=2)
    s += sgl.assistant("Yes" if s["a"] == "he" else "No")

@sgl.function
def calling(s, q):
    inner = returned(q=q)
    if inner["a"]:
        s += inner["a"] + "!" + sgl.gen("c", max_tokens=2)
'''


@pytest.fixture
def published(serve, tmp_path):
    path = tmp_path / "progs.py"
    path.write_text(FILE)

    def make(**script):
        return serve(server={"programs": (str(path),)}, **script)

    return make


def test_a_program_is_a_route_that_its_signature_types(published):
    client = published(reply=b"hello")
    answer = client.post("/programs/ask", {"question": "why?", "sampling": {"temperature": 0}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["variables"] == {"answer": "hello"}
    told = client.post("/v1/programs/count", {"topic": "tea", "num": 3}).json()
    assert told["result"] == {"all": ["he"] * 3}
    assert told["usage"]["requests"] == 3
    assert client.post("/programs/later", {"q": "x", "k": 1}).json()["result"] == "he1.0"
    listed = {p["name"]: p for p in client.get("/v1/programs").json()["data"]}
    assert listed["count"]["arguments"]["properties"]["num"] == {"type": "integer", "default": 2}
    assert listed["count"]["arguments"]["required"] == ["topic"]
    assert (listed["ask"]["is_graph"], listed["count"]["is_graph"]) == (True, False)
    assert client.get("/v1/programs/ask").json()["graph"]["inputs"] == ["question"]
    paths = client.get("/openapi.json").json()["paths"]
    schema = paths["/programs/count"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["tone"] == {"enum": ["dry", "warm"], "default": "dry"}


def test_a_program_may_call_another(published, monkeypatch):
    """On the loop of the server, which alone may use its connection to the engine."""
    monkeypatch.setattr("radixlang.lang.run_context.background_loop", None)
    told = published(reply=b"hello").post("/programs/calling", {"q": "x", "sampling": {"temperature": 0}}).json()
    assert told["variables"] == {"c": "he"}
    assert told["usage"]["requests"] == 3


@pytest.mark.parametrize(
    ("name", "body", "status", "told"),
    [
        ("nope", {}, 404, "ask, count, later"),
        ("ask", {}, 400, "question"),
        ("ask", {"question": "x", "other": 1}, 400, "other"),
        ("ask", {"question": ["x"]}, 400, "question"),
        ("count", {"topic": "x", "num": "many"}, 400, "num"),
        ("count", {"topic": "x", "tone": "wet"}, 400, "tone"),
        ("ask", {"question": "x", "sampling": {"temprature": 1}}, 400, "temprature"),
        ("count", {"topic": "x", "sampling": {"temperature": -1}}, 400, "temperature"),
        ("ask", {"question": "x", "timeout": -1}, 400, "timeout"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(published, name, body, status, told):
    client = published(reply=b"hello")
    answer = client.post(f"/programs/{name}", body)
    assert answer.status_code == status, answer.text
    assert told in answer.text
    assert client.submits == []


def test_a_bug_in_a_program_is_the_servers_fault(published):
    answer = published(reply=b"hello").post("/programs/broken", {"q": "x"})
    assert answer.status_code == 500
    assert "TypeError" in answer.text or "concatenate" in answer.text


def test_events_stream_from_interpreted_programs_too(published):
    events = published(reply=b"hello").events("/programs/count", {"topic": "tea"})
    assert events[0]["event"] == "started"
    assert {e.get("name") for e in events if e["event"] == "value"} == {"a0", "a1"}
    assert events[-1]["result"] == {"all": ["he", "he"]}


def test_events_of_a_published_graph_carry_its_nodes(published):
    client = published(reply=b"hello", passes=20)
    nodes = client.get("/v1/programs/ask").json()["graph"]["nodes"]
    (asking,) = (node["id"] for node in nodes if node["kind"] == "gen")
    events = client.events("/programs/ask", {"question": "why?"})
    told = [(e["event"], e["node"]) for e in events if e["event"] in ("gen", "piece", "value")]
    assert told == [("gen", asking), *[("piece", asking)] * 5, ("value", asking)]


def test_a_program_is_a_model_of_the_chat_api(published):
    client = published(reply=b"hello")
    assert [m["id"] for m in client.get("/v1/models").json()["data"]][1:3] == ["ask", "count"]
    assert client.get("/v1/models/count").json()["program"]["required"] == ["topic"]
    body = {"model": "ask", "messages": [{"role": "user", "content": "why?"}], "max_tokens": 3}
    told = client.post("/v1/chat/completions", body).json()
    assert told["choices"][0]["message"]["content"] == "hello"
    assert told["usage"]["completion_tokens"] == 5
    arguments = json.dumps({"q": "a", "k": 2})
    body = {"model": "later", "messages": [{"role": "user", "content": arguments}]}
    assert client.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"] == "he2.0"
    body = {"model": "talk", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    told = client.post("/v1/chat/completions", body).json()
    assert told["program"]["text"] == "user:a/user:b/hell"
    events = client.events("/v1/chat/completions", {"model": "ask", "messages": [{"role": "user", "content": "x"}]})
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == "hello"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ask", ["h", "e", "l", "l", "o"]),
        ("talk", ["h", "e", "l", "l"]),
        ("returned", ["h", "e", "l", "l"]),
        ("twice", ["Then ", "h", "e", "l", "l", "."]),
        ("looped", ["h", "e", "l", "l"]),
        ("decided", ["Yes"]),
        ("later", ["he2.0"]),
    ],
)
def test_a_chat_gets_the_answer_as_it_grows(published, name, said):
    client = published(reply=b"hello", passes=20)
    text = json.dumps({"q": "a", "k": 2}) if name == "later" else "x"
    body = {"model": name, "messages": [{"role": "user", "content": text}]}
    whole = client.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    choices = [e["choices"][0] for e in client.events("/v1/chat/completions", body)]
    pieces = [c["delta"]["content"] for c in choices[1:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert "".join(pieces) == whole
    assert "".join(pieces) == "".join(said)
    assert len(pieces) >= len(said) - 1  # text that the program wrote may come with what is generated


def test_a_chat_that_fails_before_it_says_anything_is_an_error(published):
    body = {"model": "broken", "messages": [{"role": "user", "content": "x"}], "stream": True}
    assert published(reply=b"hello").post("/v1/chat/completions", body).status_code == 500


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"model": "later", "messages": [{"role": "user", "content": "no json"}]}, "q, k"),
        ({"model": "ask", "messages": []}, "user message"),
        ({"model": "ask", "messages": [{"role": "user", "content": "x"}], "n": 2}, "n must be 1"),
        ({"model": "ask", "messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "tools"),
    ],
)
def test_conversations_that_mean_no_arguments_are_refused(published, body, told):
    answer = published(reply=b"hello").post("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert told in answer.text


@pytest.mark.parametrize(
    ("text", "told"), [("x = 1", "no @function"), ("1 / 0", "ZeroDivisionError"), (None, "no file")]
)
def test_files_that_cannot_be_published_are_told_at_the_start(serve, tmp_path, text, told):
    path = tmp_path / "p.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        serve(server={"programs": (str(path),)})


@pytest.mark.parametrize(
    "fields", [{"regex": "a"}, {"guided_choice": ["a"]}, {"response_format": {"type": "json_object"}}]
)
def test_a_program_as_a_model_takes_no_constraint(published, fields):
    client = published(reply=b"hello")
    answer = client.post(
        "/v1/chat/completions", {"model": "ask", "messages": [{"role": "user", "content": "x"}], **fields}
    )
    assert (answer.status_code, answer.json()["error"]["param"].split(".")[0]) == (400, next(iter(fields)))
    assert not client.submits
