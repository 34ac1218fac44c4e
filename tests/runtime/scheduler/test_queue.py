"""Who goes first, and that nobody waits for ever."""

from __future__ import annotations

import random

import numpy as np
import pytest

from radixlang.runtime.messages import Submit
from radixlang.runtime.request import Request
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.queue import QUANTUM, STARVED_S, WaitingQueue


class Entries:
    """A queue, and requests of a given length, benefit, client and priority."""

    def __init__(self, **options) -> None:
        self.queue = WaitingQueue(lpm=True, **options)
        self.num = 0

    def add(self, name, *, benefit=0, client="", priority=0, now_s=0.0, length=100, group=None, program=""):
        self.num += 1
        submit = Submit(
            rid=name, token_ids=[], sampling=SamplingParams(), client=client, priority=priority, group=group,
            program=program,
        )  # fmt: skip
        request = Request(submit, np.zeros(length, np.int32), seq=self.num, now_s=now_s)
        request.benefit = benefit
        self.queue.add(request)
        return request

    def pop_all(self, now_s=0.0):
        names = []
        while (request := self.queue.pop(now_s)) is not None:
            names.append(request.rid)
        assert len(self.queue) == 0
        return names


@pytest.fixture
def entries():
    return Entries()


def test_longest_prefix_goes_first_and_near_equals_keep_their_order(entries) -> None:
    entries.add("cold")
    entries.add("warm", benefit=70)
    entries.add("as warm", benefit=100)
    entries.add("warmest", benefit=600)
    assert entries.pop_all() == ["warmest", "warm", "as warm", "cold"]


def test_fcfs_looks_at_arrival_alone() -> None:
    entries = Entries()
    entries.queue = WaitingQueue(lpm=False)
    entries.add("first")
    entries.add("warm", benefit=500)
    assert entries.pop_all() == ["first", "warm"]


def test_priority_goes_before_prefix(entries) -> None:
    entries.add("warm", benefit=500)
    entries.add("urgent", priority=3)
    assert entries.pop_all() == ["urgent", "warm"]


def test_the_starved_go_first_in_order_of_arrival(entries) -> None:
    entries.queue.prefill_tokens_per_s = 1e9
    entries.add("old and cold")
    entries.add("old and urgent", priority=9)
    entries.add("new and warm", benefit=500, priority=10, now_s=STARVED_S)
    assert entries.pop_all(now_s=STARVED_S) == ["old and cold", "old and urgent", "new and warm"]


def test_a_long_prompt_starves_later(entries) -> None:
    entries.queue.prefill_tokens_per_s = 100.0
    entries.add("long", length=1000)  # 10 s of prefill: starved after 80
    entries.add("warm", benefit=500, now_s=50.0)
    assert entries.pop_all(now_s=51.0) == ["warm", "long"]
    entries.add("long", length=1000)
    entries.add("warm", benefit=500, now_s=79.0)
    assert entries.pop_all(now_s=80.0) == ["long", "warm"]


def test_what_did_not_fit_goes_back_to_its_place(entries) -> None:
    for name, benefit in [("a", 500), ("b", 100), ("c", 0)]:
        entries.add(name, benefit=benefit)
    first = entries.queue.pop(0.0)
    entries.queue.put_back(first)
    assert entries.pop_all() == ["a", "b", "c"]


def test_a_growing_prefix_moves_a_request_up_and_a_shrinking_one_down(entries) -> None:
    low, middle = entries.add("low"), entries.add("middle", benefit=50)
    entries.add("high", benefit=500)
    entries.queue.update(low, 2000)
    entries.queue.update(middle, 0)
    assert entries.pop_all() == ["low", "high", "middle"]


def test_the_removed_are_gone_and_retracted_ones_lead(entries) -> None:
    gone = entries.add("gone", benefit=500)
    entries.add("warm", benefit=400)
    retracted = entries.add("retracted")
    entries.queue.remove(retracted)
    retracted.times_retracted = 1
    entries.queue.add(retracted)
    entries.queue.remove(gone)
    entries.queue.remove(gone)
    assert entries.pop_all() == ["retracted", "warm"]


def test_siblings_are_known_by_their_group(entries) -> None:
    members = [entries.add(f"m{i}", group="g") for i in range(3)]
    entries.add("other")
    first = entries.queue.pop(0.0)
    assert first is members[0]
    assert entries.queue.siblings(first) == members[1:]


def test_a_client_in_debt_waits_for_the_others(entries) -> None:
    for i in range(3):
        entries.add(f"greedy{i}", client="greedy", benefit=500)
    entries.add("modest", client="modest")
    assert entries.queue.pop(0.0).rid == "greedy0"
    entries.queue.charge("greedy", 2 * QUANTUM)
    assert entries.queue.pop(0.0).rid == "modest"
    assert entries.queue.pop(0.0).rid == "greedy1"  # nobody else waits: it gets new quanta


