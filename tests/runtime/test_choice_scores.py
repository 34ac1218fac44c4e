"""Options are scored from the rows that they share, and as if each had been scored alone."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import RequestError
from radixlang.runtime.front import Front
from radixlang.runtime.messages import Finish, Output, Outputs, Submit, Submits, TokenLogprobs


def logprob(before, token):
    """Of a model that is a hash of all tokens before."""
    return -float(hash((tuple(before), token)) % 1000)


class Model:
    """Answers what is asked of rows, and counts requests and messages."""

    def __init__(self):
        self.front, self.submits, self.num_messages = None, [], 0

    def send(self, message):
        self.num_messages += 1
        submits = message.items if isinstance(message, Submits) else [message]
        self.submits += [submit for submit in submits if isinstance(submit, Submit)]
        outputs = [self.answer(submit) for submit in submits if isinstance(submit, Submit)]
        asyncio.get_running_loop().call_soon(self.front.receive, Outputs(outputs))

    def answer(self, submit):
        ids, wanted = submit.token_ids, submit.logprobs
        inner = []
        if wanted.prompt_start > 0:
            inner = [TokenLogprobs(logprob(ids[:at], ids[at]), ids[at]) for at in range(wanted.prompt_start, len(ids))]
        asked = [logprob(ids, token) for token in wanted.token_ids]
        last = [TokenLogprobs(0.0, 0, asked=asked)]
        return Output(submit.rid, [], len(ids), prompt_logprobs=inner, logprobs=last, finish=Finish("length"))


def make(tokenizer):
    model = Model()
    model.front = Front(model, tokenizer, {"vocab_size": 259, "chat_template": None})
    return model


def score(model, prompt, choices, *, unconditional=False):
    return asyncio.run(model.front.score_choices(prompt, choices, unconditional=unconditional))


TEXTS = st.text("ab is", min_size=1, max_size=5)


PARTS = st.lists(st.one_of(TEXTS, st.lists(st.integers(97, 99), max_size=3)), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=PARTS, choices=st.lists(TEXTS, min_size=1, max_size=5), unconditional=st.booleans())
def test_every_token_of_an_option_is_scored_behind_all_before_it(byte_tokenizer, prompt, choices, unconditional):
    model = make(byte_tokenizer)
    told = score(model, prompt, choices, unconditional=unconditional)
    ids = asyncio.run(model.front.tokenize(prompt))
    kept = ids[: len(ids) - told["choices"][0]["healed"]] or [model.front.empty_prompt()]
    for option in told["choices"]:
        tail = option["token_ids"]
        assert [entry[1] for entry in option["token_logprobs"]] == tail
        assert [entry[0] for entry in option["token_logprobs"]] == [
            logprob(kept + tail[:at], token) for at, token in enumerate(tail)
        ]
        if unconditional:
            alone = [None] + [logprob(tail[:at], tail[at]) for at in range(1, len(tail))]
            assert [entry[0] for entry in option["unconditional"]] == alone
        else:
            assert option["unconditional"] is None


def test_options_of_one_token_are_one_request(byte_tokenizer):
    model = make(byte_tokenizer)
    score(model, ["grade: "], ["A", "B", "C"])
    assert len(model.submits) == 1


def test_options_that_differ_in_the_last_token_share_a_request_and_all_go_at_once(byte_tokenizer):
    model = make(byte_tokenizer)
    score(model, ["q"], ["ab1", "ab2", "c"])
    assert [bytes(s.token_ids) for s in model.submits] == [b"q", b"qab"]
    assert model.num_messages == 1


def test_choices_are_scored_on_their_own_tokens(byte_tokenizer):
    got = score(make(byte_tokenizer), ["ab"], [" x", " yz"])
    texts = ["".join(text for _, _, text in c["token_logprobs"]) for c in got["choices"]]
    assert texts == [" x", " yz"]
    assert all(c["healed"] == 0 for c in got["choices"])


def test_a_choice_that_merges_with_the_prompt_heals_it_for_all(byte_tokenizer):
    got = score(make(byte_tokenizer), ["Par i"], ["s", "x"])
    assert [c["healed"] for c in got["choices"]] == [1, 1]
    assert ["".join(t for _, _, t in c["token_logprobs"]) for c in got["choices"]] == ["is", "ix"]


def test_choices_of_an_empty_prompt_are_scored_after_the_first_token(byte_tokenizer):
    got = score(make(byte_tokenizer), [], ["Yes", "No"])
    assert ["".join(t for _, _, t in c["token_logprobs"]) for c in got["choices"]] == ["Yes", "No"]
    assert all(lp is not None for c in got["choices"] for lp, _, _ in c["token_logprobs"])


@pytest.mark.parametrize("choices", [[], ["a", ""]])
def test_empty_choices_are_refused(byte_tokenizer, choices):
    with pytest.raises(RequestError):
        score(make(byte_tokenizer), ["x"], choices)
