"""The loop: aborts, deadlines, controls, and that it runs until it is told to stop."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from radixlang.runtime.messages import Abort, AbortAll, Control, Submit, Submits
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.step_thread import RelayedSteps


def test_an_abort_hits_its_request_only_and_frees_its_slots(make_harness) -> None:
    harness = make_harness()
    for rid in ("a", "ab", "abc"):
        harness.submit(rid, [1, 2, len(rid)], max_new_tokens=100)
    for _ in range(3):
        harness.step()
    for _ in range(2):
        harness.scheduler.post(Abort(rid="ab", reason="gone"))
    for rid in ("", "nobody"):
        harness.scheduler.post(Abort(rid=rid))
    harness.step()
    assert list(harness.finish) == ["ab"]
    assert (harness.finish["ab"].type, harness.finish["ab"].message) == ("abort", "gone")
    harness.scheduler.post(AbortAll())
    harness.step()
    assert harness.stats["num_used_tokens"] == 0
    assert harness.finish["abc"].type == "abort"


def test_requests_of_one_message_share_what_they_begin_with_in_one_step(make_harness) -> None:
    harness = make_harness()
    shared, sampling = list(range(1, 40)), SamplingParams(max_new_tokens=1, temperature=0.0)
    submits = [Submit(rid=rid, token_ids=[*shared, last], sampling=sampling) for rid, last in (("a", 50), ("b", 51))]
    harness.scheduler.post(Submits(submits))
    harness.run()
    assert harness.stats["num_steps"] == 1
    assert harness.stats["computed_tokens_total"] == len(shared) + 2
    assert [harness.finish[rid].type for rid in "ab"] == ["length", "length"]


def test_an_abort_that_overtakes_its_request_still_wins_for_30_seconds(make_harness) -> None:
    harness = make_harness()
    harness.scheduler.post(Abort(rid="a"))
    harness.scheduler.post(Abort(rid="b"))
    harness.step()
    harness.submit("a", [1], max_new_tokens=2)
    harness.run()
    assert harness.finish["a"].type == "abort"
    harness.clock.now += 31
    harness.submit("b", [1], max_new_tokens=2)
    harness.run()
    assert harness.finish["b"].type == "length"


def test_an_abort_that_overtakes_a_request_hits_all_of_its_n_and_only_them(make_harness) -> None:
    harness = make_harness()
    harness.scheduler.post(Abort(rid="a"))
    harness.step()
    for index in range(3):
        harness.submit(f"a#{index}" if index else "a", [1], max_new_tokens=2, n=3, index=index)
    harness.submit("a#3", [1], max_new_tokens=2)
    harness.run()
    assert [harness.finish[rid].type for rid in ("a", "a#1", "a#2", "a#3")] == ["abort"] * 3 + ["length"]
    harness.finish.clear()
    harness.submit("a", [1], max_new_tokens=2)  # the abort has had its effect
    harness.run()
    assert harness.finish["a"].type == "length"


def test_a_late_abort_does_not_hit_the_next_request_of_that_id(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    harness.scheduler.post(Abort(rid="a"))
    harness.step()
    harness.finish.clear()
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    assert harness.finish["a"].type == "length"


def test_deadlines_hold_in_the_queue_and_while_running(make_harness) -> None:
    harness = make_harness(max_running_requests=1)
    harness.submit("running", [1], max_new_tokens=100, timeout_s=5)
    harness.submit("waiting", [1], max_new_tokens=1, timeout_s=5)
    harness.submit("patient", [1], max_new_tokens=1, timeout_s=50)
    harness.step()
    harness.clock.now += 6
    harness.step()
    assert [harness.finish[rid].code for rid in ("running", "waiting")] == ["timeout", "timeout"]
    harness.run()
    assert harness.finish["patient"].type == "length"


def test_requests_aborted_in_the_queue_leave_nothing_in_the_tree(make_harness) -> None:
    harness = make_harness(max_running_requests=1)
    harness.submit("running", [1] * 9, max_new_tokens=50)
    for i in range(20):
        harness.submit(f"w{i}", [1, 2, i, 4], max_new_tokens=1)
    harness.step()
    for i in range(20):
        harness.scheduler.post(Abort(rid=f"w{i}"))
    harness.step()
    tree = harness.scheduler._state.cache
    nodes = list(tree.roots.values())
    for node in nodes:
        nodes.extend(node.children.values())
        assert not any((node.waiters or {}).values()), node


def test_controls_are_answered(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=1)
    harness.run()
    for action in ("ping", "stats", "flush", "dance"):
        harness.scheduler.post(Control(id=action, action=action))
    harness.run()
    replies = {reply.id: reply.data for reply in harness.replies}
    assert replies["ping"] == {"success": True}
    assert replies["stats"]["kv_evictable_tokens"] == 3
    assert replies["dance"]["success"] is False
    assert harness.stats["kv_evictable_tokens"] == 0


def test_a_paused_scheduler_takes_no_steps(make_harness) -> None:
    harness = make_harness()
    harness.scheduler.post(Control(id="p", action="pause"))
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    assert not harness.finish
    harness.scheduler.post(Control(id="r", action="resume"))
    harness.run()
    assert harness.finish["a"].type == "length"


@pytest.mark.parametrize("sync", [True, False])
def test_the_loop_runs_until_it_is_told_to_stop(make_harness, sync) -> None:
    harness = make_harness(disable_overlap_schedule=sync)
    prompts = {f"r{i}": [i, 2, 3] for i in range(20)}
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=6)
    done = threading.Event()
    receive = harness.receive

    def note(message) -> None:
        receive(message)
        if len(harness.finish) == 20:
            done.set()

    harness.scheduler._send = note
    loop = threading.Thread(target=harness.scheduler.run)
    loop.start()
    assert done.wait(30)
    harness.submit("open", [1], max_new_tokens=10**6)
    harness.scheduler.post(Control(id="s", action="shutdown"))
    loop.join(30)
    assert not loop.is_alive()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 6)
    assert harness.finish["open"].type in ("abort", "length")
    assert harness.stats["num_used_tokens"] == 0


class _InPairs:
    """Steps of which two end at once, as for a loop that is slower than they are; one alone ends a little later."""

    def __init__(self, executor, clock, on_done) -> None:
        self._steps, self._on_done = RelayedSteps(executor, clock), on_done
        self._results = deque()
        self._timer = None
        self.is_done = False
        self.num_pairs = 0

    def start(self, plan, *, is_ahead) -> None:
        self._results.append(self._steps.run(plan, is_ahead=is_ahead))
        if self._timer is not None:
            self._timer.cancel()
        if len(self._results) == 2:
            self.num_pairs += 1
            self._end()
        else:
            self._timer = threading.Timer(0.2, self._end)
            self._timer.start()

    def _end(self) -> None:
        self.is_done = True
        self._on_done()

    def wait(self):
        result = self._results.popleft()
        self.is_done = bool(self._results)
        return result

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def test_two_steps_that_end_in_one_turn_are_both_noticed(make_harness) -> None:
    harness = make_harness(disable_overlap_schedule=False)
    made = []
    harness.executor.steps = lambda clock, on_done: made.append(_InPairs(harness.executor, clock, on_done)) or made[0]
    harness.submit("a", [1, 2, 3], max_new_tokens=6, ignore_eos=True)
    done = threading.Event()
    receive = harness.receive

    def note(message) -> None:
        receive(message)
        if harness.finish:
            done.set()

    harness.scheduler._send = note
    loop = threading.Thread(target=harness.scheduler.run)
    loop.start()
    try:
        assert done.wait(20)
        assert made[0].num_pairs > 0
        assert harness.token_ids["a"] == harness.expected([1, 2, 3], 6)
    finally:
        harness.scheduler.post(Control(id="s", action="shutdown"))
        loop.join(30)
