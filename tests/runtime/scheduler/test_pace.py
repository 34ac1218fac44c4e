"""Step times are learned, and the chunks of prompts are cut to what running requests may be kept waiting."""

from __future__ import annotations

import random

import pytest

from radixlang.runtime.scheduler.pace import MIN_CHUNK, Pace


def taught(base_s, seconds_per_token, *, noise=0.0, num_steps=400):
    """A Pace that saw steps of a machine: base_s(rows) and a time per prompt token."""
    draw, pace = random.Random(3), Pace()
    for _ in range(num_steps):
        rows, prompt = draw.choice([1, 4, 16, 60]), draw.choice([0, 0, 16, 64, 256, 400])
        seconds = (base_s(rows) + seconds_per_token * prompt) * (1.0 + draw.uniform(-noise, noise))
        pace.add(rows, prompt, seconds)
    return pace


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_base_and_rate_are_told_apart(noise) -> None:
    pace = taught(lambda rows: 5e-3 + 1e-4 * rows, 5e-4, noise=noise)
    assert pace.seconds_per_token == pytest.approx(5e-4, rel=0.1 + noise / 2)
    for rows in (1, 4, 16, 60):
        assert pace.base_s(rows) == pytest.approx(5e-3 + 1e-4 * rows, rel=0.05 + noise)
    assert pace.expect_s(16, 200) == pytest.approx(0.1066, rel=0.1 + noise / 2)


def test_it_follows_a_machine_that_becomes_slower() -> None:
    pace = taught(lambda rows: 5e-3, 5e-4)
    for _ in range(60):
        pace.add(4, 0, 10e-3)
        pace.add(4, 256, 10e-3 + 256e-3)
    assert pace.seconds_per_token == pytest.approx(1e-3, rel=0.05)


def test_nothing_is_claimed_before_it_was_measured() -> None:
    pace = Pace()
    assert pace.expect_s(4, 100) == 0.0
    assert pace.prompt_budget(4, 0.1) is None
    pace.add(0, 512, 0.25)
    assert pace.prompt_budget(0, 0.1) is None  # nobody waits
    assert pace.prompt_budget(4, 0.0) is None  # nobody minds
    assert pace.prompt_budget(4, 0.1) == int(0.1 / (0.25 / 512))


def test_a_target_below_what_decoding_takes_still_lets_prompts_through() -> None:
    pace = taught(lambda rows: 0.2, 5e-4)
    assert pace.prompt_budget(16, 0.1) == MIN_CHUNK


@pytest.mark.parametrize("sync", [True, False])
def test_a_long_prompt_keeps_nobody_waiting_beyond_the_target(make_harness, sync) -> None:
    """4 streams at 5 ms a step; a prompt of 1500 tokens at 0.5 ms each comes. Alone it takes 0.75 s."""

    def gaps(itl_target_ms):
        harness = make_harness(max_context=2048, itl_target_ms=itl_target_ms, disable_overlap_schedule=sync)
        harness.executor.seconds_per_step, harness.executor.seconds_per_token = 5e-3, 5e-4
        for i in range(4):
            harness.submit(f"s{i}", [i] * 40, max_new_tokens=150)
        for _ in range(20):
            harness.step()
        harness.submit("long", [7, 8, 9] * 500, max_new_tokens=1)
        times, begun_s = [], harness.clock.now
        while "long" not in harness.finish:
            told = len(harness.token_ids["s0"])
            harness.step()
            times += [harness.clock.now] * (len(harness.token_ids["s0"]) > told)
        assert harness.token_ids["s0"] == harness.expected([0] * 40, 150)[: len(harness.token_ids["s0"])]
        return max(after - before for before, after in zip([begun_s, *times], times, strict=False)), times[-1] - begun_s

    longest_s, whole_s = gaps(50.0)
    assert longest_s <= 0.055
    assert whole_s < 1.2
    longest_without_s, _ = gaps(0.0)
    assert longest_without_s > 0.25
