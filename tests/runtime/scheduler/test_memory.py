"""Memory is won back without changing a token."""

from __future__ import annotations


def test_memory_pressure_retracts_and_changes_nothing(make_harness) -> None:
    harness = make_harness(num_slots=100, max_context=100)
    for i in range(12):  # short outputs first, so that admission expects short ones
        harness.submit(f"w{i}", [i, 1], max_new_tokens=2)
    harness.run()
    prompts = {f"r{i}": [i, i + 1, i + 2] for i in range(8)}
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=60)
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 60), rid
    assert harness.stats["num_retracted_reqs"] > 0


def pressed(make_harness, *requests, num_slots=100):
    """A harness in which these (rid, client, prompt, tokens) run at once and outgrow the pool."""
    harness = make_harness(num_slots=num_slots, max_context=100)
    for client in {client for _, client, _, _ in requests}:
        for i in range(4):  # short outputs first, so that admission expects short ones
            harness.submit(f"w{client}{i}", [i, 50 + i], max_new_tokens=1, client=client)
        harness.run()
    harness.retracted = []
    retract = harness.scheduler._state.retract

    def note(request):
        harness.retracted.append(request.rid)
        retract(request)

    harness.scheduler._state.retract = note
    for rid, client, prompt, num_tokens in requests:
        harness.submit(rid, prompt, max_new_tokens=num_tokens, client=client)
        harness.step()
    return harness


def test_the_oldest_of_a_client_is_spared(make_harness) -> None:
    requests = [("a0", "a", [1] * 9, 36), ("a1", "a", [2] * 9, 36), ("b0", "b", [3] * 9, 36)]
    harness = pressed(make_harness, *requests)
    harness.run()
    assert harness.retracted
    assert set(harness.retracted) == {"a1"}
    for rid, _, prompt, num_tokens in requests:
        assert harness.token_ids[rid] == harness.expected(prompt, num_tokens)


def test_retracted_is_who_frees_most_for_least(make_harness) -> None:
    shared = list(range(40))
    harness = pressed(
        make_harness,
        ("first", "a", [*shared, 1], 40),
        ("sharing", "a", [*shared, 2], 40),  # of its tokens few are its own
        ("apart", "a", [7] * 20, 40),
        ("sharing too", "a", [*shared, 3], 40),
    )
    while not harness.retracted:
        harness.step()
    assert harness.retracted[0] == "apart"


def test_the_retracted_come_back_when_what_they_may_need_is_free(make_harness) -> None:
    """A request that grew beyond what was expected of it is not let in again for a page."""
    harness = pressed(make_harness, ("old", "a", [1] * 9, 70), ("young", "a", [2] * 9, 60))
    while not harness.retracted:
        harness.step()
    grown = len(harness.token_ids["young"])
    while harness.scheduler._state.requests["young"].status.value == "waiting":
        assert "old" not in harness.finish or harness.step()
        harness.step()
    used = harness.stats["num_used_tokens"]
    assert 100 - used >= grown
    harness.run()
    assert harness.retracted == ["young"]
    assert harness.token_ids["young"] == harness.expected([2] * 9, 60)
