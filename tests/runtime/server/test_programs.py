"""/v1/programs: whole graphs over HTTP, and what is refused before any work."""

import asyncio
import json

import httpx
import pytest

import radixlang as sgl


@sgl.function
def talk(s, q):
    s += "Q" + q + sgl.gen("a", max_tokens=3)
    g = s.fork(2)
    g += lambda i: f"{i}" + sgl.gen("b", max_tokens=2)
    g.join()
    s["last"] = f"<{s['a']}>"


def graph_of(program, **options):
    return json.loads(program.compile(mode="graph", **options).plan().to_json())


def test_a_graph_runs_in_one_request(serve):
    client = serve(reply=b"hello")
    body = {"graph": graph_of(talk), "args": {"q": "?"}, "sampling": {"temperature": 0}}
    answer = client.post("/v1/programs/run", body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["text"] == "Q?hel"
    assert told["variables"] == {"a": "hel", "b": ["he", "he"], "last": "<hel>"}
    assert told["meta_info"]["a"]["completion_tokens"] == 3
    assert told["usage"]["requests"] == 3
    assert told["errors"] == {}


def test_the_engine_knows_which_calls_are_of_one_run(serve):
    client = serve(reply=b"hello")
    for _ in range(2):
        assert client.post("/v1/programs/run", {"graph": graph_of(talk), "args": {"q": "?"}}).status_code == 200
    told = [submit.program for submit in client.submits]
    first, second = told[: len(told) // 2], told[len(told) // 2 :]
    assert len({*first}) == len({*second}) == 1
    assert len({"", *first, *second}) == 3


def test_a_caller_may_say_which_program_a_request_is_of(serve):
    client = serve(reply=b"hello")
    assert client.post("/generate", {"text": "a", "program_id": "mine"}).status_code == 200
    scored = {"prompt_parts": ["a"], "choices": ["b", "cd"], "program_id": "mine"}
    assert client.post("/score_choices", scored).status_code == 200
    assert {submit.program for submit in client.submits} == {"mine"}
    assert client.post("/generate", {"text": "a", "program_id": "x" * 129}).status_code == 400
    assert client.post("/v1/completions", {"prompt": "a", "program_id": "mine"}).status_code == 200
    assert client.submits[-1].program == ""


def test_events_carry_node_ids(serve):
    events = serve(reply=b"hello").events("/v1/programs/run", {"graph": graph_of(talk), "args": {"q": "?"}})
    assert events[0]["event"] == "started"
    assert events[0]["run_id"]
    assert events[-1]["event"] == "done"
    nodes = {node["params"].get("name"): node["id"] for node in graph_of(talk)["nodes"] if node["kind"] == "gen"}
    pieces = [e for e in events if e["event"] == "piece" and e["node"] == nodes["a"]]
    assert "".join(e["text"] for e in pieces) == "hel"
    assert {e["node"] for e in events if e["event"] == "value"} >= {nodes["a"], nodes["b"]}


def test_programs_are_kept_by_name(serve):
    client = serve(reply=b"hello")
    told = client.post("/v1/programs", {"name": "talk-v1", "graph": graph_of(talk)}).json()
    assert (told["name"], told["inputs"], told["outputs"]) == ("talk-v1", ["q"], ["a", "b", "last"])
    assert [p["name"] for p in client.get("/v1/programs").json()["data"]] == ["talk-v1"]
    graph = sgl.ProgramGraph.from_data(client.get("/v1/programs/talk-v1").json()["graph"])
    assert graph.digest() == told["digest"]
    answer = client.post("/v1/programs/run", {"name": "talk-v1", "args": {"q": "!"}, "outputs": ["last"]}).json()
    assert answer["variables"] == {"last": "<hel>"}
    assert len(client.submits) == 1, "what the outputs do not need is not run"
    assert client.get("/v1/programs/other").status_code == 404
    assert client.post("/v1/programs/run", {"name": "other"}).status_code == 404


def changed(**changes):
    graph = graph_of(talk)
    for path, value in changes.items():
        *where, last = path.split("__")
        part = graph
        for key in where:
            part = part[int(key[1:]) if key[1:].isdigit() else key]
        part[last] = value
    return graph


def gen_node(**params):
    node = {"id": 0, "kind": "gen", "stream": 0, "params": {"name": "a", **params}, "after": None, "data": []}
    return {"version": 1, "name": "p", "inputs": [], "outputs": ["a"], "nodes": [{**node, "source": None}]}


def node(i, kind, stream=0, after=None, data=(), **params):
    return {"id": i, "kind": kind, "stream": stream, "params": params, "after": after, "data": list(data)}


def graph(*nodes, inputs=()):
    return {"version": 1, "name": "p", "inputs": list(inputs), "outputs": [], "nodes": list(nodes)}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "graph or name"),
        ({"graph": {}}, "version"),
        ({"graph": changed(nodes=[{"id": 0}])}, "no graph"),
        ({"graph": changed()}, "arguments"),
        ({"graph": changed(), "args": {"q": "x"}, "sampling": {"temprature": 1}}, "temprature"),
        ({"graph": changed(), "args": {"q": "x"}, "sampling": {"temperature": "hot"}}, "temperature"),
        ({"graph": changed(), "args": {"q": "x"}, "sampling": {"max_new_tokens": -1}}, "max_new_tokens"),
        ({"graph": changed(), "args": {"q": "x"}, "sampling": {"stop": 5}}, "sampling"),
        ({"graph": changed(), "args": {"q": ["x"]}}, "args"),
        ({"graph": changed(), "args": {"q": "x"}, "outputs": ["nope"]}, "nope"),
        ({"graph": changed(), "args": {"q": "x"}, "timeout": -1}, "timeout"),
        ({"graph": gen_node(max_new_tokens=10**9)}, "tokens"),
        ({"graph": gen_node(n=100_000)}, "n"),
        ({"graph": gen_node(code="os.system")}, "code"),
        ({"graph": gen_node(regex=5)}, "regex"),
        ({"graph": graph(node(0, "tool"))}, "no such kind"),
        ({"graph": graph(node(0, "tool", code="the tools shell", key=0))}, "node 0 (tool) runs the tools shell"),
        ({"graph": gen_node(best_of=3)}, "best_of"),
        ({"graph": gen_node(tools="shell")}, "tools"),
        ({"graph": graph(node(0, "call", program="other"))}, "args"),
        ({"graph": graph(node(0, "call", program=7, args={}))}, "name of a program"),
        ({"graph": graph(node(0, "call", program="p", args={"q": {"$value": 0}}))}, "none of its data"),
        ({"graph": graph(*(node(i, "call", i, program="p", args={}) for i in range(257)))}, "calls 257"),
        ({"graph": graph(node(0, "image", path="/etc/passwd"))}, "no such kind"),
        ({"graph": graph(node(0, "params"))}, "no such kind"),
        ({"graph": graph(node(0, "op", -1, data=[0], method="upper", args=[]))}, "linked to a later"),
        ({"graph": graph(node(0, "text", text="x"), node(1, "var", after=0, data=[0]))}, "no value"),
        ({"graph": graph(node(0, "text", text="x"), node(1, "text", text="y"))}, "follow"),
        ({"graph": graph(node(0, "fork", size=1, streams=[0]))}, "streams"),
        ({"graph": graph(node(0, "fork", size=9999, streams=list(range(1, 5000))))}, "streams"),
        ({"graph": graph(*(node(i, "text", text="", after=i - 1 if i else None) for i in range(10_001)))}, "nodes"),
        ({"graph": graph(node(0, "join", mode="gather_variable", streams=[7], names=[]))}, "not forked"),
        ({"graph": graph(node(0, "scope_end", name="w"))}, "no scope"),
        ({"graph": graph(node(0, "switch", data=[], keys=[], streams=[]))}, "one value"),
        (
            {"graph": graph(node(0, "arg", -1, name="q"), node(1, "op", -1, data=[0], method="__class__", args=[]),
                            inputs=["q"]), "args": {"q": "x"}},
            "__class__",
        ),
        (
            {"graph": graph(node(0, "arg", -1, name="q"), *(node(i, "op", -1, data=[0], method="capture",
                            args=["(?P<capture_0>a)", 0]) for i in range(1, 258)), inputs=["q"]), "args": {"q": "a"}},
            "256 captures",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_any_work(serve, body, told):
    client = serve(reply=b"hello")
    answer = client.post("/v1/programs/run", body)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"]["message"] + str(answer.json()["error"]["param"])
    assert client.submits == []


def test_a_large_graph_of_equal_branches_is_planned_in_time(serve):
    nodes = [node(0, "text", text="x"), node(1, "fork", after=0, size=900, streams=list(range(1, 901)))]
    for stream in range(1, 901):
        for kind in ("text", "gen", "text", "gen"):
            after = len(nodes) - 1 if nodes[-1]["stream"] == stream else 1
            params = {"text": "y"} if kind == "text" else {"name": f"g{len(nodes) % 4}", "max_new_tokens": 1}
            nodes.append(node(len(nodes), kind, stream, after, **params))
    client = serve(reply=b"h")
    answer = client.post("/v1/programs/run", {"graph": graph(*nodes), "sampling": {"temperature": 0}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["requests"] <= 4


def test_a_client_that_goes_away_ends_its_run(serve):
    client = serve(stall=True, reply=b"hello")

    async def leave():
        transport = httpx.ASGITransport(client.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            body = {"graph": graph_of(talk), "args": {"q": "x"}, "run_id": "gone"}
            running = asyncio.ensure_future(http.post("/v1/programs/run", json=body))
            while not client.submits:
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for _ in range(50):
                await asyncio.sleep(0)
            return await http.post("/v1/programs/gone/cancel")

    assert asyncio.run(leave()).status_code == 400, "the run is not there any more"
    assert any(type(message).__name__ == "Abort" for message in client.engine.sent)


@pytest.mark.parametrize(
    ("budget", "status", "told"),
    [
        ({"requests": 0}, 400, "budget_exceeded"),
        ({"requests": 1}, 200, "is spent"),
        ({"requests": 3}, 200, '"errors":{}'),
        ({"requests": -1}, 400, "budget.requests"),
        ({"wat": 1}, 400, "wat"),
    ],
)
def test_a_budget_ends_a_run(serve, budget, status, told):
    body = {"graph": graph_of(talk), "args": {"q": "?"}, "budget": budget}
    answer = serve(reply=b"hello").post("/v1/programs/run", body)
    assert answer.status_code == status, answer.text
    assert told in answer.text


def test_text_that_doubles_ends_at_the_limit(serve):
    nodes = [node(0, "arg", -1, name="q")]
    value = 0
    for i in range(1, 200, 4):
        before = i - 1 if i > 1 else None
        nodes.append(node(i, "scope_begin", after=before, name=f"v{i}"))
        nodes.append(node(i + 1, "var", after=i, data=[value]))
        nodes.append(node(i + 2, "var", after=i + 1, data=[value]))
        nodes.append(node(i + 3, "scope_end", after=i + 2, name=f"v{i}"))
        value = i + 3
    body = {"graph": graph(*nodes, inputs=["q"]), "args": {"q": "x" * 1000}}
    answer = serve(reply=b"").post("/v1/programs/run", body)
    assert answer.status_code == 400
    assert "over the limit" in answer.json()["error"]["message"]


def test_a_run_can_be_cancelled_and_frees_what_it_held(serve):
    client = serve(stall=True, reply=b"hello")
    body = {"graph": graph_of(talk), "args": {"q": "x"}, "run_id": "mine"}

    async def both():
        transport = httpx.ASGITransport(client.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            running = asyncio.ensure_future(http.post("/v1/programs/run", json=body))
            while not client.submits:
                await asyncio.sleep(0)
            cancelled = await http.post("/v1/programs/mine/cancel")
            return cancelled, await running

    cancelled, answer = asyncio.run(both())
    assert cancelled.json() == {"run_id": "mine", "cancelled": True}
    assert answer.status_code >= 400
    assert "cancelled" in answer.json()["error"]["message"]
    assert type(client.engine.sent[-1]).__name__ in ("Abort", "Release")
    assert client.post("/v1/programs/mine/cancel").status_code == 400