def test_any_order_of_operations_pops_the_best(entries) -> None:
    draw = random.Random(5)
    waiting = {}
    for number in range(3000):
        action = draw.random()
        if action < 0.5:
            request = entries.add(f"r{number}", benefit=draw.choice([0, 3, 40, 700]), priority=draw.randrange(2))
            waiting[request.rid] = request
        elif action < 0.6 and waiting:
            entries.queue.update(draw.choice(list(waiting.values())), draw.choice([0, 5, 90, 900]))
        elif action < 0.7 and waiting:
            entries.queue.remove(waiting.pop(draw.choice(list(waiting))))
        else:
            request = entries.queue.pop(0.0)
            assert (request is None) == (not waiting)
            if request is not None:
                best = min(waiting.values(), key=lambda r: (-r.submit.priority, -r.benefit.bit_length(), r.seq))
                assert request is best
                del waiting[request.rid]
        assert len(entries.queue) == len(waiting)


def test_cold_requests_are_served_within_the_bound(make_harness) -> None:
    """A stream of requests with warm prefixes saturates the engine; a cold one still starts soon after 2 s."""
    harness = make_harness(seconds_per_token=0.01, max_running_requests=2, chunked_prefill_size=64, max_context=512)
    stem = [7] * 300
    harness.submit("warm", stem, max_new_tokens=1)
    harness.run()
    harness.submit("cold", list(range(40)), max_new_tokens=1)
    served = 0
    while "cold" not in harness.finish:
        for _ in range(8 - len(harness.scheduler._state.queue)):
            served += 1
            harness.submit(f"w{served}", [*stem, served % 50], max_new_tokens=12)
        harness.step()
        assert harness.clock.now < 60
    waited_s = harness.outputs["cold"][0].queue_s
    assert served > 20
    bound_s = max(2.0, 8 * 40 * 0.01)
    slack_s = 1.0  # until a row is free
    assert waited_s <= bound_s + slack_s


def test_a_modest_client_is_served_beside_a_flood(make_harness) -> None:
    harness = make_harness(seconds_per_token=0.001, max_running_requests=4, max_queued_requests=10_000)
    for i in range(600):
        harness.submit(f"flood{i}", [1, 2, 3, i % 50] * 10, max_new_tokens=10, client="flood")
    for _ in range(100):
        harness.step()
    begun = harness.clock.now
    for i in range(5):
        harness.submit(f"modest{i}", [i] * 40, max_new_tokens=10, client="modest")
    while not all(f"modest{i}" in harness.finish for i in range(5)):
        harness.step()
    flooded = sum(rid.startswith("flood") for rid in harness.finish)
    assert flooded < 500
    assert harness.clock.now - begun < 6


def test_among_equals_the_program_that_was_served_least_goes_first(entries) -> None:
    entries.queue.charge("", 900.0, "long")
    entries.queue.charge("", 100.0, "short")
    for name in ("long", "short", "new"):
        entries.add(name, program=name)
    entries.add("warm and long", program="long", benefit=500)
    assert entries.pop_all() == ["warm and long", "new", "short", "long"]


def test_service_counts_that_was_given_while_a_call_waited(entries) -> None:
    for turn in range(3):
        for program in ("a", "b"):
            entries.add(f"{program}{turn}", program=program)
    names = []
    while (request := entries.queue.pop(0.0)) is not None:
        names.append(request.rid)
        entries.queue.charge("", 100.0 if request.submit.program == "a" else 10.0, request.submit.program)
    assert names == ["a0", "b0", "b1", "b2", "a1", "a2"]


def test_a_program_that_was_served_much_starves_no_more_than_others(entries) -> None:
    entries.queue.charge("", 10_000.0, "long")
    entries.add("long", program="long")
    entries.add("new", program="new", now_s=STARVED_S)
    assert entries.pop_all(now_s=STARVED_S) == ["long", "new"]


def test_a_request_of_no_program_stands_where_the_usual_program_does(entries) -> None:
    charge = entries.queue.charge
    entries.add("plain before")
    for program, tokens in (("short", 20), ("usual", 300), ("as usual", 400), ("long", 5000)):
        entries.add(program, program=program)
        charge("", tokens, program)
    entries.add("plain behind")
    entries.add("new", program="new")
    client = entries.queue._clients[""]
    client.usual = 350.0
    assert entries.pop_all() == ["new", "short", "plain before", "usual", "as usual", "plain behind", "long"]


def test_what_is_usual_follows_what_programs_are_served(entries) -> None:
    entries.add("waits", program="a")
    for _ in range(100):
        entries.queue.charge("", 10.0, "a")
        entries.queue.charge("", 500.0)  # of no program
    usual = entries.queue._clients[""].usual
    assert 500 < usual < 1000
