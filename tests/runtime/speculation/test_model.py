"""A small model drafts what it would generate, whatever was accepted, evicted or forgotten before."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from radixlang.runtime.speculation.model import ModelDrafter


def after(prefix, sample=None) -> int:
    return (sum((i + 3) * token for i, token in enumerate(prefix)) + 7 * len(prefix)) % 50


def run(prefix, num_tokens):
    ids = list(prefix)
    for _ in range(num_tokens):
        ids.append(after(ids))
    return ids[len(prefix) :]


def append(track, tokens) -> None:
    track.ids[track.known : track.known + len(tokens)] = tokens
    track.known += len(tokens)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    prompts=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=20), min_size=1, max_size=4),
    rounds=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 4), st.booleans(), st.integers(0, 9)), min_size=1, max_size=6
    ),
    num_slots=st.sampled_from([40, 80, 400]),
    data=st.data(),
)
def test_it_drafts_what_the_small_model_would_say(make_track, make_executor, prompts, rounds, num_slots, data) -> None:
    executor = make_executor(num_slots, after)
    drafter = ModelDrafter(executor, num_rows=3, max_context=60)
    tracks = [make_track(prompt, width=64) for prompt in prompts]
    for num_tokens, num_right, is_wrong, whom in rounds:
        asked = tracks if whom < 5 else tracks[:1]
        for track, draft in zip(asked, drafter.propose(asked, num_tokens), strict=True):
            if draft is None:
                continue
            assert draft.ids.tolist() == run(track.ids[: track.known].tolist(), num_tokens)
            append(track, draft.ids[:num_right].tolist() + ([data.draw(st.integers(0, 4))] if is_wrong else []))
        if whom == 0:
            drafter.forget(tracks[-1])
            tracks[-1] = make_track(tracks[-1].ids[: tracks[-1].known].tolist(), width=64)
    for track in tracks:
        drafter.forget(track)
    pool = drafter._pool
    assert pool.free_len + drafter._tree.total_len == num_slots
    assert drafter._tree.evictable_len == drafter._tree.total_len
    drafter.flush()
    assert drafter._pool.free_len == num_slots


def test_what_was_computed_once_is_shared_by_the_next_request(make_track, make_executor) -> None:
    executor = make_executor(200, after)
    drafter = ModelDrafter(executor, num_rows=2, max_context=100)
    first, second = make_track(list(range(30))), make_track(list(range(30)))
    drafter.propose([first], 1)
    drafter.forget(first)
    assert executor.num_rows == 30
    drafter.propose([second], 1)
    assert executor.num_rows == 31


def test_a_long_prompt_is_caught_up_with_over_several_calls(make_track, make_executor) -> None:
    executor = make_executor(2000, after)
    drafter = ModelDrafter(executor, num_rows=1, max_context=2000)
    track = make_track([i % 5 for i in range(1200)], width=2000)
    drafts = [drafter.propose([track], 2)[0] for _ in range(3)]
    assert drafts[:2] == [None, None]
    assert drafts[2].ids.tolist() == run(track.ids[:1200].tolist(), 2)


def test_it_draws_with_the_requests_own_seed_and_counter(make_track, make_executor) -> None:
    seen = []

    def note(prefix, sample):
        seen.append((sample.seed, sample.counter, sample.temperature))
        return 1

    drafter = ModelDrafter(make_executor(100, note), num_rows=1, max_context=60)
    track = make_track([1, 2, 3, 4], prompt_len=2)
    track.request.sample_head = (0.5, 0, 1.0, 0.0, 77)
    drafter.propose([track], 3)
    assert seen == [(77, 2, 0.5), (77, 3, 0.5), (77, 4, 0.5)]


def test_a_model_that_fails_drafts_no_more_and_holds_nothing(make_track, make_executor, caplog) -> None:
    def fail(prefix, sample):
        raise RuntimeError("injected")

    drafter = ModelDrafter(make_executor(100, fail), num_rows=1, max_context=60)
    track = make_track([1, 2, 3])
    assert drafter.propose([track], 2) == [None]
    assert "drafts no more" in caplog.text
    assert drafter.propose([track], 2) == [None]
    drafter.forget(track)
    assert drafter._pool.free_len + drafter._tree.total_len == 100


def test_more_requests_than_rows_get_no_drafts(make_track, make_executor) -> None:
    drafter = ModelDrafter(make_executor(100, after), num_rows=1, max_context=60)
    drafts = drafter.propose([make_track([1, 2, 3]), make_track([4, 5, 6])], 2)
    assert drafts[0] is not None
    assert drafts[1] is None
    assert drafter.propose([make_track(list(np.arange(61) % 5))], 1) == [None]
