"""Clients get equal shares, nobody waits for ever, and the oldest request always moves."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from radixlang.runtime.scheduler import queue as module
from radixlang.runtime.scheduler.queue import DECODE_COST, PREFILL_COST

QUANTUM = 100.0
MOST = PREFILL_COST * 48 + DECODE_COST * 24  # of one request


class Backlog:
    """Clients that always have something waiting; what each was served, in weighted tokens."""

    def __init__(self, harness, draw, greeds) -> None:
        self.harness, self.draw, self.greeds = harness, draw, greeds
        self.num = 0
        self.served = dict.fromkeys(greeds, 0.0)
        self.costs = {}
        queue = harness.scheduler._state.queue
        charge = queue.charge

        def note(client, cost, program) -> None:
            self.served[client] += cost
            charge(client, cost, program)

        queue.charge = note

    def fill(self) -> None:
        """More than one step can admit: who runs out of requests inside a step is not backlogged."""
        most = self.harness.scheduler._state.config.max_running_requests + 1
        for client, (length, num_tokens) in self.greeds.items():
            waiting = sum(r.client == client for r in self.harness.scheduler._state.requests.values() if r.queue_seq)
            for _ in range(most - waiting):
                self.num += 1
                stem = [self.draw.randrange(61)] * self.draw.randrange(1, length)
                self.harness.submit(
                    f"{client}{self.num}",
                    [*stem, self.draw.randrange(61)],
                    max_new_tokens=self.draw.randrange(1, num_tokens),
                    client=client,
                    ignore_eos=True,
                )


@settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    seed=st.integers(0, 10**6),
    greeds=st.lists(st.tuples(st.integers(2, 47), st.integers(2, 24)), min_size=2, max_size=4),
    rows=st.sampled_from([2, 5, 16]),
    overlap=st.booleans(),
)
def test_backlogged_clients_are_served_alike(make_harness, seed, greeds, rows, overlap) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUANTUM", QUANTUM)
        harness = make_harness(
            max_running_requests=rows, disable_overlap_schedule=not overlap, seconds_per_token=1e-6, num_slots=1024
        )
        backlog = Backlog(harness, random.Random(seed), {f"c{i}": greed for i, greed in enumerate(greeds)})
        served = backlog.served.values()
        for _ in range(1000):
            backlog.fill()
            harness.step()
            assert max(served) - min(served) <= 2 * QUANTUM + MOST
            if min(served) > 3 * QUANTUM:
                return
        raise AssertionError("somebody is hardly served")


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    rows=st.sampled_from([2, 8, 32]),
    chunk=st.sampled_from([2, 16, 64]),
    num_slots=st.sampled_from([96, 128, 400]),
    overlap=st.booleans(),
)
def test_the_oldest_request_moves_every_few_steps(make_harness, seed, rows, chunk, num_slots, overlap) -> None:
    draw = random.Random(seed)
    harness = make_harness(
        max_running_requests=rows,
        chunked_prefill_size=chunk,
        num_slots=num_slots,
        max_context=96,
        disable_overlap_schedule=not overlap,
        eos={5},
    )
    state = harness.scheduler._state
    last, still, num = None, 0, 0
    for _ in range(150):
        while len(state.requests) < 2 * rows and draw.random() < 0.7:
            num += 1
            harness.submit(f"r{num}", [draw.randrange(61)] * draw.randrange(1, 60), max_new_tokens=draw.randrange(36))
        harness.step()
        assert all(request.times_retracted <= 2 for request in state.requests.values())
        oldest = next(iter(state.running), None)
        place = (
            None
            if oldest is None
            else (oldest.rid, int(state.rows.known[oldest.row] + state.rows.computed[oldest.row]))
        )
        still = still + 1 if place is not None and place == last else 0
        last = place
        assert still <= 3, "the oldest stands still"
    harness.run()
    assert len(harness.finish) == num


def test_who_does_not_fit_is_passed_by_16_others_at_most(make_harness) -> None:
    harness = make_harness(num_slots=128, max_context=120, max_running_requests=32, schedule_policy="fcfs")
    harness.submit("runs", [1] * 40, max_new_tokens=60, ignore_eos=True)
    harness.step()
    for i in range(4):
        harness.submit(f"first{i}", [5, i], max_new_tokens=2, ignore_eos=True)
    harness.submit("large", [2] * 80, max_new_tokens=20, ignore_eos=True)
    for i in range(60):
        harness.submit(f"small{i}", [3, i], max_new_tokens=2, ignore_eos=True)
    harness.step()
    while harness.scheduler._state.requests["large"].status.value == "waiting":
        before = sum(rid.startswith("small") for rid in harness.token_ids)
        harness.step()
    assert before == 16
    harness.run()
    assert len(harness.finish) == 66


def test_the_rest_of_a_fork_goes_first_when_a_part_of_it_runs(make_harness) -> None:
    harness = make_harness(max_running_requests=2)
    for i in range(4):
        harness.submit(f"fork{i}", [9, i], max_new_tokens=3, group="g", ignore_eos=True)
    for i in range(4):
        harness.submit(f"other{i}", [9, 30 + i], max_new_tokens=3, ignore_eos=True)
    ends = []
    while len(ends) < 8:
        harness.step()
        ends += [rid for rid in harness.finish if rid not in ends]
    assert {rid[:4] for rid in ends[:4]} == {"fork"}


def test_a_fresh_program_of_a_client_goes_before_one_that_was_served_much(make_harness) -> None:
    harness = make_harness(max_running_requests=1)
    for turn in range(3):
        harness.submit(f"long{turn}", [turn] * 20, client="c", program="long", ignore_eos=True)
    harness.run()
    harness.submit("running", [10] * 20, client="c", ignore_eos=True)
    harness.step()
    for rid, token in (("long3", 11), ("long4", 12), ("fresh", 13)):
        harness.submit(rid, [token] * 20, client="c", program=rid.rstrip("34"), ignore_eos=True)
    harness.run()
    assert [*harness.finish] == ["long0", "long1", "long2", "running", "fresh", "long3", "long4"]
