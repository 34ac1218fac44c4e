"""A paused request keeps its slots and takes no steps; the others do not notice."""

from radixlang.runtime.messages import Abort, Pause


def test_a_paused_request_takes_no_steps_and_goes_on_where_it_was(make_harness):
    harness = make_harness()
    harness.submit("slow", [1, 2, 3], max_new_tokens=20)
    harness.submit("other", [4, 5, 6], max_new_tokens=20)
    for _ in range(5):
        harness.step()
    harness.scheduler.post(Pause(rid="slow", on=True))
    harness.run()
    assert set(harness.finish) == {"other"}
    held = len(harness.token_ids["slow"])
    assert 0 < held < 20
    assert harness.stats["num_paused_reqs"] == harness.stats["num_running_reqs"] == 1
    assert harness.stats["num_used_tokens"] > 0
    harness.scheduler.post(Pause(rid="slow", on=False))
    harness.run()
    assert harness.token_ids["slow"] == harness.expected([1, 2, 3], 20)
    assert harness.token_ids["other"] == harness.expected([4, 5, 6], 20)


def test_a_paused_request_can_be_aborted_and_unknown_ones_are_nobodys(make_harness):
    harness = make_harness()
    harness.submit("slow", [1, 2, 3], max_new_tokens=200)
    harness.step()
    for rid in ("slow", "nobody", ""):
        harness.scheduler.post(Pause(rid=rid, on=True))
    harness.run()
    harness.scheduler.post(Abort(rid="slow"))
    harness.run()
    assert harness.finish["slow"].type == "abort"
    assert harness.stats["num_used_tokens"] == 0


def test_a_request_may_be_paused_while_it_waits(make_harness):
    harness = make_harness(max_running_requests=1)
    harness.submit("first", [1, 2, 3], max_new_tokens=4)
    harness.step()
    harness.submit("second", [7, 8, 9], max_new_tokens=4)
    harness.step()
    harness.scheduler.post(Pause(rid="second", on=True))
    harness.run()
    assert set(harness.finish) == {"first"}
    harness.scheduler.post(Pause(rid="second", on=False))
    harness.run()
    assert harness.token_ids["second"] == harness.expected([7, 8, 9], 4)
