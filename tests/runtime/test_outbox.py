"""What goes to the engine together."""

import asyncio

from radixlang.errors import EngineDead, RequestError
from radixlang.runtime.messages import Submit, Submits
from radixlang.runtime.outbox import Outbox
from radixlang.runtime.sampling_params import SamplingParams


def submit(rid):
    return Submit(rid=rid, token_ids=[1], sampling=SamplingParams())


class Link:
    """The messages by their rids; `refuses` are never taken."""

    def __init__(self, refuses=(), closed=()):
        self.sent, self.failed, self.refuses = [], {}, set(refuses)
        self.outbox = Outbox(self.send, lambda rid: rid not in closed, self.failed.__setitem__)

    def send(self, message):
        rids = [s.rid for s in (message.items if isinstance(message, Submits) else [message])]
        if self.refuses & set(rids):
            raise RequestError("poison")
        self.sent.append(rids)


async def passes(num=3):
    for _ in range(num):
        await asyncio.sleep(0)


def test_what_one_pass_brings_is_one_message():
    async def run():
        link = Link()
        for rid in "abc":
            link.outbox.add([submit(rid)], None, 0)
        await passes()
        link.outbox.add([submit("d")], None, 0)
        await passes()
        return link.sent

    assert asyncio.run(run()) == [["a", "b", "c"], ["d"]]


def test_a_group_waits_for_its_last_and_others_do_not():
    async def run():
        link = Link()
        link.outbox.add([submit("a")], "g", 3)
        link.outbox.add([submit("x")], None, 0)
        await passes()
        link.outbox.add([submit("b")], "g", 3)
        await passes()
        seen = [*link.sent]
        link.outbox.add([submit("c")], "g", 3)
        link.outbox.add([submit("y")], None, 0)
        await passes()
        return seen, link.sent

    assert asyncio.run(run()) == ([["x"]], [["x"], ["a", "b", "c", "y"]])


def test_a_group_that_stays_short_goes_all_the_same():
    async def run():
        link = Link()
        link.outbox.add([submit("a")], "g", 3)
        link.outbox.add([submit("b")], "g", 3)
        async with asyncio.timeout(10):
            while not link.sent:
                await asyncio.sleep(0.001)
        link.outbox.add([submit("c")], "g", 1)
        await passes()
        return link.sent

    assert asyncio.run(run()) == [["a", "b"], ["c"]]


def test_a_call_of_several_requests_counts_once():
    async def run():
        link = Link()
        link.outbox.add([submit("a"), submit("a#1")], "g", 2)
        seen = [*link.sent]
        link.outbox.add([submit("b")], "g", 2)
        await passes()
        return seen, link.sent

    assert asyncio.run(run()) == ([], [["a", "a#1", "b"]])


def test_what_nobody_waits_for_is_not_sent():
    async def run():
        link = Link(closed={"b"})
        for rid in "abc":
            link.outbox.add([submit(rid)], "g", 3)
        await passes()
        return link.sent

    assert asyncio.run(run()) == [["a", "c"]]


def test_one_that_is_refused_ends_alone():
    async def run():
        link = Link(refuses={"b"})
        for rid in "abc":
            link.outbox.add([submit(rid)], None, 0)
        await passes()
        return link

    link = asyncio.run(run())
    assert link.sent == [["a"], ["c"]]
    assert list(link.failed) == ["b"]


def test_a_dead_engine_answers_all_that_wait():
    async def run():
        link = Link()

        def dead(message):
            raise EngineDead("gone")

        link.outbox._send = dead
        for rid in "ab":
            link.outbox.add([submit(rid)], None, 0)
        await passes()
        return link.failed

    assert {rid: type(error) for rid, error in asyncio.run(run()).items()} == {"a": EngineDead, "b": EngineDead}
