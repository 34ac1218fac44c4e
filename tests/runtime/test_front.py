"""The front: requests in, chunks out, nobody left waiting."""

import asyncio

import pytest

from radixlang.errors import EngineDead, InvalidSampling, OverloadedError, RequestError
from radixlang.runtime.generate_request import ExpectedPrompt, GenerateRequest
from radixlang.runtime.messages import Expected, Finish, Release, Submit
from radixlang.runtime.sampling_params import SamplingParams


def request(prompt="hi", *, n=1, tokens=8, **fields):
    parts = prompt if isinstance(prompt, list) else [prompt]
    return GenerateRequest(prompt=parts, sampling=SamplingParams(max_new_tokens=tokens, n=n), stream=True, **fields)


async def collect(front, asked):
    return [chunk async for chunk in front.generate(asked)]


def test_chunks_add_up_and_counts_grow(make_front):
    front, _ = make_front(reply=b"hello")
    chunks = asyncio.run(collect(front, request()))
    assert "".join(c.text for c in chunks) == "hello"
    assert [c.completion_len for c in chunks] == [1, 2, 3, 4, 5]
    assert [c.finish is not None for c in chunks] == [False] * 4 + [True]
    assert front.num_open == 0


def test_n_generations_have_their_own_text_and_ids(make_front):
    front, engine = make_front(reply=b"ab")
    chunks = asyncio.run(collect(front, request(n=3, rid="r")))
    submits = [m for m in engine.sent if isinstance(m, Submit)]
    assert [m.rid for m in submits] == ["r", "r#1", "r#2"]
    assert len({m.group for m in submits}) == 1
    for index in range(3):
        assert "".join(c.text for c in chunks if c.index == index) == "ab"


def test_spans_of_text_and_ids_are_one_prompt(make_front):
    front, engine = make_front()
    asyncio.run(collect(front, request(["ab", [1, 2], "c"])))
    assert engine.sent[0].token_ids == [97, 98, 1, 2, 99]


def test_what_a_program_needs_later_travels_as_ids_with_the_first_of_n(make_front):
    front, engine = make_front()
    later = [ExpectedPrompt("b", ["xy", [1]], 3), ExpectedPrompt("wrong", [[10**6]], 3)]
    asyncio.run(collect(front, request(n=2, next_use=2, expects=later)))
    first, second = (m for m in engine.sent if isinstance(m, Submit))
    assert first.expects == (Expected("b", [120, 121, 1], 3),)
    assert second.expects == ()
    assert (first.next_use, second.next_use) == (2, 2)


def test_an_empty_prompt_begins_with_the_first_token(make_front, byte_tokenizer):
    front, engine = make_front()
    asyncio.run(collect(front, request("")))
    assert engine.sent[0].token_ids == [byte_tokenizer.bos_token_id]


def test_leaving_early_aborts_exactly_what_still_runs(make_front):
    front, engine = make_front(reply=b"hello")

    async def leave():
        chunks = front.generate(request(rid="gone"))
        async for _ in chunks:
            break
        await chunks.aclose()

    asyncio.run(leave())
    assert engine.aborted == ["gone"]
    assert front.num_open == 0


def test_a_cancelled_waiter_aborts(make_front):
    front, engine = make_front(stall=True)

    async def cancel():
        task = asyncio.create_task(collect(front, request(rid="gone")))
        while not engine.sent:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert engine.aborted == ["gone"]


def aborted_by(front, engine, asked, rid):
    """Ids that an abort of `rid` reaches while `asked` run."""

    async def run():
        tasks = [asyncio.create_task(collect(front, each)) for each in asked]
        while sum(isinstance(m, Submit) for m in engine.sent) < sum(each.sampling.n for each in asked):
            await asyncio.sleep(0)
        await front.abort(rid)
        hit = list(engine.aborted)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return hit

    return asyncio.run(run())


def test_an_abort_hits_all_of_an_n_and_nobody_whose_id_looks_like_it(make_front):
    front, engine = make_front(stall=True)
    assert aborted_by(front, engine, [request(rid="a"), request(rid="a#1")], "a") == ["a"]
    front, engine = make_front(stall=True)
    assert aborted_by(front, engine, [request(rid="b", n=3), request(rid="b#3")], "b") == ["b", "b#1", "b#2"]


