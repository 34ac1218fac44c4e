"""What waits for a reader is bounded: its request is paused, and goes on."""

import asyncio

from radixlang.runtime.mailbox import MAX_UNREAD_BYTES, Mailbox
from radixlang.runtime.messages import Output, TokenLogprobs


def test_a_reader_that_lags_pauses_its_request_until_half_is_read():
    async def run():
        told = []
        box = Mailbox(told.append)
        number = 0
        while not told:
            box.put(0, Output(rid="r", token_ids=[number]))
            number += 1
            assert number < MAX_UNREAD_BYTES // 512 + 2, "it was never paused"
        for _ in range(10):  # what the step in flight brings still comes in
            box.put(0, Output(rid="r", token_ids=[0]))
        assert told == [True]
        read = 0
        while len(told) == 1:
            await box.get()
            read += 1
        assert told == [True, False]
        assert number // 2 <= read < number
        return [await box.get() for _ in range(number + 10 - read)]

    left = asyncio.run(run())
    assert all(index == 0 for index, _ in left)


def test_log_probabilities_count():
    async def run():
        told = []
        box = Mailbox(told.append)
        many = TokenLogprobs(-1.0, 5, [(-1.0, i) for i in range(1000)])
        for _ in range(5):
            box.put(0, Output(rid="r", token_ids=[5], logprobs=[many]))
        return told

    assert asyncio.run(run()) == [True]


def test_a_reader_waits_for_what_is_to_come():
    async def run():
        box = Mailbox(lambda on: None)
        asyncio.get_running_loop().call_soon(box.put, 3, Output(rid="r", token_ids=[7]))
        return await box.get()

    index, output = asyncio.run(run())
    assert (index, output.token_ids) == (3, [7])
