"""The native answer: SGLang's shape."""

from radixlang.runtime.generate_request import GenerateChunk
from radixlang.runtime.messages import Finish, TokenLogprobs
from radixlang.runtime.native_answer import Answer


def answer(deltas=False, **options):
    return Answer("r", lambda t: f"<{t}>", deltas=deltas, has_logprobs=True, **options)


def chunks():
    first = GenerateChunk(
        index=0, text="a", token_ids=[1], prompt_len=4, cached_len=2, completion_len=1,
        prompt_logprobs=[TokenLogprobs(None, 9), TokenLogprobs(-1.0, 8)],
        logprobs=[TokenLogprobs(-0.5, 1, [(-0.5, 1)])],
    )  # fmt: skip
    last = GenerateChunk(
        index=0, text="b", token_ids=[2], prompt_len=4, cached_len=2, completion_len=2,
        logprobs=[TokenLogprobs(-0.25, 2, [(-0.25, 2)])], finish=Finish(type="length", length=2),
    )  # fmt: skip
    return first, last


def test_answers_are_cumulative():
    built = answer()
    for chunk in chunks():
        built.take(chunk)
    body = built.body()
    assert (body["text"], body["output_ids"]) == ("ab", [1, 2])
    meta = body["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": 2}
    assert (meta["prompt_tokens"], meta["cached_tokens"], meta["completion_tokens"]) == (4, 2, 2)
    assert meta["input_token_logprobs"] == [[None, 9, "<9>"], [-1.0, 8, "<8>"]]
    assert meta["output_token_logprobs"] == [[-0.5, 1, "<1>"], [-0.25, 2, "<2>"]]
    assert meta["output_top_logprobs"] == [[[-0.5, 1, "<1>"]], [[-0.25, 2, "<2>"]]]
    assert meta["e2e_latency"] > 0


def test_deltas_hold_what_is_new():
    built = answer(deltas=True)
    bodies = []
    for chunk in chunks():
        built.take(chunk)
        bodies.append(built.body())
    assert [b["text"] for b in bodies] == ["a", "b"]
    assert [b["output_ids"] for b in bodies] == [[1], [2]]
    assert [len(b["meta_info"]["output_token_logprobs"]) for b in bodies] == [1, 1]
