"""Chat completions: request fields, answers, streams."""

import json

import pytest

from radixlang.constrained.constraint import JsonSchema, Regex
from radixlang.runtime.messages import Finish

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def test_the_shape_of_an_answer(serve):
    answer = serve(reply=b"hello").post(PATH, {"messages": HI, "max_tokens": 3, "model": "default"}).json()
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"]) == ("chat.completion", "default")
    assert answer["system_fingerprint"].startswith("fp_")
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "hel", "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == 3 + usage["prompt_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert answer["timings"]["predicted_n"] == 3


def test_the_prompt_is_the_template_with_a_generation_prompt(serve, byte_tokenizer):
    client = serve()
    client.post(PATH, {"messages": [{"role": "developer", "content": "D"}, {"role": "user", "content": "U"}]})
    text = byte_tokenizer.decode(client.submits[0].token_ids)
    assert text == "<system>D</system><user>U</user><assistant>"


def test_content_parts_are_their_text(serve):
    client = serve()
    for content in ("ab", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]):
        client.post(PATH, {"messages": [{"role": "user", "content": content}]})
    first, second = client.submits
    assert first.token_ids == second.token_ids


def test_explicit_nulls_are_defaults(serve):
    fields = (
        "frequency_penalty logit_bias logprobs top_logprobs max_completion_tokens n presence_penalty response_format "
        "seed stop stream stream_options temperature top_p tools tool_choice parallel_tool_calls user metadata store "
        "service_tier reasoning_effort top_k min_p regex ebnf json_schema structured_outputs guided_json grammar"
    )
    client = serve()
    assert client.post(PATH, {**dict.fromkeys(fields.split()), "messages": HI}).status_code == 200
    client.post(PATH, {"messages": HI})
    with_nulls, without = client.submits
    assert (with_nulls.sampling, with_nulls.constraint) == (without.sampling, without.constraint)


def test_without_max_tokens_the_rest_of_the_context_is_free(serve):
    client = serve()
    client.post(PATH, {"messages": HI})
    (submit,) = client.submits
    assert submit.sampling.max_new_tokens == 512 - len(submit.token_ids)


@pytest.mark.parametrize(
    ("field", "value", "ours", "expected"),
    [
        ("stop", "x", "stop", ("x",)),
        ("stop", ["x", "y"], "stop", ("x", "y")),
        ("seed", 7, "sampling_seed", 7),
        ("max_completion_tokens", 5, "max_new_tokens", 5),
        ("min_tokens", 2, "min_new_tokens", 2),
        ("logit_bias", {"5": -100}, "logit_bias", {5: -100.0}),
        ("include_stop_str_in_output", True, "no_stop_trim", True),
        ("stop_token_ids", [3], "stop_token_ids", (3,)),
        ("top_k", 4, "top_k", 4),
    ],
)
def test_fields_reach_the_engine(serve, field, value, ours, expected):
    client = serve()
    assert client.post(PATH, {"messages": HI, field: value}).status_code == 200
    assert getattr(client.submits[0].sampling, ours) == expected


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [1]}}}},
            JsonSchema,
        ),
        ({"regex": "a+"}, Regex),
        ({"structured_outputs": {"regex": "a+"}}, Regex),
        ({"guided_json": {"enum": [1]}}, JsonSchema),
        ({"response_format": {"type": "text"}}, type(None)),
    ],
)
def test_constraints_reach_the_engine_by_every_name(serve, fields, kind):
    client = serve()
    assert client.post(PATH, {"messages": HI, **fields}).status_code == 200
    assert isinstance(client.submits[0].constraint, kind)


