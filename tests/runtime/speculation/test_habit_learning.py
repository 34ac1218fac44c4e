"""What is kept of texts: the likeliest token of a context, where that helps, and how often it is right."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels.cpu.predictor import NUM_LEVELS, context_places
from radixlang.runtime.speculation.habit_learning import Text, learn_habits, share_right

ORDERS = (1, 2, 3, 5)


def text(*ids: int, begin: int = 0, greedy: bool = True) -> Text:
    return Text(np.array(ids, np.int32), begin, greedy)


def said(habits, ids) -> list[tuple[int, int] | None]:
    """Before each token: what the habits say by how many tokens."""
    indices, tags = context_places(np.array(ids, np.int32))
    found = []
    for at in range(len(ids)):
        guess = None
        for order, length in enumerate(ORDERS):
            entry = habits.entries_N[indices[at, order]]
            if indices[at, order] >= 0 and entry["token"] >= 0 and entry["tag"] == tags[at, order]:
                guess = int(entry["token"]), length
        found.append(guess)
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=60), min_size=1, max_size=6))
def test_a_guess_is_what_followed_most_often(ids_of) -> None:
    followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids in ids_of:
        for at, token in enumerate(ids):
            for length in ORDERS:
                if at >= length:
                    followers[tuple(ids[at - length : at])][token] += 1
    habits = learn_habits([text(*ids) for ids in ids_of], [])
    for ids in ids_of:
        for at, guess in enumerate(said(habits, ids)):
            if guess is not None:
                known = followers[tuple(ids[at - guess[1] : at])]
                assert known[guess[0]] == max(known.values())
                assert sum(known.values()) > 1


def test_what_is_always_said_is_known_and_what_was_said_once_is_not() -> None:
    phrase, once = [1, 2, 3, 4, 5, 6, 7], [20, 21, 22, 23, 24]
    habits = learn_habits([text(*phrase), text(*phrase), text(*once)], [])
    assert share_right(habits, [text(*phrase, begin=1)]) == 1
    assert said(habits, once) == [None] * 5


def test_longer_contexts_speak_where_they_know_better() -> None:
    often, rare = [5, 1, 9], [6, 1, 8]
    habits = learn_habits([text(*often)] * 9 + [text(*rare)] * 3, [])
    assert said(habits, often)[2] == (9, 1) or said(habits, often)[2] == (9, 2)
    assert said(habits, rare)[2] == (8, 2)


def test_only_what_the_model_wrote_is_learned() -> None:
    habits = learn_habits([text(1, 2, 3, 4, begin=3)] * 3, [])
    assert said(habits, [1, 2, 3, 4]) == [None, None, None, (4, 1)]


def test_rates_are_those_of_texts_held_back() -> None:
    learned = [text(1, 2)] * 50
    right = learn_habits(learned, [text(1, 2)] * 30).rates_SOL2
    wrong = learn_habits(learned, [text(1, 3)] * 30).rates_SOL2
    rate = lambda rates, greedy: rates[greedy, 0, NUM_LEVELS - 1, 0] / rates[greedy, 0, NUM_LEVELS - 1, 1]  # noqa: E731
    assert rate(wrong, 1) < 0.2 < 0.9 < rate(right, 1)
    assert rate(wrong, 0) == rate(right, 0)  # sampled texts were not held back
    assert right[..., 1].max() <= 40
    assert np.all(right[..., 0] <= right[..., 1])
