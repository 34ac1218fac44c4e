"""What is measured of what passes through the front."""

from __future__ import annotations

import asyncio

import pytest

from radixlang.runtime.generate_request import GenerateRequest
from radixlang.runtime.messages import Finish, Output, Outputs
from radixlang.runtime.metrics import Metrics
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.server import metered
from radixlang.runtime.server.tenants import Tenants


class Bursts:
    """An engine that tells several tokens in one message: (seconds since the last one, tokens)."""

    def __init__(self, clock, messages) -> None:
        self.clock, self.messages, self.front = clock, list(messages), None

    def send(self, message) -> None:
        if self.messages:
            asyncio.get_running_loop().call_soon(self.tell, message.rid)

    def tell(self, rid) -> None:
        seconds, count = self.messages.pop(0)
        self.clock[0] += seconds
        items = [Output(rid, [65 + place], 2) for place in range(count)]
        if not self.messages:
            items[-1].finish = Finish("length")
        self.front.receive(Outputs(items))
        if self.messages:  # when all of this one is read
            asyncio.get_running_loop().call_later(0, self.tell, rid)


@pytest.fixture
def measure(byte_tokenizer, monkeypatch):
    def run(messages):
        clock, metrics = [100.0], Metrics()
        monkeypatch.setattr(metered.time, "perf_counter", lambda: clock[0])
        engine = Bursts(clock, messages)
        engine.front = metered.MeteredFront(
            engine, byte_tokenizer, {"vocab_size": 259, "chat_template": None}, metrics, Tenants()
        )

        async def ask():
            asked = GenerateRequest(prompt=["hi"], sampling=SamplingParams(max_new_tokens=99), stream=True)
            async for _ in engine.front.generate(asked):
                await asyncio.sleep(0)

        asyncio.run(ask())
        [family] = [f for f in metrics.inter_token_latency.collect() if f.name.endswith("inter_token_latency_seconds")]
        return {
            (sample.name.rsplit("_", 1)[-1], sample.labels.get("le", "")): sample.value for sample in family.samples
        }

    return run


def test_tokens_that_come_together_share_the_time_that_they_took(measure) -> None:
    found = measure([(0.5, 1), (0.04, 4), (0.01, 1), (0.08, 8)])
    assert found["count", ""] == 13
    assert found["sum", ""] == pytest.approx(0.13)
    below = max((le for kind, le in found if kind == "bucket" and le != "+Inf" and float(le) < 0.0099), key=float)
    assert found["bucket", below] == 0


def test_a_first_token_is_no_gap(measure) -> None:
    assert measure([(0.5, 1)])["count", ""] == 0
