"""The next step is planned while one runs: what that costs, what it must not change, and how it ends."""

from __future__ import annotations

import random
import threading

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Abort, Control


def test_the_next_step_starts_before_the_results_of_the_one_before(make_harness) -> None:
    harness = make_harness(disable_overlap_schedule=False)
    harness.submit("a", [1, 2], max_new_tokens=5)
    relayed = []
    start = harness.steps.start

    def note(plan, *, is_ahead) -> None:
        relayed.append((is_ahead, plan.relay_rows.tolist(), plan.relay_samples.tolist()))
        start(plan, is_ahead=is_ahead)

    harness.steps.start = note
    harness.run()
    assert relayed == [(False, [], []), *[(True, [0], [0])] * 4]
    assert harness.token_ids["a"] == harness.expected([1, 2], 5)
    assert harness.executor.num_computed == 2 + 4  # who ends by length is left out of the step behind


@pytest.mark.parametrize("late", [True, False])
def test_an_end_that_is_found_late_costs_a_row_and_its_slots_wait_for_it(make_harness, late) -> None:
    prompt, eos = [8], set(range(0, 61, 3))
    harness = make_harness(eos=eos, disable_overlap_schedule=False, late=late)
    expected = harness.expected(prompt, 40, eos=eos)
    harness.submit("a", prompt, max_new_tokens=40)
    while "a" not in harness.finish:
        harness.step()
    assert harness.token_ids["a"] == expected
    state = harness.scheduler._state
    assert len(harness.steps.under_way) == 1
    assert state.pool.fenced_len > 0
    assert state.rows.num_free == harness.scheduler._state.config.max_running_requests - 1
    harness.run()
    assert harness.executor.num_computed == len(prompt) + len(expected)
    assert harness.stats["num_used_tokens"] == 0
    assert state.rows.num_free == harness.scheduler._state.config.max_running_requests


def test_a_step_whose_draws_decide_the_next_one_is_waited_for(make_harness, make_grammars) -> None:
    """Where every token may force others, planning ahead would compute rows in vain."""
    steps = {}
    for sync in (True, False):
        harness = make_harness(grammars=make_grammars(), disable_overlap_schedule=sync)
        harness.executor.seconds_per_step = 0.01
        harness.submit("warm", [4], max_new_tokens=3)
        harness.run()
        begun = harness.executor.num_steps
        harness.submit("a", [1, 2], max_new_tokens=30, constraint=Regex("2,1,1:24"))
        harness.run()
        steps[sync] = harness.executor.num_steps - begun
    assert steps[True] == 8
    assert steps[False] <= 9  # the first one is not expected to take long


def test_a_request_that_comes_while_a_step_runs_is_in_the_next_one(make_harness) -> None:
    harness = make_harness(disable_overlap_schedule=False)
    harness.executor.seconds_per_step = 0.01
    harness.submit("a", [1], max_new_tokens=20)
    while len(harness.outputs.get("a", ())) < 4:
        harness.step()
    harness.scheduler._turn(harness.steps)  # a step runs, and it is too early to plan
    assert len(harness.steps.under_way) == 1
    harness.submit("b", [2], max_new_tokens=1)
    told = len(harness.token_ids["a"])
    while "b" not in harness.finish:
        harness.step()
    assert len(harness.token_ids["a"]) <= told + 2


@pytest.fixture
def run_loop():
    """Runs a scheduler on a thread while `work` happens; raises what the loop raised."""

    def run(harness, work) -> None:
        raised = []

        def loop() -> None:
            try:
                harness.scheduler.run()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            work()
        finally:
            harness.scheduler.post(Control(id="end", action="shutdown"))
            thread.join(60)
        assert not thread.is_alive()
        if raised:
            raise raised[0]

    return run


@pytest.mark.parametrize("sync", [True, False])
def test_a_storm_of_aborts_leaves_nothing(make_harness, make_grammars, run_loop, sync) -> None:
    harness = make_harness(disable_overlap_schedule=sync, grammars=make_grammars(), num_slots=512, eos={5})
    draw, prompts, ended = random.Random(2), {}, threading.Event()
    receive = harness.receive

    def note(message) -> None:
        receive(message)
        if len(harness.finish) == 300:
            ended.set()

    harness.scheduler._send = note

    def storm() -> None:
        for i in range(300):
            prompts[f"r{i}"] = [draw.randrange(61)] * draw.randrange(1, 30)
            constraint = Regex("1,3:9") if i % 5 == 0 else None
            harness.submit(
                f"r{i}", prompts[f"r{i}"], max_new_tokens=12, constraint=constraint, presence_penalty=0.1 * (i % 2)
            )
            for _ in range(draw.randrange(3)):
                harness.scheduler.post(Abort(rid=f"r{draw.randrange(i + 1)}"))
        assert ended.wait(60)

    run_loop(harness, storm)
    assert set(harness.finish) == set(prompts)
    for rid, finish in harness.finish.items():
        if finish.type == "length":
            assert harness.token_ids[rid] == harness.expected(prompts[rid], 12), rid
    assert harness.stats["num_used_tokens"] == 0
    assert not harness.scheduler._state.requests


@pytest.mark.parametrize("sync", [True, False])
def test_a_loop_that_breaks_says_so(make_harness, run_loop, sync) -> None:
    """A bug of the scheduler itself: `run` raises, so that the engine is reported dead; nothing hangs."""
    harness = make_harness(disable_overlap_schedule=sync)
    build, broken = harness.scheduler._planner.build, threading.Event()

    def fail():
        if harness.scheduler._state.counters.num_steps > 3:
            broken.set()
            raise ZeroDivisionError
        return build()

    harness.scheduler._planner.build = fail
    harness.submit("a", [1], max_new_tokens=20)
    with pytest.raises(ZeroDivisionError):
        run_loop(harness, lambda: broken.wait(60))
