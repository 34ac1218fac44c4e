"""After whatever happened, every KV slot is free, in the tree, or nobody's fault."""

import asyncio
import random

from radixlang.lang import loop as lang_loop
from radixlang.runtime.generate_request import GenerateRequest
from radixlang.runtime.sampling_params import SamplingParams


def gauges(engine):
    return engine.get_server_info()["internal_states"][0]


def test_random_aborts_leave_no_slot_no_request_and_no_stream(engine):
    rng = random.Random(4)

    async def one(index):
        request = GenerateRequest(
            prompt=[f"Story number {index % 7} of the harbour: " + "the ship sails on. " * rng.randrange(20)],
            sampling=SamplingParams(max_new_tokens=rng.randrange(1, 60), ignore_eos=True, n=rng.choice([1, 1, 2])),
            stream=True,
        )
        patience = rng.randrange(1, 30)
        chunks = engine.front.generate(request)
        async for _ in chunks:
            patience -= 1
            if patience == 0:
                break
        await chunks.aclose()

    async def many():
        await asyncio.gather(*(one(i) for i in range(48)))

    lang_loop.run(many())
    engine.flush_cache()
    now = gauges(engine)
    assert engine.front.num_open == 0
    assert now["num_running_reqs"] == now["num_queue_reqs"] == 0
    assert now["num_used_tokens"] == 0
    assert now["kv_available_tokens"] == now["max_total_num_tokens"]


def test_an_abort_is_answered_as_one(engine):
    async def abort_midway():
        seen = []
        request = GenerateRequest(
            prompt=["Once upon a time"],
            sampling=SamplingParams(max_new_tokens=4000, ignore_eos=True),
            rid="kill-me",
            stream=True,
        )
        async for chunk in engine.front.generate(request):
            seen.append(chunk)
            if len(seen) == 3:
                await engine.front.abort("kill")  # a prefix of the id hits nobody
                await engine.front.abort("kill-me")
                await engine.front.abort("kill-me")
        return seen

    seen = lang_loop.run(abort_midway())
    assert seen[-1].finish.type == "abort"
    assert 3 <= seen[-1].completion_len < 100
