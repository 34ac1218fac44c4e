"""A step that fails ends those to blame, and nobody else."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("sync", [True, False])
def test_a_step_that_fails_once_fails_nobody(make_harness, sync) -> None:
    harness = make_harness(max_running_requests=2, disable_overlap_schedule=sync)
    for rid in ("a", "b", "later"):
        harness.submit(rid, [1, 2, 3], max_new_tokens=4)
    harness.executor.fail_at = 2
    harness.run()
    for rid in ("a", "b", "later"):
        assert harness.token_ids[rid] == harness.expected([1, 2, 3], 4)
    assert harness.stats["num_failed_steps"] == 1


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("chunk", [512, 16])
def test_a_request_that_no_step_survives_ends_alone(make_harness, sync, chunk) -> None:
    harness = make_harness(disable_overlap_schedule=sync, chunked_prefill_size=chunk)
    harness.executor.poison = {13, 17}
    prompts = {seed: [1] * 20 + [seed // 2] * 5 for seed in range(20)}
    for seed, prompt in prompts.items():
        harness.submit(f"r{seed}", prompt, max_new_tokens=4, sampling_seed=seed)
    harness.run()
    for seed, prompt in prompts.items():
        if seed in harness.executor.poison:
            finish = harness.finish[f"r{seed}"]
            assert (finish.type, finish.status, finish.code) == ("error", 500, "internal_error")
            assert "poisoned" not in finish.message
        else:
            assert harness.token_ids[f"r{seed}"] == harness.expected(prompt, 4)
    assert harness.stats["num_used_tokens"] == 0


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("culprits", [{0, 1}, {0, 1, 2, 3}, {0, 2, 5}, set(range(8))])
def test_culprits_that_share_what_the_step_was_to_compute_end_alone(make_harness, sync, culprits) -> None:
    harness = make_harness(disable_overlap_schedule=sync)
    harness.executor.poison = culprits
    harness.submit("running", [9], max_new_tokens=12)
    harness.step()
    prompts = {seed: [5, 6, 7 + seed // 4, 20 + seed // 2] for seed in range(8)}
    for seed, prompt in prompts.items():
        harness.submit(f"r{seed}", prompt, max_new_tokens=4, sampling_seed=seed)
    harness.run()
    assert harness.token_ids["running"] == harness.expected([9], 12)
    for seed, prompt in prompts.items():
        if seed in culprits:
            assert harness.finish[f"r{seed}"].type == "error"
        else:
            assert harness.token_ids[f"r{seed}"] == harness.expected(prompt, 4, seed=seed)
    assert harness.stats["num_used_tokens"] == 0


def test_an_executor_that_always_fails_fails_the_step_in_few_runs(make_harness) -> None:
    harness = make_harness()
    for seed in range(200):
        harness.submit(f"r{seed}", [seed % 50] * 2, max_new_tokens=4, sampling_seed=seed)
    harness.executor.poison = set(range(200))
    harness.step()
    assert harness.executor.num_steps < 60
    harness.run()
    assert {finish.type for finish in harness.finish.values()} == {"error"}
    assert len(harness.finish) == 200
    assert harness.stats["num_used_tokens"] == 0


def test_an_executor_that_answers_nonsense_ends_its_step_only(make_harness) -> None:
    harness = make_harness()
    execute = harness.executor.execute

    def nonsense(plan):
        output = execute(plan)
        output.token_ids_S[:] = 10**6
        return output

    harness.executor.execute = nonsense
    harness.submit("a", [1, 2], max_new_tokens=3, echo_steps=False)
    harness.step()
    harness.step()
    harness.executor.execute = execute
    harness.submit("b", [1, 2], max_new_tokens=3)
    harness.run()
    assert harness.finish["a"].status == 500
    assert harness.token_ids["b"] == harness.expected([1, 2], 3)
    assert harness.stats["num_used_tokens"] == 0
