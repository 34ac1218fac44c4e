"""SGLang's native routes: shapes of answers and streams."""

import asyncio
import itertools
import json

from radixlang.runtime.messages import Finish


def test_one_prompt_one_object(serve):
    answer = serve(reply=b"hello").post("/generate", {"text": "abc", "sampling_params": {"max_new_tokens": 3}}).json()
    assert (answer["text"], answer["output_ids"]) == ("hel", list(b"hel"))
    meta = answer["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": 3}
    assert (meta["prompt_tokens"], meta["completion_tokens"], meta["cached_tokens"]) == (3, 3, 0)
    assert meta["id"]
    assert meta["e2e_latency"] >= 0


def test_a_batch_keeps_its_order_and_its_own_parameters(serve):
    body = {"text": ["a", "bb"], "sampling_params": [{"max_new_tokens": 1}, {"max_new_tokens": 2}]}
    answer = serve(reply=b"hello").post("/generate", body).json()
    assert [a["text"] for a in answer] == ["h", "he"]
    assert [a["meta_info"]["prompt_tokens"] for a in answer] == [1, 2]


def test_n_is_a_list_of_n(serve):
    answer = serve(reply=b"hey").post("/generate", {"text": "a", "sampling_params": {"n": 3}}).json()
    assert [a["text"] for a in answer] == ["hey"] * 3


def test_a_stream_is_cumulative_and_ends_with_done(serve):
    events = serve(reply="héé".encode()).events("/generate", {"text": "a", "sampling_params": {"max_new_tokens": 9}})
    texts = [e["text"] for e in events]
    assert texts[-1] == "héé"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert [e["meta_info"]["finish_reason"] is not None for e in events] == [False] * (len(events) - 1) + [True]


def test_a_stream_of_deltas_adds_up(serve):
    body = {"text": "a", "sampling_params": {"max_new_tokens": 9}, "stream_deltas": True}
    events = serve(reply="héé".encode()).events("/generate", body)
    assert "".join(e["text"] for e in events) == "héé"
    assert [i for e in events for i in e["output_ids"]] == list("héé".encode())


def test_a_streamed_batch_tells_indices(serve):
    events = serve(reply=b"xy").events("/generate", {"text": ["a", "b"], "sampling_params": {"n": 2}})
    last = {e["index"]: e["text"] for e in events}
    assert last == {0: "xy", 1: "xy", 2: "xy", 3: "xy"}


def test_errors_before_the_first_chunk_are_http_errors_in_streams_too(serve):
    answer = serve().post("/generate", {"text": "a", "stream": True, "sampling_params": {"temperature": -1}})
    assert answer.status_code == 400
    assert "temperature" in answer.json()["error"]["param"]


def test_an_engine_that_dies_in_a_stream_sends_one_error_and_done(serve, output_of):
    from radixlang.runtime.messages import Failed, Outputs

    client = serve(stall=True)

    def send(message, plain=client.engine.send):
        plain(message)
        loop = asyncio.get_running_loop()
        if hasattr(message, "token_ids"):
            loop.call_soon(
                client.engine.front.receive, Outputs(items=[output_of(message, token_ids=[104], prompt_len=1)])
            )
            loop.call_later(0.01, client.engine.front.receive, Failed(message="killed", kind="EngineDead"))

    client.engine.send = send
    events = client.events("/generate", {"text": "a"})
    assert events[0]["text"] == "h"
    assert [e["error"]["code"] for e in events[1:]] == ["engine_dead"]


def test_a_client_that_goes_aborts_what_it_asked(serve):
    for stream in (True, False):
        client = serve(stall=True)
        body = json.dumps({"text": "a", "rid": "gone", "stream": stream}).encode()
        assert _disconnect(client, "/generate", body) == []
        assert client.engine.aborted == ["gone"]
        assert client.service.num_active == 0


def _disconnect(client, path, body):
    """Calls the route and closes the connection once the engine has the request. What was sent till then."""
    sent = []

    async def run():
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            while not client.submits:
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await client.app(scope, receive, send)

    asyncio.run(run())
    return sent


def test_choices_are_scored(serve):
    answer = serve().post("/score_choices", {"text": "a", "choices": ["x", "yz"]}).json()
    assert [len(c["token_logprobs"]) for c in answer["choices"]] == [1, 2]
    assert serve().post("/score_choices", {"choices": ["x"]}).status_code == 400


def test_encode_tells_the_hidden_state(serve):
    client = serve(hidden=[3.0, 4.0])
    assert client.post("/encode", {"text": "a"}).json()["embedding"] == [3.0, 4.0]
    assert len(client.post("/encode", {"text": ["a", "b"]}).json()) == 2
    assert all(s.want_hidden and s.sampling.max_new_tokens == 0 for s in client.submits)


def test_abort_takes_exactly_one_id_or_all(serve):
    client = serve()
    assert client.post("/abort_request", {"rid": "r-1"}).status_code == 200
    assert client.engine.aborted == ["r-1"]
    assert client.post("/abort_request", {"rid": ""}).status_code == 400
    assert client.post("/abort_request", {}).status_code == 400
    assert client.engine.aborted == ["r-1"]


def test_flush_cache_takes_get_and_post(serve):
    client = serve()
    assert client.get("/flush_cache").status_code == client.post("/flush_cache").status_code == 200


def test_requests_cannot_raise_their_own_deadline(serve):
    client = serve(server={"request_timeout": 30.0}, reply=b"x")
    client.post("/generate", {"text": "a", "timeout": 5})
    client.post("/generate", {"text": "a", "timeout": 5000})
    assert [s.timeout_s for s in client.submits] == [5, 30]
    assert client.post("/generate", {"text": "a", "timeout": -1}).status_code == 400


def test_an_error_in_a_constraint_names_its_place(serve):
    finish = Finish(type="error", status=400, code="unsatisfiable_schema", param="#/minLength", message="no")
    body = {"text": "a", "sampling_params": {"json_schema": "{}"}}
    for stream in (True, False):
        told = serve(finish=finish).post("/generate", {**body, "stream": stream}).json()["error"]
        assert told["param"] == "sampling_params.json_schema.minLength"


def test_logprobs_that_no_step_can_serve_are_refused(serve):
    client = serve()
    for field, value in (("token_ids_logprob", [10**9]), ("token_ids_logprob", [-1]), ("logprob_start_len", 4)):
        answer = client.post("/generate", {"text": "abc", "return_logprob": True, field: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert client.submits == []


def test_a_missing_field_is_named(serve):
    for path, name in (("/v1/embeddings", "input"), ("/v1/score", "items")):
        assert serve().post(path, {}).json()["error"]["param"] == name


def test_a_text_that_is_too_long_is_named_as_text(serve):
    too_long = Finish(type="error", status=400, message="too long", code="context_length_exceeded", param="input_ids")
    for given, param in (({"text": "abc"}, "text"), ({"input_ids": [1]}, "input_ids")):
        assert serve(finish=too_long).post("/generate", given).json()["error"]["param"] == param
