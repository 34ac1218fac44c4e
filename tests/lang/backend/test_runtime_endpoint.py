from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.errors import EngineDead, RequestError

INFO = {"model_path": "org/model", "tokenizer_path": "org/model", "is_generation": True, "chat_template": None}


@pytest.fixture
def endpoint(server):
    server.answers["/get_model_info"] = lambda body: INFO
    found = sgl.RuntimeEndpoint(server.url, api_key="key")
    yield found
    found.shutdown()


@sgl.function
def p(s):
    s += "q" + sgl.gen("a", max_tokens=2)


def answer(text, finish="length"):
    meta = {"id": "1", "prompt_tokens": 3, "completion_tokens": 2, "finish_reason": {"type": finish, "length": 2}}
    return {"text": text, "output_ids": [5, 6], "meta_info": meta}


def test_sglangs_attributes_are_there(server, endpoint):
    assert (endpoint.base_url, endpoint.model_info, endpoint.get_model_name()) == (server.url, INFO, "org/model")
    assert endpoint.get_chat_template().name == "default"
    assert server.seen[0][2]["Authorization"] == "Bearer key"
    named = sgl.RuntimeEndpoint(server.url, chat_template_name="chatml")
    assert named.chat_template.name == "chatml"
    named.shutdown()


def test_a_generation_is_one_request(server, endpoint):
    server.answers["/generate"] = lambda body: answer("xy")
    state = p.run(backend=endpoint, temperature=0)
    assert state.text() == "qxy"
    assert state.get_meta_info("a")["prompt_tokens"] == 3
    (body,) = server.bodies("/generate")
    assert body["prompt_parts"] == ["q"]
    assert (body["sampling_params"]["max_new_tokens"], body["sampling_params"]["temperature"]) == (2, 0)
    assert body["stream"] is False


def test_a_stream_gives_its_pieces(server, endpoint):
    running = {"id": "1", "completion_tokens": 1, "finish_reason": None}
    first = {"text": "x", "output_ids": [5], "meta_info": running}
    server.answers["/generate"] = lambda body: [first, {**answer("y"), "output_ids": [6]}]
    state = p.run(backend=endpoint, stream=True)
    assert list(state.text_iter("a")) == ["x", "y"]
    assert server.bodies("/generate")[0]["stream_deltas"] is True


def test_n_answers_come_as_a_list(server, endpoint):
    answers = [answer("xy"), answer("zw")]
    server.answers["/generate"] = lambda body: (200, answers[: body["sampling_params"]["n"]])

    @sgl.function
    def many(s):
        s += "q" + sgl.gen("a", n=2, max_tokens=2)

    state = many.run(backend=endpoint)
    assert (state["a"], state.text()) == (["xy", "zw"], "qxy")


def test_select_asks_for_scores(server, endpoint):
    def score(body):
        scored = [
            {"token_logprobs": [[-float(i + 1), i, c]], "unconditional": None} for i, c in enumerate(body["choices"])
        ]
        return {"choices": scored, "prompt_tokens": 3, "cached_tokens": 1}

    server.answers["/score_choices"] = score

    @sgl.function
    def choose(s):
        s += "q" + sgl.select("c", ["no", "yes"])

    state = choose.run(backend=endpoint)
    assert (state["c"], state.get_meta_info("c")["cached_tokens"]) == ("no", 1)


def test_an_error_body_is_the_errors_message(server, endpoint):
    error = {"error": {"message": "top_p must be in (0, 1], found 7", "code": "invalid_value", "param": "top_p"}}
    server.answers["/generate"] = lambda body: (400, error)
    with pytest.raises(sgl.ProgramError, match="top_p must be") as caught:
        p.run(backend=endpoint)["a"]
    assert isinstance(caught.value.__cause__, RequestError)
    assert caught.value.__cause__.param == "top_p"


def test_an_error_in_a_stream_reaches_its_reader(server, endpoint):
    server.answers["/generate"] = lambda body: [{"error": {"message": "out of pages", "status": 503}}]
    with pytest.raises(sgl.ProgramError, match="out of pages"):
        list(p.run(backend=endpoint, stream=True).text_iter())


def test_leaving_early_aborts_on_the_server_even_if_it_does_not_answer(server, endpoint, until):
    pieces = [{"text": "x", "output_ids": [5], "meta_info": {"finish_reason": None}}] * 50
    server.answers["/generate"] = lambda body: pieces
    server.answers["/abort_request"] = lambda body: (500, {"error": {"message": "broken"}})
    state = p.run(backend=endpoint, stream=True)
    pieces_of = state.text_iter("a")
    next(pieces_of)
    pieces_of.close()
    until(lambda: state.stream_executor.is_finished)
    sent = server.bodies("/generate")[0]["rid"]
    assert [body["rid"] for body in server.bodies("/abort_request")] in ([sent], [])  # it may have been read whole


def test_a_server_that_is_gone_is_told(server):
    server.answers["/get_model_info"] = lambda body: INFO
    endpoint = sgl.RuntimeEndpoint(server.url)
    endpoint.shutdown()
    endpoint.base_url = "http://127.0.0.1:1"
    with pytest.raises(sgl.ProgramError, match=r"127\.0\.0\.1:1") as caught:
        p.run(backend=endpoint)["a"]
    assert isinstance(caught.value.__cause__, EngineDead)
    endpoint.shutdown()
    with pytest.raises(EngineDead):
        sgl.RuntimeEndpoint("http://127.0.0.1:1")


def test_cache_and_server_info(server, endpoint):
    server.answers["/flush_cache"] = lambda body: {}
    server.answers["/get_server_info"] = lambda body: {"version": "1"}
    server.answers["/generate"] = lambda body: answer("")
    assert sgl.flush_cache(endpoint)
    assert sgl.get_server_info(endpoint) == {"version": "1"}
    endpoint.cache_prefix("prefix")
    assert server.bodies("/generate")[0]["sampling_params"]["max_new_tokens"] == 0


def test_a_server_that_counts_programs_is_told_whose_call_it_is_and_no_other(server, endpoint):
    server.answers["/generate"] = lambda body: answer("xy")
    p.run(backend=endpoint).text()
    server.answers["/get_model_info"] = lambda body: {**INFO, "counts_programs": True}
    ours = sgl.RuntimeEndpoint(server.url)
    state = p.run(backend=ours)
    state.text()
    ours.shutdown()
    to_other, to_ours = server.bodies("/generate")
    assert "program_id" not in to_other
    assert to_ours["program_id"] == state.stream_executor.run.program_id
