"""One list of requests of every kind, answered the same by every way to run them.

The reference is computed by a plain engine: one request after the other, no speculation, no thread for the steps, room
for everything. Overlap, every drafter (tried whether it pays or not), jump-forward, the cache, a pool in which little
fits, small steps and pages, all requests at once, and HTTP may change nothing in an answer but its times.
"""

import contextlib
import functools
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import radixlang as sgl
from radixlang.runtime.scheduler.estimate import OutputEstimator
from radixlang.runtime.speculation import speculator

MODEL = "smollm2-135m-instruct"

LISTS = "red, green, blue, red, green, blue, red, green, blue, red, green, blue, red,"
PERSON = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "maxLength": 12},
        "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
        "favourite_colour": {"enum": ["red", "green", "blue"]},
    },
    "required": ["full_name", "age_in_years", "favourite_colour"],
    "additionalProperties": False,
}
UNIQUE = {
    "type": "array",
    "items": {"enum": ["a", "b", "c", "d"]},
    "uniqueItems": True,
    "minItems": 3,
    "maxItems": 4,
}
CHECKED = {"type": "array", "items": {"enum": [1, 2, 3]}, "contains": {"const": 3}, "minItems": 2, "maxItems": 3}
TAGS = {
    "type": "structural_tag",
    "structures": [
        {
            "begin": "<f>",
            "schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
            "end": "</f>",
        }
    ],
    "triggers": ["<f>"],
}
PARTS = {
    "type": "sequence",
    "parts": [
        {"constraint": {"type": "regex", "pattern": "[^.]*"}, "max_tokens": 12, "stop": [" blue"]},
        {
            "constraint": {"type": "regex", "pattern": "[ a-z.]*"},
            "before": " blue, red. The first is",
            "max_tokens": 6,
        },
        {"constraint": {"type": "choice", "choices": ["yes", "no"]}, "before": ". Is it so? ", "max_tokens": 4},
        {"constraint": {"type": "regex", "pattern": "[ a-z]*"}, "before": ", because", "max_tokens": 6},
    ],
}
"""Ended by its stop, by the model, by itself and by its length; the text that follows would go on what came before."""


def body(text, max_new_tokens=12, *, temperature=0.0, **more):
    outside = {"return_logprob", "logprob_start_len", "top_logprobs_num", "token_ids_logprob", "stream"}
    params = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    params.update({name: value for name, value in more.items() if name not in outside})
    return {"text": text, "sampling_params": params} | {n: v for n, v in more.items() if n in outside}


LOGPROBS = {"return_logprob": True, "top_logprobs_num": 2, "logprob_start_len": 0}
SHORT = {
    "free text": body("Once upon a time"),
    "repeats": body("The list again: " + LISTS, 24),
    "regex": body("My phone number is ", 16, regex=r"\(\d{3}\) \d{3}-\d{4}"),
    "schema": body("A person as JSON: ", 48, json_schema=json.dumps(PERSON)),
    "schema, logprobs": body("A person as JSON: ", 48, json_schema=json.dumps(PERSON), return_logprob=True),
    "unique items": body("Letters: ", 24, json_schema=json.dumps(UNIQUE)),
    "seeds": body("The weather is", temperature=0.8, sampling_seed=11),
    "three of one": body("The weather is", 8, temperature=0.8, sampling_seed=5, n=3),
    "unique, drawn": body("Letters: ", 24, json_schema=json.dumps(UNIQUE), temperature=0.9, sampling_seed=2),
    "parts": body("The list: " + LISTS, 64) | {"constraint": PARTS},
}
LONG = SHORT | {
    "repeats, drawn": body("The list again: " + LISTS, 24, temperature=0.8, sampling_seed=3),
    "repeats, penalties": body("The list: " + LISTS, 24, repetition_penalty=1.2, frequency_penalty=0.3),
    "repeats, logprobs": body("The list once more: " + LISTS, 16, **LOGPROBS, token_ids_logprob=[28, 338]),
    "repeats, stopped": body("The list again: " + LISTS, 24, stop=["blue, red"]),
    "repeats, stop token": body("The list again: " + LISTS, 24, stop_token_ids=[28]),
    "repeats, stop pattern": body("The list again: " + LISTS, 24, stop_regex=r"gr\w+n, b"),
    "stop kept": body("The list again: " + LISTS, 24, stop=["blue"], no_stop_trim=True),
    "choices": body("The capital of France is", 8, regex="(Paris|London|Berlin)"),
    "ebnf": body("Is it so? ", 8, ebnf='root ::= "yes" | "no" | "perhaps so"'),
    "json object": body("Some JSON: ", 24, json_schema='{"type": "object"}'),
    "verified": body("Numbers: ", 16, json_schema=json.dumps(CHECKED), on_unsupported="verify"),
    "closed in time": body(
        "A story as JSON: ",
        16,
        json_schema='{"type":"object","properties":{"story":{"type":"string"}},"required":["story"]}',
        close=True,
    ),
    "schema, drawn": body("A person as JSON: ", 48, json_schema=json.dumps(PERSON), temperature=0.8, sampling_seed=9),
    "parts, drawn": body("The list: " + LISTS, 64, temperature=0.8, sampling_seed=1) | {"constraint": PARTS},
    "parts, logprobs": body("The list: " + LISTS, 64, return_logprob=True) | {"constraint": PARTS},
    "unique, drawn with logprobs": body(
        "Letters: ", 24, json_schema=json.dumps(UNIQUE), temperature=0.9, sampling_seed=2, return_logprob=True
    ),
    "schema, penalties": body("A person as JSON: ", 48, json_schema=json.dumps(PERSON), presence_penalty=0.5),
    "tags": body("Call f with x = 3: <f>", 20, structural_tag=json.dumps(TAGS)),
    "healed": body("The website is http:", 10, heal=True),
    "healed regex": body("My number: 55", 10, heal=True, regex=r"[0-9]{3}-[0-9]{4}"),
    "at least": body("The end.", 10, min_new_tokens=6),
    "bias": body("Once upon a time", 8, logit_bias={"28": -100, "260": 4}),
    "logprobs": body("The sky is blue and the sea", 6, **LOGPROBS),
    "drawn with logprobs": body("The sky", 8, temperature=0.8, top_p=0.9, top_k=40, sampling_seed=4, **LOGPROBS),
    "min_p": body("The sky", 8, temperature=1.0, min_p=0.05, sampling_seed=4, ignore_eos=True),
    "scores": body("The sky is blue", 0, return_logprob=True, logprob_start_len=0),
    "streamed": body("The list again: " + LISTS, 24, stream=True),
    "streamed schema": body("A person as JSON: ", 48, json_schema=json.dumps(PERSON), stream=True),
    "streamed unique": body("Letters: ", 24, json_schema=json.dumps(UNIQUE), stream=True, return_logprob=True),
    "two prompts": body(["One, two, three,", "One, two, three, four,"], 8),
}
CONVERSATION = ["The ship sails", " on and on:", " it was"]