def test_an_abort_of_a_batch_ends_all_of_it(make_front):
    front, engine = make_front(stall=True)
    batch = [request(rid=f"job_{i}", batch="job") for i in range(2)]
    assert aborted_by(front, engine, [*batch, request(rid="job_2")], "job") == ["job", "job_0", "job_1"]
    front.link.sent.clear()
    asyncio.run(front.abort("job"))
    assert engine.aborted == ["job"]  # nothing of it is remembered once it has ended


def test_an_id_too_long_is_refused_and_aborts_nobody(make_front):
    front, engine = make_front()
    with pytest.raises(RequestError) as caught:
        asyncio.run(collect(front, request(rid="x" * 257)))
    assert caught.value.param == "rid"
    asyncio.run(front.abort("x" * 257))
    assert not engine.sent


def test_errors_of_the_engine_keep_their_status_code_and_param(make_front):
    finish = Finish(type="error", status=400, code="context_length_exceeded", param="text", message="too long: 9 > 8")
    front, _ = make_front(finish=finish)
    with pytest.raises(RequestError) as caught:
        asyncio.run(collect(front, request()))
    error = caught.value
    assert (error.status, error.code, error.param, str(error)) == (400, finish.code, "text", "too long: 9 > 8")


def test_a_full_queue_is_an_overload(make_front):
    front, _ = make_front(finish=Finish(type="error", status=429, code="queue_full", message="full"))
    with pytest.raises(OverloadedError) as caught:
        asyncio.run(collect(front, request()))
    assert caught.value.status == 429


def test_a_dead_engine_answers_everything_and_refuses_the_next(make_front):
    front, engine = make_front(stall=True)

    async def die():
        waiting = asyncio.create_task(collect(front, request()))
        while not engine.sent:
            await asyncio.sleep(0)
        front.fail(EngineDead("killed"))
        with pytest.raises(EngineDead):
            await waiting
        with pytest.raises(EngineDead):
            await collect(front, request())

    asyncio.run(die())
    assert not front.health()["ready"]


@pytest.mark.parametrize(
    ("sampling", "param"),
    [(dict(temperature=-1), "temperature"), (dict(top_p=0), "top_p"), (dict(logit_bias={999: 1.0}), "logit_bias")],
)
def test_bad_sampling_is_refused_by_name_before_the_engine_sees_it(make_front, sampling, param):
    front, engine = make_front()
    asked = GenerateRequest(prompt=["x"], sampling=SamplingParams(**sampling))
    with pytest.raises(InvalidSampling) as caught:
        asyncio.run(collect(front, asked))
    assert caught.value.param == param
    assert not engine.sent


def test_ids_outside_of_the_vocabulary_are_refused(make_front):
    front, _ = make_front()
    with pytest.raises(RequestError, match="outside of the vocabulary"):
        asyncio.run(collect(front, request([[5, 259]])))


def test_a_running_id_is_refused_and_the_first_goes_on(make_front):
    front, engine = make_front(stall=True)

    async def twice():
        first = asyncio.create_task(collect(front, request(rid="same")))
        while not engine.sent:
            await asyncio.sleep(0)
        with pytest.raises(RequestError, match="unique"):
            await collect(front, request(rid="same"))
        assert front.num_open == 1
        first.cancel()

    asyncio.run(twice())


def test_paths_are_released_by_name(make_front):
    front, engine = make_front()
    asyncio.run(front.release(["p1"]))
    assert engine.sent == [Release(streams=["p1"])]


def test_whose_call_it_is_reaches_the_engine_with_every_request(make_front):
    front, engine = make_front()

    async def ask():
        await collect(front, request(n=2, client="c", program="run"))
        await front.score_choices(["a"], ["bc", "d"], unconditional=True, client="c", program="run")

    asyncio.run(ask())
    submits = [m for m in engine.sent if isinstance(m, Submit)]
    assert len(submits) > 3
    assert {(m.client, m.program) for m in submits} == {("c", "run")}
