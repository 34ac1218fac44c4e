"""What clients send that cannot be: each is a 4xx that names the field, and costs the engine nothing.

A new bug is a new row first.
"""

import re

import pytest

CHAT, TEXT, NATIVE = "/v1/chat/completions", "/v1/completions", "/generate"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}


def chat(**fields):
    return {"messages": HI, **fields}


def native(**sampling):
    return {"text": "a", "sampling_params": sampling}


# (id, route, body, status, param: a pattern)
CORPUS = [
    ("model-unknown", CHAT, chat(model="nope"), 404, "model"),
    ("model-unknown-text", TEXT, {"prompt": "a", "model": "nope"}, 404, "model"),
    ("model-path", CHAT, chat(model="../../etc/passwd"), 404, "model"),
    ("model-type", CHAT, chat(model=5), 400, "model"),
    ("messages-missing", CHAT, {}, 400, "messages"),
    ("messages-empty", CHAT, {"messages": []}, 400, "messages"),
    ("messages-text", CHAT, {"messages": "hi"}, 400, "messages"),
    ("messages-null", CHAT, {"messages": None}, 400, "messages"),
    ("message-text", CHAT, {"messages": ["hi"]}, 400, r"messages\.0"),
    ("role-bad", CHAT, {"messages": [{"role": "king", "content": "a"}]}, 400, r"messages\.0\.role"),
    ("role-missing", CHAT, {"messages": [{"content": "a"}]}, 400, r"messages\.0\.role"),
    ("role-list", CHAT, {"messages": [{"role": ["user"], "content": "a"}]}, 400, r"messages\.0\.role"),
    ("content-number", CHAT, {"messages": [{"role": "user", "content": 5}]}, 400, r"messages\.0\.content"),
    ("content-image", CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}, 400, r"messages\.0\.content\.0"),
    (
        "content-unknown",
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
        400,
        r"messages\.0\.content\.0",
    ),
    (
        "content-no-text",
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        400,
        r"messages\.0\.content\.0\.text",
    ),
    (
        "tool-calls-text",
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": "x"}]},
        400,
        r"messages\.0\.tool_calls",
    ),
    ("messages-many", CHAT, {"messages": HI * 5000}, 400, "messages"),
    ("temperature-negative", CHAT, chat(temperature=-1), 400, "temperature"),
    ("temperature-text", CHAT, chat(temperature="hot"), 400, "temperature"),
    ("temperature-bool", CHAT, chat(temperature=True), 400, "temperature"),
    ("top-p-2", CHAT, chat(top_p=2), 400, "top_p"),
    ("top-p-negative", CHAT, chat(top_p=-0.1), 400, "top_p"),
    ("presence-9", CHAT, chat(presence_penalty=9), 400, "presence_penalty"),
    ("frequency-minus-9", CHAT, chat(frequency_penalty=-9), 400, "frequency_penalty"),
    ("repetition-0", CHAT, chat(repetition_penalty=0), 400, "repetition_penalty"),
    ("n-0", CHAT, chat(n=0), 400, "n"),
    ("n-huge", CHAT, chat(n=10**9), 400, "n"),
    ("n-text", CHAT, chat(n="2"), 400, "n"),
    ("max-tokens-negative", CHAT, chat(max_tokens=-5), 400, "max_tokens"),
    ("max-tokens-text", CHAT, chat(max_tokens="5"), 400, "max_tokens"),
    ("max-completion-negative", CHAT, chat(max_completion_tokens=-5), 400, "max_completion_tokens"),
    ("min-tokens-over-max", CHAT, chat(min_tokens=9, max_tokens=3), 400, "min_tokens"),
    ("seed-text", CHAT, chat(seed="abc"), 400, "seed"),
    ("seed-huge", CHAT, chat(seed=2**70), 400, "seed|None"),
    ("stream-maybe", CHAT, chat(stream="maybe"), 400, "stream"),
    ("stream-options-list", CHAT, chat(stream_options=[1]), 400, "stream_options"),
    ("top-logprobs-alone", CHAT, chat(top_logprobs=3), 400, "top_logprobs"),
    ("top-logprobs-1000", CHAT, chat(logprobs=True, top_logprobs=1000), 400, "top_logprobs"),
    ("top-logprobs-negative", CHAT, chat(logprobs=True, top_logprobs=-1), 400, "top_logprobs"),
    ("logprobs-number", CHAT, chat(logprobs=3), 400, "logprobs"),
    ("stop-number", CHAT, chat(stop=5), 400, "stop"),
    ("stop-many", CHAT, chat(stop=["x"] * 100), 400, "stop"),
    ("stop-empty-string", CHAT, chat(stop=["a", ""]), 400, "stop"),
    ("stop-object", CHAT, chat(stop={"a": 1}), 400, "stop"),
    ("bias-name", CHAT, chat(logit_bias={"x": 1}), 400, "logit_bias"),
    ("bias-id", CHAT, chat(logit_bias={"99999999": 1}), 400, "logit_bias"),
    ("bias-negative-id", CHAT, chat(logit_bias={"-1": 1}), 400, "logit_bias"),
    ("bias-value", CHAT, chat(logit_bias={"5": 1000}), 400, "logit_bias"),
    ("bias-value-text", CHAT, chat(logit_bias={"5": "a"}), 400, "logit_bias"),
    ("stop-token-id", CHAT, chat(stop_token_ids=[10**6]), 400, "stop_token_ids"),
    ("response-format-text", CHAT, chat(response_format="json"), 400, "response_format"),
    ("response-format-kind", CHAT, chat(response_format={"type": "xml2"}), 400, r"response_format\.type"),
    (
        "schema-missing",
        CHAT,
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}}),
        400,
        r"response_format\..*",
    ),
    ("tools-text", CHAT, chat(tools="hello"), 400, "tools"),
    ("tools-odd", CHAT, chat(tools=[{"type": "database"}]), 400, r"tools\.0"),
    ("tools-many", CHAT, chat(tools=[TOOL] * 5000), 400, "tools"),
    (
        "tool-name",
        CHAT,
        chat(tools=[{"type": "function", "function": {"name": "a b"}}]),
        400,
        r"tools\.0\.function\.name",
    ),
    ("choice-without-tools", CHAT, chat(tool_choice="required"), 400, "tool_choice"),
    (
        "choice-unknown",
        CHAT,
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
        400,
        "tool_choice",
    ),
    ("choice-bad", CHAT, chat(tools=[TOOL], tool_choice="perhaps"), 400, "tool_choice"),
    ("conflict", CHAT, chat(regex="a", ebnf='root ::= "a"'), 400, "None"),
    ("conflict-tools", CHAT, chat(tools=[TOOL], tool_choice="required", regex="a"), 400, "None"),
    ("too-long", CHAT, {"messages": [{"role": "user", "content": "x" * 600}]}, 400, "messages"),
    ("template", CHAT, chat(chat_template="{{ 7*7 }}"), 400, "chat_template"),
    ("template-kwargs", CHAT, chat(chat_template_kwargs={"tokenize": True}), 400, r"chat_template_kwargs.*"),
    ("adapter", CHAT, chat(lora_path="x"), 404, "lora_path"),
    ("timeout-0", CHAT, chat(timeout=0), 400, "timeout"),
    ("field-bad-words", CHAT, chat(bad_words=["x"]), 400, "bad_words"),
    ("field-allowed", TEXT, {"prompt": "a", "allowed_token_ids": [1]}, 400, "allowed_token_ids"),
    ("field-functions", CHAT, chat(functions=[{"name": "f"}]), 400, "functions"),
    ("prompt-missing", TEXT, {}, 400, "prompt"),
    ("prompt-empty-list", TEXT, {"prompt": []}, 400, "prompt"),
    ("prompt-number", TEXT, {"prompt": 5}, 400, "prompt"),
    ("prompt-ids", TEXT, {"prompt": [10**6]}, 400, "prompt"),
    ("prompt-negative-ids", TEXT, {"prompt": [-1]}, 400, "prompt"),
    ("prompts-many", TEXT, {"prompt": ["a"] * 2000}, 400, "prompt"),
    ("prompt-long", TEXT, {"prompt": "x" * 600}, 400, "prompt"),
    ("logprobs-1000", TEXT, {"prompt": "a", "logprobs": 1000}, 400, "logprobs"),
    ("logprobs-bool", TEXT, {"prompt": "a", "logprobs": True}, 400, "logprobs"),
    ("best-of-low", TEXT, {"prompt": "a", "n": 3, "best_of": 1}, 400, "best_of"),
    ("best-of-huge", TEXT, {"prompt": "a", "best_of": 10**9}, 400, "best_of"),
    ("prompts-times-n", TEXT, {"prompt": ["a"] * 1024, "n": 128}, 400, "n"),
    ("prompts-times-best-of", TEXT, {"prompt": ["a"] * 1024, "best_of": 128}, 400, "n"),
    ("native-prompts-times-n", NATIVE, {"text": ["a"] * 1024, "sampling_params": {"n": 128}}, 400, "n"),
    ("huge-text", CHAT, {"messages": [{"role": "user", "content": "x" * 200_000}]}, 400, "messages"),
    ("huge-prompt", TEXT, {"prompt": "x" * 200_000}, 400, "prompt"),
    ("native-huge-text", NATIVE, {"text": "x" * 200_000}, 400, "text"),
    (
        "native-many-asked-ids",
        NATIVE,
        {**native(max_new_tokens=100), "return_logprob": True, "token_ids_logprob": [1] * 20_000},
        400,
        "token_ids_logprob",
    ),
    (
        "native-many-top-logprobs",
        NATIVE,
        {"text": "a" * 400, "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 1024},
        400,
        "top_logprobs_num",
    ),
    (
        "choices-too-many-tokens",
        "/score_choices",
        {"prompt_parts": ["a"], "choices": ["b" * 400] * 1024},
        400,
        "choices",
    ),
    ("suffix", TEXT, {"prompt": "a", "suffix": "b"}, 400, "suffix"),
    ("native-nothing", NATIVE, {"sampling_params": {}}, 400, "text"),
    ("native-both", NATIVE, {"text": "a", "input_ids": [1]}, 400, "text"),
    ("native-ids", NATIVE, {"input_ids": [-5]}, 400, "input_ids"),
    ("native-temperature", NATIVE, native(temperature=-1), 400, r"(sampling_params\.)?temperature"),
    ("native-top-p", NATIVE, native(top_p=7), 400, r"(sampling_params\.)?top_p"),
    ("native-unknown", NATIVE, native(max_tokens=7), 400, r"sampling_params\.max_tokens"),
    ("native-tokens", NATIVE, native(max_new_tokens=-1), 400, r"(sampling_params\.)?max_new_tokens"),
    ("native-two", NATIVE, native(regex="a+", json_schema="{}"), 400, ".*"),
    ("native-lists", NATIVE, {"text": ["a", "b"], "sampling_params": [{}]}, 400, "sampling_params"),
    ("native-image", NATIVE, {"text": "a", "image_data": "http://169.254.169.254/"}, 400, "image_data"),
    ("native-adapter", NATIVE, {"text": "a", "lora_path": "x"}, 404, "lora_path"),
    ("native-session", NATIVE, {"text": "a", "session_params": {"id": "x"}}, 400, "session_params.id"),
    (
        "native-top-logprobs",
        NATIVE,
        {"text": "a", "return_logprob": True, "top_logprobs_num": 10**6},
        400,
        "top_logprobs_num",
    ),
    ("native-batch", NATIVE, {"text": ["a"] * 2000}, 400, "text"),
    ("native-rid-long", NATIVE, {"text": "a", "rid": "x" * 257}, 400, "rid"),
    ("native-salt-long", NATIVE, {"text": "a", "extra_key": ["x" * 1025]}, 400, r"extra_key\.0"),
    ("salt-long", CHAT, chat(cache_salt="x" * 1025), 400, "cache_salt"),
    ("native-keep-long", NATIVE, {"text": "a", "keep": "x" * 257}, 400, "keep"),
    *(
        (f"native-{name}-{value:.0e}", NATIVE, {"text": "a", name: value}, 400, name)
        for name in ("priority", "next_use", "parent_len")
        for value in (10**30, -(10**30))
    ),
    ("priority-huge", CHAT, chat(priority=10**30), 400, "priority"),
    ("priority-huge-text", TEXT, {"prompt": "a", "priority": -(10**30)}, 400, "priority"),
    ("grammar-model-number", "/v1/grammar/check", {"regex": "a", "model": 5}, 400, "model"),
    ("grammar-model-object", "/v1/grammar/check", {"regex": "a", "model": {"a": 10**30}}, 400, "model"),
    ("native-rid-twice", NATIVE, {"text": ["a", "b"], "rid": ["x", "x"]}, 400, "rid"),
    ("choices-empty", "/score_choices", {"text": "a", "choices": []}, 400, "choices"),
    ("score-label", "/v1/score", {"query": "a", "items": ["b"], "label_token_ids": [10**9]}, 400, "label_token_ids"),
    ("score-no-labels", "/v1/score", {"query": "a", "items": ["b"], "label_token_ids": []}, 400, "label_token_ids"),
    ("score-mixed", "/v1/score", {"query": "a", "items": ["b", 5], "label_token_ids": [1]}, 400, "items"),
    ("score-mixed-ids", "/v1/score", {"query": "a", "items": [5, "b"], "label_token_ids": [1]}, 400, "items"),
    ("score-no-items", "/v1/score", {"query": "a", "items": [], "label_token_ids": [1]}, 400, "items"),
    ("one-no-questions", "/v1/systemone", {"state": "a", "questions": {}}, 400, "questions"),
    ("one-type", "/v1/systemone", {"state": "a", "questions": {"q": {"type": "essay"}}}, 400, r"questions.*"),
    (
        "one-criteria",
        "/v1/systemone",
        {"state": "a", "questions": {"q": {"type": "choice"}}},
        400,
        r"questions\.q\.criteria",
    ),
    ("embed-empty", "/v1/embeddings", {"input": []}, 400, "input"),
    ("embed-format", "/v1/embeddings", {"input": "a", "encoding_format": "xml"}, 400, "encoding_format"),
    ("detokenize-ids", "/detokenize", {"tokens": [10**7]}, 400, ".*"),
    ("detokenize-mixed", "/detokenize", {"tokens": [[1], 2]}, 400, "tokens"),
    ("detokenize-mixed-first", "/detokenize", {"tokens": [1, [2]]}, 400, "tokens"),
    ("encode-mixed", "/encode", {"input_ids": [[1], 2]}, 400, "input_ids"),
    ("embed-mixed", "/v1/embeddings", {"input": [1, [2]]}, 400, "input"),
    ("native-mixed", NATIVE, {"input_ids": [1, [2]]}, 400, "input_ids"),
    ("tokenize-nothing", "/tokenize", {}, 400, "prompt"),
    ("abort-nothing", "/abort_request", {}, 400, "rid"),
    ("parser", "/parse_function_call", {"text": "a", "tool_call_parser": "os.system"}, 400, "tool_call_parser"),
    ("adapter-load", "/load_lora_adapter", {"lora_name": "x", "lora_path": "/etc"}, 400, "lora_path"),
    ("adapter-unload", "/v1/unload_lora_adapter", {"lora_name": "x"}, 400, "lora_name"),
]


@pytest.mark.parametrize(("route", "body", "status", "param"), [c[1:] for c in CORPUS], ids=[c[0] for c in CORPUS])
def test_a_bad_request_is_the_clients_error(serve, route, body, status, param):
    client = serve(reply=b"ok")
    answer = client.post(route, body)
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["type"] == "invalid_request_error"
    assert told["message"]
    assert re.fullmatch(param, str(told["param"])), told
    assert not re.search(r"Traceback|site-packages|/home/|\.py\b", answer.text)
    assert client.engine.front.num_open == 0
    assert client.service.num_active == 0
    # the server still serves
    assert client.post(NATIVE, {"text": "a"}).status_code == 200


def test_ids_of_the_corpus_are_unique():
    assert len({c[0] for c in CORPUS}) == len(CORPUS)
