"""A request's place in an automaton."""

import random

import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Regex
from radixlang.constrained.fsm.matcher import FsmMatcher


@pytest.mark.parametrize("pattern", ["[a-z ]+\\.", "(?:ab|abc)*x", "a{3}[^b]*b?"])
def test_masks_stay_the_same_behind_tokens_that_lead_nowhere(compiler, vocabulary, pattern: str) -> None:
    row, rng, kept = mask.allocate(1, vocabulary.words)[0], random.Random(pattern), 0
    matcher = compiler.compile(Regex(pattern)).matcher()
    assert isinstance(matcher, FsmMatcher)
    for _ in range(30):
        matcher.fill(row)
        before, texts = row.copy(), [t for t in mask.to_ids(row) if vocabulary.is_text(t)]
        if not texts:
            break
        token_id = rng.choice(texts)
        state, may_keep = matcher.state, matcher.may_keep(token_id)
        assert matcher.accept(token_id)
        assert may_keep == (matcher.state == state)
        matcher.fill(row)
        assert not may_keep or (before == row).all()
        kept += may_keep
    assert kept
