"""The scheduler end to end on a shadow executor: equal to a sequential reference, whatever the schedule."""

from __future__ import annotations

import random

import pytest


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
@pytest.mark.parametrize("no_cache", [False, True])
def test_outputs_equal_a_sequential_reference(make_harness, page_size, chunk, no_cache) -> None:
    harness = make_harness(page_size=page_size, chunked_prefill_size=chunk, disable_radix_cache=no_cache)
    draw = random.Random(1)
    stem = [draw.randrange(61) for _ in range(40)]
    prompts = {
        f"r{i}": stem[: draw.randrange(1, 40)] + [draw.randrange(3) for _ in range(draw.randrange(9))]
        for i in range(20)
    }
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=10, echo_steps=bool(draw.randrange(2)))
        if draw.random() < 0.5:
            harness.step()
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 10), rid
        assert harness.finish[rid].type == "length"
    assert harness.stats["num_used_tokens"] == 0
    assert harness.executor.max_tokens <= chunk


def test_memory_pressure_retracts_and_changes_nothing(make_harness) -> None:
    harness = make_harness(num_slots=100, max_context=100)
    prompts = {f"r{i}": [i, i + 1, i + 2] for i in range(8)}
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=60)
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 60), rid
