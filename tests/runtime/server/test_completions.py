"""Text completions: prompts of four kinds, echo, legacy log-probabilities, best_of."""

import pytest

PATH = "/v1/completions"


def post(client, **body):
    answer = client.post(PATH, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_default_is_sixteen_tokens(serve):
    client = serve()
    post(client, prompt="a")
    assert client.submits[0].sampling.max_new_tokens == 16


def test_four_kinds_of_prompt(serve):
    client = serve(reply=b"xy")
    for prompt, count in (("ab", 1), (["a", "b"], 2), ([97, 98], 1), ([[97], [98]], 2)):
        answer = post(client, prompt=prompt)
        assert answer["id"].startswith("cmpl-")
        assert [c["index"] for c in answer["choices"]] == list(range(count))
        assert answer["usage"]["completion_tokens"] == 2 * count


def test_choices_are_numbered_by_prompt_then_n(serve):
    client = serve(reply=b"xy")
    answer = post(client, prompt=["a", "bc"], n=2, echo=True)
    assert [c["text"] for c in answer["choices"]] == ["axy", "axy", "bcxy", "bcxy"]


def test_echo_with_logprobs_scores_the_prompt(serve):
    answer = post(serve(reply=b"xy"), prompt="abc", echo=True, logprobs=1, max_tokens=2)
    (choice,) = answer["choices"]
    told = choice["logprobs"]
    assert choice["text"] == "abcxy"
    assert told["tokens"] == list("abcxy")
    assert told["token_logprobs"][0] is None
    assert told["top_logprobs"][0] is None
    assert all(lp <= 0 for lp in told["token_logprobs"][1:])
    assert told["text_offset"] == [0, 1, 2, 3, 4]


def test_scoring_alone_generates_nothing(serve):
    answer = post(serve(), prompt="abc", echo=True, logprobs=0, max_tokens=0)
    (choice,) = answer["choices"]
    assert choice["text"] == "abc"
    assert len(choice["logprobs"]["tokens"]) == 3
    assert answer["usage"]["completion_tokens"] == 0


def test_a_token_that_is_no_text_is_told_as_bytes(serve):
    told = post(serve(reply="é".encode()), prompt="a", logprobs=0)["choices"][0]["logprobs"]
    assert told["tokens"] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert told["text_offset"] == [0, 0]


def test_streams_of_several_prompts_add_up(serve):
    body = {"prompt": ["a", "b"], "echo": True, "logprobs": 0, "stream_options": {"include_usage": True}}
    *chunks, last = serve(reply=b"xy").events(PATH, body)
    for index, text in ((0, "axy"), (1, "bxy")):
        mine = [c for e in chunks for c in e["choices"] if c["index"] == index]
        assert "".join(c["text"] for c in mine) == text
        assert [t for c in mine if c["logprobs"] for t in c["logprobs"]["tokens"]] == list(text)
        assert [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["length"]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4


def test_best_of_returns_the_likeliest(serve):
    client = serve(reply=b"xy")
    assert len(post(client, prompt="a", n=1, best_of=3)["choices"]) == 1
    assert len(client.submits) == 3
    assert client.post(PATH, {"prompt": "a", "n": 3, "best_of": 2}).status_code == 400
    assert client.post(PATH, {"prompt": "a", "best_of": 2, "stream": True}).status_code == 400


def test_a_suffix_is_refused_not_ignored(serve):
    answer = serve().post(PATH, {"prompt": "a", "suffix": "b"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "suffix")


def test_prompts_of_mixed_kinds_are_refused(serve):
    client = serve()
    for prompt in (["a", 5], [5, "a"], [[5], 5], [5, [5]], ["a", [5]]):
        answer = client.post(PATH, {"prompt": prompt})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize("is_native", [False, True])
def test_the_end_of_a_prompt_is_healed_and_not_said_again(serve, is_native):
    client = serve(reply=b"is it")
    if is_native:
        sampling = {"max_new_tokens": 5, "heal": True}
        answer = client.post("/generate", {"text": "What i", "sampling_params": sampling}).json()
        assert answer["text"] == "s it"
        assert (answer["meta_info"]["healed_tokens"], answer["meta_info"]["healed_text"]) == (1, "i")
    else:
        answer = client.post("/v1/completions", {"prompt": "What i", "max_tokens": 5, "heal": True}).json()
        assert answer["choices"][0]["text"] == "s it"
        assert answer["usage"]["prompt_tokens"] == len("What ")
    (submit,) = client.submits
    assert bytes(submit.token_ids) == b"What "
    assert submit.constraint.prefix == "i"
    assert submit.constraint.constraint is None
