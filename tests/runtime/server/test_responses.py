"""The Responses API: items, the order of events, and conversations that go on."""

import asyncio
import json

import httpx
import pytest

from radixlang.runtime.server.responses_store import Kept, ResponsesStore

PATH = "/v1/responses"
TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}]
CALL = b'<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


def events(client, body):
    answer = client.post(PATH, {"input": "hi", "max_output_tokens": 200, **body, "stream": True})
    assert answer.status_code == 200, answer.text
    told = []
    for block in answer.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert told[-1]["type"] == name.removeprefix("event: ")
    assert [t["sequence_number"] for t in told] == list(range(len(told)))
    return told


def test_a_whole_response(serve, stop_with):
    told = serve(reply=b"hello", finish=stop_with()).post(PATH, {"input": "hi"}).json()
    assert told["id"].startswith("resp_")
    assert (told["status"], told["incomplete_details"], told["error"]) == ("completed", None, None)
    (item,) = told["output"]
    assert (item["type"], item["role"], item["content"][0]["text"]) == ("message", "assistant", "hello")
    usage = told["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"] == {"cached_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


def test_what_is_cut_off_is_incomplete(serve):
    told = serve(reply=b"hello").post(PATH, {"input": "hi", "max_output_tokens": 3}).json()
    assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert events(serve(reply=b"hello"), {"max_output_tokens": 3})[-1]["type"] == "response.incomplete"


def test_the_order_of_events_of_text(serve, stop_with):
    told = events(serve(reply="héy".encode(), finish=stop_with()), {})
    kinds = [t["type"].removeprefix("response.") for t in told]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert "".join(t["delta"] for t in told[4:-4]) == "héy"
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "héy"


def test_calls_whole_and_streamed(serve, stop_with):
    client = serve(reply=b"So: " + CALL, finish=stop_with())
    told = client.post(PATH, {"input": "hi", "tools": TOOLS}).json()
    message, call = told["output"]
    assert message["content"][0]["text"] == "So:"
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "f", {"a": 1})
    streamed = events(client, {"tools": TOOLS})
    pieces = [t["delta"] for t in streamed if t["type"] == "response.function_call_arguments.delta"]
    (done,) = [t for t in streamed if t["type"] == "response.function_call_arguments.done"]
    assert json.loads("".join(pieces)) == json.loads(done["arguments"]) == {"a": 1}
    assert [t["output_index"] for t in streamed if t["type"] == "response.output_item.done"] == [0, 1]


def test_a_tool_with_a_grammar_is_refused_rather_than_left_out(serve):
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
    told = serve().post(PATH, {"input": "hi", "tools": [{"type": "custom", "name": "f", "format": grammar}]})
    assert told.status_code == 400
    assert told.json()["error"]["param"] == "tools.0.format"
    text = {"type": "custom", "name": "f", "format": {"type": "text"}}
    assert serve().post(PATH, {"input": "hi", "tools": [text]}).status_code == 200


def test_a_conversation_goes_on_from_a_kept_response(serve, byte_tokenizer, stop_with):
    client = serve(reply=b"one", finish=stop_with())
    first = client.post(PATH, {"input": "A", "instructions": "S"}).json()
    client.post(PATH, {"input": "B", "previous_response_id": first["id"]})
    text = byte_tokenizer.decode(client.submits[-1].token_ids)
    assert text == "<user>A</user><assistant>one</assistant><user>B</user><assistant>"  # instructions are not inherited


def test_kept_responses_are_read_and_forgotten_by_their_client_alone(serve):
    client = serve(reply=b"x", server={"host": "127.0.0.1"})
    mine, other = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}
    told = client.post(PATH, {"input": "A"}, headers=mine).json()
    path = f"{PATH}/{told['id']}"
    assert client.get(path, headers=other).status_code == 404
    assert client.get(path, headers=mine).json() == told
    assert client.request("DELETE", path, headers=other).status_code == 404
    assert client.request("DELETE", path, headers=mine).json()["deleted"] is True
    assert client.get(path, headers=mine).status_code == 404
    unkept = client.post(PATH, {"input": "A", "store": False}).json()
    assert client.get(f"{PATH}/{unkept['id']}").status_code == 404