def test_stream_rules(serve):
    reply = "añb".encode()
    body = {"messages": HI, "max_tokens": 9, "n": 2, "stream_options": {"include_usage": True}}
    events = serve(reply=reply).events(PATH, body)
    assert len({(e["id"], e["created"], e["model"]) for e in events}) == 1
    *chunks, last = events
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8
    assert all(e["usage"] is None for e in chunks)
    for index in (0, 1):
        mine = [c for e in chunks for c in e["choices"] if c["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in c["delta"] and "tool_calls" not in c["delta"] for c in mine[1:])
        assert "".join(c["delta"].get("content", "") for c in mine) == "añb"
        assert [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["length"]
        assert mine[-1]["delta"] == {}
        assert not any("\ufffd" in c["delta"].get("content", "") for c in mine)


def test_without_include_usage_no_chunk_is_empty_or_tells_usage(serve):
    for options in (None, {}, {"include_usage": False}):
        events = serve(reply=b"ab").events(PATH, {"messages": HI, "stream_options": options})
        assert all(e["choices"] and "usage" not in e for e in events)


def test_continuous_usage_counts_up(serve):
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = serve(reply=b"abc").events(PATH, {"messages": HI, "stream_options": options})
    counts = [e["usage"]["completion_tokens"] for e in events]
    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_logprobs_name_token_bytes_and_alternatives(serve):
    answer = serve(reply=b"ab").post(PATH, {"messages": HI, "logprobs": True, "top_logprobs": 2}).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert [(t["token"], t["bytes"]) for t in content] == [("a", [97]), ("b", [98])]
    assert all(len(t["top_logprobs"]) == 2 for t in content)
    plain = serve(reply=b"ab").post(PATH, {"messages": HI, "logprobs": True}).json()
    assert all(t["top_logprobs"] == [] for t in plain["choices"][0]["logprobs"]["content"])


def test_streamed_logprobs_cover_every_token_also_where_text_is_held_back(serve):
    events = serve(reply="é".encode()).events(PATH, {"messages": HI, "logprobs": True})
    told = [t for e in events for c in e["choices"] for t in (c["logprobs"] or {"content": []})["content"]]
    assert bytes(b for t in told for b in t["bytes"]) == "é".encode()


def test_history_of_tools_and_odd_fields_is_taken(serve):
    messages = [
        {"role": "user", "name": "ann", "content": "Weather?"},
        {"role": "assistant", "content": None, "refusal": None, "audio": None, "annotations": [], "function_call": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]  # fmt: skip
    assert serve().post(PATH, {"messages": messages}).status_code == 200


def test_a_final_message_is_continued_without_its_end(serve, byte_tokenizer):
    client = serve()
    messages = [*HI, {"role": "assistant", "content": "Once upon"}]
    client.post(PATH, {"messages": messages, "continue_final_message": True, "add_generation_prompt": False})
    assert byte_tokenizer.decode(client.submits[0].token_ids).endswith("<assistant>Once upon")


def test_a_model_without_a_template_says_so(serve):
    answer = serve(info={"chat_template": None}).post(PATH, {"messages": HI})
    assert answer.status_code == 400
    assert "/v1/completions" in answer.json()["error"]["message"]


def test_cache_salts_are_namespaces(serve):
    client = serve()
    client.post(PATH, {"messages": HI, "cache_salt": "t1"})
    assert client.submits[0].namespace == "t1"


def test_finish_reason_stop_tells_what_matched(serve, stop_with):
    answer = serve(reply=b"ab", finish=stop_with("b")).post(PATH, {"messages": HI, "stop": "b"}).json()
    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["matched_stop"], choice["message"]["content"]) == ("stop", "b", "a")


def test_frames_are_json_even_for_odd_text(serve):
    reply = '"\\\u2028\n\x01'.encode()
    events = serve(reply=reply).events(PATH, {"messages": HI, "max_tokens": 50})
    assert "".join(c["delta"].get("content", "") for e in events for c in e["choices"]) == reply.decode()
    json.dumps(events)


def test_an_error_in_a_schema_names_its_place(serve):
    finish = Finish(
        type="error", status=400, code="unsatisfiable_schema", param="#/properties/a~1b/minLength", message="no"
    )
    body = {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
    told = serve(finish=finish).post(PATH, body).json()["error"]
    assert told["param"] == "response_format.json_schema.schema.properties.a/b.minLength"
    assert told["code"] == "unsatisfiable_schema"


def test_more_text_than_a_template_prints_is_a_prompt_that_is_too_long(serve):
    client = serve()
    body = {"messages": [{"role": "user", "content": "a" * (1 << 20)}]}
    error = client.post("/v1/chat/completions", body).json()["error"]
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")
    assert "maximum context length is" in error["message"]


PROPOSED = {"sampling_defaults": {"temperature": 0.25, "top_k": 5}}


def test_the_models_proposals_hold_where_the_request_is_silent(serve):
    client = serve(info=PROPOSED)
    client.post(PATH, {"messages": HI, "temperature": 0.75})
    client.post("/v1/completions", {"prompt": "hi"})
    client.post("/v1/responses", {"input": "hi"})
    client.post("/v1/messages", {"messages": HI, "max_tokens": 3, "top_k": 2})
    client.post("/api/chat", {"model": "tiny", "messages": HI, "stream": False})
    sampled = [(s.sampling.temperature, s.sampling.top_k) for s in client.submits]
    assert sampled == [(0.75, 5), (0.25, 5), (0.25, 5), (0.25, 2), (0.25, 5)]


def test_sampling_defaults_may_be_the_apis_own(serve):
    client = serve(info=PROPOSED, server={"sampling_defaults": "openai"})
    client.post(PATH, {"messages": HI})
    assert (client.submits[0].sampling.temperature, client.submits[0].sampling.top_k) == (1.0, -1)


def test_tools_have_the_template_that_the_model_has_for_them(serve, byte_tokenizer):
    client = serve(info={"tool_template": "T{{ tools | length }}:{{ messages[0].content }}"})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    client.post(PATH, {"messages": HI, "tools": [tool]})
    client.post(PATH, {"messages": HI})
    assert [byte_tokenizer.decode(s.token_ids) for s in client.submits] == ["T1:hi", "<user>hi</user><assistant>"]
