"""What sessions hold is bounded, and what fails leaves nothing behind."""

import asyncio
import gc

import pytest

from radixlang.errors import OverloadedError, RadixlangError, RequestError
from radixlang.runtime import sessions
from radixlang.runtime.generate_request import GenerateRequest, SessionParams
from radixlang.runtime.messages import Finish, Release
from radixlang.runtime.sampling_params import SamplingParams


async def ask(front, text, rid, base=None, **params):
    """The request's finish."""
    request = GenerateRequest(
        prompt=[text], sampling=SamplingParams(max_new_tokens=2), rid=rid, session=SessionParams("s", base, **params)
    )
    return [chunk.finish async for chunk in front.sessions.generate(request)][-1]


def num_turns():
    gc.collect()
    return sum(type(one) is sessions._Turn for one in gc.get_objects())


def test_requests_that_fail_leave_nothing_behind(make_front) -> None:
    front, engine = make_front(reply=b"ok")

    async def check() -> None:
        await front.sessions.open(0, "s")
        await ask(front, "first", "a")
        held = front.sessions.num_ids
        assert held == len("first") + 2
        engine.finish = Finish(type="error", message="no", status=400)
        for number in range(5):
            with pytest.raises(RadixlangError):
                await ask(front, "x" * 100, f"bad{number}", base="a")
        assert front.sessions.num_ids == held
        assert num_turns() == 1
        released = [path for message in engine.sent if isinstance(message, Release) for path in message.streams]
        assert len(released) == 5, "an answer may have ended well before its reader went"

    asyncio.run(check())


def test_a_name_that_is_used_again_and_again_holds_one_request(make_front) -> None:
    front, _ = make_front(reply=b"ok")

    async def check() -> None:
        await front.sessions.open(0, "s")
        await ask(front, "first", "a")
        for _ in range(5):  # each goes on from the other, in whose place it was
            await ask(front, "more", "b", base="a")
            await ask(front, "more", "a", base="b")
        assert num_turns() == 2
        await ask(front, "", "c", base="b", replace=True)
        assert set(front.sessions._sessions["s"].turns) == {"b", "c"}, "what went on from it is forgotten"
        await front.sessions.close("s")
        assert (front.sessions.num_ids, num_turns()) == (0, 0)

    asyncio.run(check())


def test_sessions_hold_so_many_tokens_and_no_more(make_front, monkeypatch) -> None:
    front, _ = make_front(reply=b"ok")
    monkeypatch.setattr(sessions, "MAX_IDS", 30)

    async def check() -> None:
        await front.sessions.open(0, "s")
        await ask(front, "0123456789", "a")
        await ask(front, "", "b", base="a")
        with pytest.raises(OverloadedError) as caught:
            await ask(front, "", "c", base="b")
        assert (caught.value.status, caught.value.code) == (429, "sessions_full")
        await ask(front, "", "c", base="a", replace=True)
        await front.sessions.close("s")
        with pytest.raises(RequestError):
            await ask(front, "x", "d")

    asyncio.run(check())