def test_items_become_messages(serve, byte_tokenizer):
    client = serve()
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Q"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "R"},
    ]
    assert client.post(PATH, {"input": items}).status_code == 200
    assert "<tool>R</tool>" in byte_tokenizer.decode(client.submits[0].token_ids)


def test_formats_are_constraints(serve):
    client = serve()
    form = {"type": "json_schema", "name": "a", "schema": {"enum": [1]}, "strict": True}
    assert client.post(PATH, {"input": "hi", "text": {"format": form}}).status_code == 200
    assert client.submits[0].constraint is not None


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [{"type": "hologram"}]}, 400, "input.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, "input.0.content.0"),
        ({"input": "x" * 600}, 400, "input"),
        ({"input": "a", "max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"input": "a", "temperature": -1}, 400, "temperature"),
        ({"input": "a", "background": True, "store": False}, 400, "store"),
        ({"input": "a", "background": True, "stream": True}, 400, "stream"),
        ({"input": "a", "previous_response_id": "resp_x"}, 404, "previous_response_id"),
        ({"input": "a", "text": {"format": {"type": "json_schema"}}}, 400, "text.format.schema"),
    ],
)
def test_bad_requests(serve, body, status, param):
    answer = serve().post(PATH, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_an_answer_in_the_background_is_fetched_or_cancelled_later(serve):
    client = serve(reply=b"hello", stall=True)

    async def call():
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            asked = {"input": "hi", "background": True, "max_output_tokens": 5}
            stalled = (await http.post(PATH, json=asked)).json()
            assert (stalled["status"], stalled["output"], stalled["background"]) == ("in_progress", [], True)
            items = (await http.get(f"{PATH}/{stalled['id']}/input_items")).json()["data"]
            assert [(i["role"], i["content"][0]["text"]) for i in items] == [("user", "hi")]
            while not client.submits:
                await asyncio.sleep(0)
            client.engine.stall = False
            begun = (await http.post(PATH, json=asked)).json()["id"]
            while (done := (await http.get(f"{PATH}/{begun}")).json())["status"] == "in_progress":
                await asyncio.sleep(0)
            assert (done["status"], done["output"][0]["content"][0]["text"]) == ("incomplete", "hello")
            assert (await http.post(f"{PATH}/{begun}/cancel")).json()["status"] == "incomplete"
            assert (await http.post(f"{PATH}/{stalled['id']}/cancel")).json()["status"] == "cancelled"
            while client.service.num_active:
                await asyncio.sleep(0)
            assert (await http.get(f"{PATH}/{stalled['id']}")).json()["status"] == "cancelled"

    asyncio.run(call())
    assert client.service.num_active == 0
    assert client.engine.front.num_open == 0
    for wrong in ({"stream": True}, {"store": False}):
        assert client.post(PATH, {"input": "a", "background": True, **wrong}).status_code == 400


def test_an_answer_that_is_deleted_while_it_is_made_stays_deleted(serve):
    client = serve(reply=b"hello", stall=True)

    async def call():
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            made = (await http.post(PATH, json={"input": "hi", "background": True})).json()["id"]
            while not client.submits:
                await asyncio.sleep(0)
            assert (await http.delete(f"{PATH}/{made}")).json()["deleted"]
            while client.service.num_active:
                await asyncio.sleep(0)
            assert (await http.get(f"{PATH}/{made}")).status_code == 404

    asyncio.run(call())
    assert client.engine.front.num_open == 0


def test_what_is_kept_is_bounded_in_bytes():
    store = ResponsesStore(max_kept=100, max_bytes=40_000)
    for number in range(20):
        store.put(Kept({"id": f"r{number}"}, [], "", 8000))
    assert [n for n in range(20) if store.get(f"r{n}", "")] == [17, 18, 19]
    assert store.get("r0", "") is None
    store.put(Kept({"id": "huge"}, [], "", 40_000))
    assert store.get("huge", "") is None
    assert store.get("r19", "") is not None