class InProcess:
    """Bodies to the engine in this process; any thread."""

    def __init__(self, engine):
        self.engine = engine

    def generate(self, request):
        given = dict(request)
        answer = self.engine.generate(given.pop("text"), given.pop("sampling_params"), **given)
        return joined(answer) if request.get("stream") else answer

    def open_session(self):
        return self.engine.open_session(1000)

    def close_session(self, session):
        self.engine.close_session(session)

    def gauges(self):
        return self.engine.get_server_info()["internal_states"][0]

    def flush(self):
        self.engine.flush_cache()


class OverHttp:
    """The same bodies to a server."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=120)

    def generate(self, request):
        if not request.get("stream"):
            answer = self.http.post("/generate", json=request)
            assert answer.status_code == 200, answer.text
            return answer.json()
        with self.http.stream("POST", "/generate", json=request) as lines:
            events = [line.removeprefix("data: ") for line in lines.iter_lines() if line]
        assert events[-1] == "[DONE]"
        return joined(json.loads(event) for event in events[:-1])

    def open_session(self):
        return self.http.post("/open_session", json={"capacity_of_str_len": 1000}).json()

    def close_session(self, session):
        assert self.http.post("/close_session", json={"session_id": session}).status_code == 200

    def gauges(self):
        return self.http.get("/get_server_info").json()["internal_states"][0]

    def flush(self):
        assert self.http.post("/flush_cache").status_code == 200


def joined(pieces):
    """The last of a stream's cumulative answers, each of which goes on from the one before."""
    last = None
    for piece in pieces:
        assert last is None or piece["text"].startswith(last["text"])
        assert last is None or piece["output_ids"][: len(last["output_ids"])] == last["output_ids"]
        last = piece
    return last


def outcome(answer):
    """What may not depend on how it was computed."""
    if isinstance(answer, list):
        return [outcome(one) for one in answer]
    meta = answer["meta_info"]
    assert meta["completion_tokens"] == len(answer["output_ids"])
    assert 0 <= meta["cached_tokens"] <= meta["prompt_tokens"]
    assert 0 <= meta["forced_tokens"] <= meta["completion_tokens"]
    told = {"text": answer["text"], "ids": answer["output_ids"], "finish": meta["finish_reason"]}
    told |= {
        name: meta[name] for name in ("prompt_tokens", "completion_tokens", "healed_text", "parts") if name in meta
    }
    if meta.get("output_token_logprobs"):
        assert len(meta["output_token_logprobs"]) == len(answer["output_ids"]) or not answer["output_ids"]
    for name in sorted(meta):
        if name.endswith("put_token_logprobs") or name.endswith("put_token_ids_logprobs"):
            told[name] = meta[name]
        elif name.endswith("put_top_logprobs"):  # near-ties may change places
            told[name] = [None if top is None else sorted(lp for lp, *_ in top) for top in meta[name]]
    return told


def same(found, expected):
    """Equal, numbers that are no integers to 1e-3."""
    if isinstance(expected, float) and isinstance(found, float):
        return abs(found - expected) <= 1e-3
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


