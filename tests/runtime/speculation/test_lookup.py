"""Text that repeats itself: found as a plain search finds it, followed without a search, within its namespace."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from radixlang.runtime.speculation.lookup import MAX_MATCH, MIN_MATCH, LookupDrafter, find_repeat


def slow_find(text, ids):
    """Of all places, the one whose tokens before it agree longest with the end of ids; the last of equals."""
    best = (0, 0)
    for end in range(MIN_MATCH, len(text) + 1):
        length = 0
        while length < min(end, len(ids), MAX_MATCH) and text[end - 1 - length] == ids[len(ids) - 1 - length]:
            length += 1
        if length >= MIN_MATCH and length >= best[1]:
            best = (end, length)
    return best


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.lists(st.integers(0, 2), max_size=60), ids=st.lists(st.integers(0, 2), max_size=50))
def test_it_finds_what_a_plain_search_finds(text, ids) -> None:
    found = find_repeat(np.array(text, np.int32), np.array(ids + [7] * 3, np.int32), len(ids))
    assert found == slow_find(text, ids)


def grow(track, tokens) -> None:
    track.ids[track.known : track.known + len(tokens)] = tokens
    track.known += len(tokens)


def test_what_stands_in_the_prompt_is_drafted_again(make_track) -> None:
    track = make_track([1, 2, 3, 4, 5, 6, 7, 8, 2, 3])
    (draft,) = LookupDrafter().propose([track], 4)
    assert draft.ids.tolist() == [4, 5, 6, 7]
    assert draft.strength == 2


def test_a_repeat_that_goes_on_grows_stronger_and_ends_where_it_differs(make_track) -> None:
    track, drafting = make_track([1, 2, 3, 4, 5, 6, 7, 8, 2, 3]), LookupDrafter()
    drafting.propose([track], 4)
    grow(track, [4])
    assert drafting.propose([track], 2)[0].ids.tolist() == [5, 6]
    grow(track, [5, 6])
    (draft,) = drafting.propose([track], 2)
    assert (draft.ids.tolist(), draft.strength) == ([7, 8], 5)
    grow(track, [9])
    assert drafting.propose([track], 2) == [None]


def test_siblings_and_outputs_of_the_namespace_are_searched_but_no_others(make_track) -> None:
    track = make_track([1, 2, 30, 31])
    sibling = make_track([30, 31, 32, 33])
    track.group = sibling.group = {track: None, sibling: None}
    assert LookupDrafter().propose([track], 4)[0].ids.tolist() == [32, 33]
    for namespace, expected in (("", [40, 41]), ("other", None)):
        drafting = LookupDrafter()
        ended = make_track([5, 6, 7, 30, 31, 40, 41], prompt_len=2, namespace=namespace)
        drafting.observe(ended.request, ended.ids[:7])
        (draft,) = drafting.propose([make_track([1, 2, 30, 31])], 4)
        assert (None if draft is None else draft.ids.tolist()) == expected


def test_a_draft_never_runs_from_one_output_into_the_next(make_track) -> None:
    drafting = LookupDrafter()
    for ids in ([1, 30, 31, 40], [1, 50, 51, 52]):
        ended = make_track(ids, prompt_len=1)
        drafting.observe(ended.request, ended.ids[:4])
    assert drafting.propose([make_track([1, 2, 30, 31])], 4)[0].ids.tolist() == [40]
    assert drafting.propose([make_track([1, 2, 31, 40])], 4) == [None]


def test_outputs_are_forgotten_oldest_first_and_old_places_mean_nothing_then(make_track) -> None:
    drafting = LookupDrafter()
    first = make_track([1, 30, 31, 32, 33], prompt_len=1)
    drafting.observe(first.request, first.ids[:5])
    follower = make_track([1, 2, 30, 31])
    assert drafting.propose([follower], 1)[0].ids.tolist() == [32]
    long = make_track(list(range(100, 500)), prompt_len=1)
    for _ in range(100):
        drafting.observe(long.request, long.ids[:400])
    grow(follower, [32])
    assert drafting.propose([follower], 1) == [None]
    assert drafting.propose([make_track([1, 120, 121])], 1)[0].ids.tolist() == [122]


def test_many_lost_requests_are_searched_in_turn(make_track) -> None:
    drafting = LookupDrafter()
    tracks = [make_track([1, 2, 3, 4, 5, 1, 2]) for _ in range(10)]
    found = set()
    for _ in range(3):
        drafts = drafting.propose(tracks, 2)
        found |= {place for place, draft in enumerate(drafts) if draft is not None}
    assert found == set(range(10))
