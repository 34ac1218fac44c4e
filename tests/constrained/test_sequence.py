"""A sequence against its parts alone: the same draws give the same tokens."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.constraint import Regex, Sequence, SequencePart
from radixlang.constrained.translate import check_constraint, compile_constraint
from radixlang.errors import UnsupportedGrammar

PATTERNS = ["(ab)+", "[a-c]{2}", "true|false", "a|abc", "[ab]*c?", "12|123|00"]
PARTS = st.lists(
    st.builds(
        SequencePart,
        constraint=st.sampled_from(PATTERNS).map(Regex),
        before=st.sampled_from([',"', "END", "xyz", "the"]),
        max_tokens=st.integers(1, 4),
        stop=st.sampled_from([(), ("c",), ("bc",), ("b", "00")]),
    ),
    min_size=1,
    max_size=4,
)


def draw(matcher, vocabulary, seed):
    """What a model with `seed` says here: the token that comes first in its own order of them."""
    mask_W = np.zeros(vocabulary.words, np.uint32)
    matcher.fill(mask_W)
    allowed = [t for t in range(vocabulary.size) if mask_W[t // 32] >> (t % 32) & 1]
    return min(allowed, key=lambda token: random.Random(f"{seed}:{token}").random())


def alone(part, vocabulary, seed):
    """(ids, why) of a part by itself; None where a stop leaves text that has no ids."""
    matcher, ids, text = compile_constraint(part.constraint, vocabulary).matcher(), [], b""
    while len(ids) < part.max_tokens:
        token = draw(matcher, vocabulary, (seed, len(ids)))
        if token in vocabulary.eos_token_ids:
            return ids, "stop"
        assert matcher.accept(token)
        if any(stop.encode() in text + vocabulary.token_bytes[token] for stop in part.stop):
            found = [at for s in part.stop if (at := (text + vocabulary.token_bytes[token]).find(s.encode())) >= 0]
            return (ids, "stop") if min(found) == len(text) else None
        ids.append(token)
        text += vocabulary.token_bytes[token]
        if matcher.is_finished:
            return ids, "stop"
    return ids, "length"


@pytest.fixture(scope="module")
def spelled(vocabulary):
    """The vocabulary with a tokenizer: longest token first."""
    return dataclasses.replace(vocabulary, encode=lambda text: vocabulary.tokenize(text.encode()))


@settings(max_examples=150, deadline=None)
@given(parts=PARTS, seed=st.integers(0, 10**6))
def test_parts_are_what_they_are_alone(spelled, parts, seed):
    vocabulary = spelled
    parts[0] = SequencePart(parts[0].constraint, "", parts[0].max_tokens, parts[0].stop)
    wanted: list[int] = []
    ends = []
    for place, part in enumerate(parts):
        own = alone(part, vocabulary, (seed, place))
        if own is None or not own[0]:
            break
        before = [] if not place else vocabulary.encode(part.before)
        wanted += before
        ends.append((len(wanted), len(wanted) + len(own[0]), own[1]))
        wanted += own[0]

    matcher = compile_constraint(Sequence(tuple(parts)), vocabulary).matcher()
    ids: list[int] = []
    while not matcher.is_finished:
        forced = matcher.forced()
        place = len(matcher.ends)
        seed_here = ((seed, place), len(ids) - matcher._begin)
        token = forced[0] if forced else draw(matcher, vocabulary, seed_here)
        if token in vocabulary.eos_token_ids:
            token = matcher.end_part()
        elif matcher.is_cut_by(token):
            token = matcher.stop_part(token)
        if token is None:
            break
        assert matcher.would_accept([token]) == 1
        assert matcher.accept(token)
        ids.append(token)
        assert len(ids) < 200
    assert [tuple(end) for end in matcher.ends] == ends
    assert ids[: ends[-1][1] if ends else 0] == wanted[: ends[-1][1] if ends else 0]


def test_taking_back_and_copies(spelled):
    vocabulary = spelled
    parts = (SequencePart(Regex("(ab)+")), SequencePart(Regex("true|false"), before="xyz"))
    matcher = compile_constraint(Sequence(parts), vocabulary).matcher()
    ab, xyz, true = (vocabulary.tokenize(text)[0] for text in (b"ab", b"xyz", b"true"))
    assert matcher.accept(ab)
    copy = matcher.copy()
    assert matcher.end_part() == xyz
    assert matcher.forced() == [xyz]
    assert matcher.accept(xyz)
    assert not matcher.accept(ab)
    assert matcher.accept(true)
    assert matcher.is_finished
    assert copy.accept(ab)
    assert copy.ends == []
    matcher.rollback(2)
    assert not matcher.is_finished


def test_sizes_are_bounded():
    many = Sequence((SequencePart(Regex("a")),) * 65)
    for sequence in (many, Sequence(()), Sequence((SequencePart(Regex("a"), max_tokens=0),))):
        with pytest.raises(UnsupportedGrammar):
            check_constraint(sequence)