def talk(way):
    """A session of three requests, the last one of them twice from the same place."""
    session, rid, told = way.open_session(), None, []
    try:
        for text in [*CONVERSATION, CONVERSATION[-1]]:
            params = {"id": session} if rid is None else {"id": session, "rid": rid}
            answer = way.generate(body(text, 8) | {"session_params": params})
            told.append(outcome(answer))
            if len(told) < len(CONVERSATION):
                rid = answer["meta_info"]["id"]
    finally:
        way.close_session(session)
    assert told[-1] == told[-2]
    return told


def ask(way, name, request):
    return talk(way) if name == "conversation" else outcome(way.generate(request))


def one_by_one(way, cases):
    return {name: ask(way, name, request) for name, request in cases.items()}


def at_once(way, cases):
    with ThreadPoolExecutor(len(cases)) as threads:
        futures = {name: threads.submit(ask, way, name, request) for name, request in cases.items()}
        return {name: future.result() for name, future in futures.items()}


def differences(found, expected):
    return {
        name: {"found": found[name], "expected": expected[name]}
        for name in expected
        if not same(found[name], expected[name])
    }


def is_whole(way):
    """Nothing runs, waits or is held, and every slot is accounted for."""
    way.flush()
    now = way.gauges()
    assert now["num_running_reqs"] == now["num_queue_reqs"] == now["num_kept_streams"] == 0, now
    assert now["num_used_tokens"] == now["kv_leaked_tokens_total"] == 0, now
    assert now["kv_available_tokens"] == now["max_total_num_tokens"], now
    return now


@contextlib.contextmanager
def running(**options):
    given = {"max_total_tokens": 16384, "context_length": 2048, "random_seed": 1, "speculative_algorithm": "none"}
    with sgl.Engine(model_path=MODEL, **{**given, **options}) as engine:
        yield InProcess(engine)


@pytest.fixture
def eager(monkeypatch):
    """Drafts are tried as long as they are, whether they pay or not."""
    monkeypatch.setattr(speculator, "may_pay", lambda *_: True)
    monkeypatch.setattr(speculator, "choose_lengths", lambda chances, *_: [c.size for c in chances])
    monkeypatch.setattr(speculator, "choose_depth", lambda *given: max(0, min(3, given[-1])))


@functools.cache
def reference(is_long):
    cases = LONG | {"conversation": None} if is_long else SHORT
    with running(disable_overlap_schedule=True) as way:
        expected = one_by_one(way, cases)
        assert way.gauges()["spec_verify_total"] == 0
        is_whole(way)
    return cases, expected


def check(way, is_long=True, *, again=True):
    """All at once into a cold cache, and again into the warm one."""
    cases, expected = reference(is_long)
    assert differences(at_once(way, cases), expected) == {}
    if again:
        assert differences(one_by_one(way, cases), expected) == {}
    return is_whole(way)


def test_all_features_at_once_change_no_answer(eager):
    with running(speculative_algorithm="auto", disable_overlap_schedule=False) as way:
        now = check(way, False)
        assert now["spec_correct_drafts_total"] > 0
        assert now["forced_tokens_total"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("is_sync", [True, False], ids=["alone", "overlapped"])
@pytest.mark.parametrize("algorithm", ["none", "auto", "tree", "ngram", "draft"])
def test_drafts_change_no_answer(eager, algorithm, is_sync):
    model = {"speculative_draft_model_path": MODEL} if algorithm == "draft" else {}
    with running(speculative_algorithm=algorithm, disable_overlap_schedule=is_sync, **model) as way:
        now = check(way)
        assert (now["spec_correct_drafts_total"] > 0) == (algorithm != "none")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"max_total_tokens": 144, "context_length": 112},
        {"max_total_tokens": 144, "context_length": 112, "radix_eviction_policy": "lru", "page_size": 4},
        {"disable_radix_cache": True},
        {"disable_radix_cache": True, "max_total_tokens": 144, "context_length": 112},
        {"chunked_prefill_size": 5},
        {"page_size": 16},
        {"max_running_requests": 3},
    ],
    ids=lambda options: " ".join(f"{name}={value}" for name, value in options.items()),
)
@pytest.mark.parametrize("is_sync", [True, False], ids=["alone", "overlapped"])
def test_memory_and_steps_change_no_answer(eager, monkeypatch, options, is_sync):
    monkeypatch.setattr(OutputEstimator, "expected_len", lambda *_: 1)  # too many are admitted, and retracted
    with running(speculative_algorithm="auto", disable_overlap_schedule=is_sync, **options) as way:
        now = check(way, again=False)
        if options.get("page_size", 1) == 1:  # a stock of whole pages is room enough here
            assert (now["num_retracted_reqs"] > 0) == ("max_total_tokens" in options)


@pytest.mark.slow
def test_jump_forward_changes_no_answer():
    with running(disable_jump_forward=True, disable_overlap_schedule=False) as way:
        check(way, again=False)


@pytest.mark.slow
def test_http_changes_no_answer(server_url):
    way = OverHttp(server_url)
    with way.http:
        check(way)
