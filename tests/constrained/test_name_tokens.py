"""No token is left out that repeats a name, or behind which one has begun, wherever a text stands."""

import functools
import random

import numpy as np
import pytest

from radixlang.constrained.distinct import DistinctGrammar, Place, after
from radixlang.constrained.name_tokens import Beginning, NameTokens
from radixlang.constrained.pieces import Pieces
from radixlang.constrained.vocabulary import Vocabulary

NAMES = ['"a"', '"a"', '"b"', '""', '"a,"', '"\\\\"']
SCALARS = ["1", '"x"', '"a"', '","', '"{"', '"\\""', '"\\\\"']
LONGEST = 24  # bytes of a token


class Anything:
    """A grammar that nobody asks."""

    ignored = ()


def an_object(rng: random.Random, depth: int = 0) -> str:
    members = [f"{rng.choice(NAMES)}:{' ' * rng.randrange(2)}{a_value(rng, depth)}" for _ in range(rng.randrange(4))]
    return "{" + ", ".join(members) + "}"


def a_value(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(4) if depth < 2 else 3
    if kind == 0:
        return an_object(rng, depth + 1)
    if kind == 1:
        return f"[{', '.join(a_value(rng, depth + 1) for _ in range(rng.randrange(3)))}]"
    return rng.choice(SCALARS)


def cuts(seed: int):
    """Every place of some documents, with the grammar, and every token that goes on there."""
    rng = random.Random(seed)
    for _ in range(24):
        text = an_object(rng).encode()
        spans = [(i, j) for i in range(len(text)) for j in range(i + 1, min(len(text), i + LONGEST) + 1)]
        pieces = sorted({text[i:j] for i, j in spans})
        ids = {data: token for token, data in enumerate(pieces, 1)}
        vocabulary = Vocabulary([b"", *pieces], frozenset({0}), frozenset({0}), len(pieces) + 1)
        grammar = DistinctGrammar(Anything(), vocabulary)
        place: Place | None = Place()
        for i in range(len(text)):
            if place is None:
                break
            yield grammar, place, [(ids[text[i:j]], text[i:j]) for k, j in spans if k == i]
            place = after(place, text[i : i + 1])


def in_full_row(grammar: DistinctGrammar, few) -> set[int]:
    return set(few.in_row(np.full(grammar.vocabulary.words, 0xFFFFFFFF, np.uint32)))


@functools.lru_cache(maxsize=1)
def whole_names(grammar: DistinctGrammar) -> dict[int, bytes]:
    return {token: name for name, few in grammar.name_tokens.whole for token in in_full_row(grammar, few)}


@pytest.mark.parametrize("seed", range(6))
def test_what_repeats_a_name_is_looked_at(seed):
    num_repeated = 0
    for grammar, place, tokens in cuts(seed):
        seen = in_full_row(grammar, grammar.repeating(place))
        if place.name is not None:
            for name in place.frame.names:
                if name.startswith(place.name):
                    seen.update(grammar.name_tokens.ending(name[len(place.name) :]))
        whole = whole_names(grammar)
        if place.wants_name:
            seen.update(whole)
        for token, data in tokens:
            is_repeated = after(place, data) is None
            num_repeated += is_repeated
            assert token in seen or not is_repeated
            if token in whole and place.wants_name:
                assert is_repeated == (whole[token] in place.frame.names)
    assert num_repeated > 50


@functools.lru_cache(maxsize=4)
def begun_names(beginning: Beginning) -> dict[int, bytes]:
    every_W = np.full(1024, 0xFFFFFFFF, np.uint32)
    return {token: begun for begun, few in beginning.to_next for token in few.in_row(every_W)}


@pytest.mark.parametrize("seed", range(6))
def test_what_begins_a_name_is_looked_at(seed):
    num_begun = 0
    for grammar, place, tokens in cuts(seed):
        beginning = grammar.beginning(place)
        seen = in_full_row(grammar, beginning.others)
        begun_by = begun_names(beginning)
        for token, data in tokens:
            following = after(place, data)
            if token in begun_by and place.frame is not None and place.frame.names is not None:
                assert following.frame is place.frame
                assert (following.name or b"") == begun_by[token]
                assert following.name is not None or following.wants_name
            if following is None or following.frame is None or not following.frame.names:
                continue
            if b'"' not in data and (place.name is not None or place.wants_name):
                continue  # that name goes on, or still comes next
            has_begun = following.name is not None or following.wants_name
            num_begun += has_begun
            assert token in seen or token in begun_by or not has_begun
    assert num_begun > 50


def test_names_are_ended_by_the_tokens_that_begin_with_their_rest():
    found = NameTokens(Pieces([(b'a"', 1), (b'a": ', 2), (b'b"', 3), (b"a", 4), (b'a"', 5)]))
    assert sorted(found.ending(b"a")) == [1, 2, 5]
    assert found.ending(b"a") is found.ending(b"a")
    assert found.ending(b"ab") == []
