"""Bodies of many requests at once: what they take together is bounded, and given back."""

import asyncio
import json

import httpx
import pytest

from radixlang.runtime.server import bodies
from radixlang.runtime.server.bodies import VALUE_BYTES, BodyBudget, HeldBody
from radixlang.runtime.server.http import HttpError


def test_bodies_beyond_the_room_of_all_are_refused_and_those_within_are_answered(serve, monkeypatch):
    monkeypatch.setattr(bodies, "LEAST_BYTES", 0)
    client = serve(reply=b"ok", server={"max_body_mb": 0.001})
    text = json.dumps({"text": "x" * 250, "sampling_params": {"max_new_tokens": 2}}).encode()

    async def call():
        may_end = asyncio.Event()

        async def slowly():
            yield text[:-1]
            await may_end.wait()
            yield text[-1:]

        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            tasks = [asyncio.ensure_future(http.post("/generate", content=slowly())) for _ in range(60)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            may_end.set()
            first = [task.result() for task in done]
            return first, [await task for task in tasks]

    first, answers = asyncio.run(call())
    assert {a.status_code for a in first} == {503}
    assert {a.status_code for a in answers} == {200, 503}
    refused = next(a for a in answers if a.status_code == 503)
    assert refused.json()["error"]["code"] == "too_many_bodies"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert client.app._bodies.held == 0
    assert client.post("/generate", {"text": "x"}).status_code == 200


def test_values_count_as_what_they_become():
    budget = BodyBudget(bodies.LEAST_BYTES // bodies.NUM_LARGEST)
    held = HeldBody(budget)
    held.take(b"[[],[]]")
    assert budget.held == 7 + 4 * VALUE_BYTES
    with pytest.raises(HttpError) as error:
        held.take(b"[]," * (budget.limit // VALUE_BYTES))
    assert error.value.status == 413
    held.give_back()
    held.give_back()
    assert budget.held == 0
