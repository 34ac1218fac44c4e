"""What a running request generated is in the tree while it runs."""

import pytest

from radixlang.runtime.scheduler.checkpoints import CHECKPOINT


def test_a_long_answer_is_shared_while_it_runs(make_harness):
    harness = make_harness()
    harness.submit("long", [1, 2, 3], max_new_tokens=300)
    path = [1, 2, 3]
    while len(harness.token_ids.get("long", [])) < 2 * CHECKPOINT + 4:
        harness.step()
    path += harness.token_ids["long"]
    computed = harness.executor.num_computed
    harness.submit("fork", path[: 2 * CHECKPOINT], max_new_tokens=3)
    while "fork" not in harness.finish:
        harness.step()
    assert harness.outputs["fork"][0].cached_len >= CHECKPOINT
    assert harness.executor.num_computed - computed < CHECKPOINT + 20
    assert harness.token_ids["fork"] == harness.expected(path[: 2 * CHECKPOINT], 3)
    harness.run()
    assert harness.token_ids["long"] == harness.expected([1, 2, 3], 300)


@pytest.mark.parametrize("page_size", [1, 8])
@pytest.mark.parametrize("overlap", [False, True])
def test_twins_end_up_on_the_same_slots(make_harness, page_size, overlap):
    """Two requests that generate the same text compute it twice, and hold it once."""
    harness = make_harness(page_size=page_size, disable_overlap_schedule=not overlap)
    prompt = list(range(1, 20))
    harness.submit("a", prompt, max_new_tokens=200)
    harness.submit("b", prompt, max_new_tokens=200)
    while len(harness.token_ids.get("b", [])) < 4 * CHECKPOINT and "b" not in harness.finish:
        harness.step()
        if len(harness.token_ids.get("b", [])) == 3 * CHECKPOINT:
            assert harness.stats["num_used_tokens"] < 2 * 3 * CHECKPOINT, "both copies are held"
    harness.run()
    assert harness.token_ids["a"] == harness.token_ids["b"] == harness.expected(prompt, 200)
    assert harness.stats["duplicate_tokens_total"] >= CHECKPOINT


def test_pressure_retracts_what_was_shared(make_harness):
    harness = make_harness(num_slots=640, max_context=512)
    for i in range(4):
        harness.submit(f"r{i}", [i + 1] * 20, max_new_tokens=250)
    harness.run()
    for i in range(4):
        assert harness.token_ids[f"r{i}"] == harness.expected([i + 1] * 20, 250)
