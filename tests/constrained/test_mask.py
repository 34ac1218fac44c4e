import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import Grammar, JsonObject, Regex


@given(st.sets(st.integers(0, 319)))
def test_ids_and_bits_are_the_same_thing(token_ids: set[int]) -> None:
    row = mask.from_ids(token_ids, 10)
    assert mask.to_ids(row) == sorted(token_ids)
    assert all(mask.allows(row, t) == (t in token_ids) for t in range(320))
    assert all(bool(int(row[t // 32]) >> (t % 32) & 1) for t in token_ids)


@pytest.mark.parametrize("num_rows", [1, 5, 32, 70])
def test_many_rows_are_filled_as_each_alone(compiler, vocabulary, monkeypatch, num_rows: int) -> None:
    monkeypatch.setattr(mask.os, "cpu_count", lambda: 64)
    constraints = [Regex("[ab]{2,5}"), JsonObject(), Grammar('root ::= "(" root ")" | "x"'), None]
    grammars = [c and compiler.compile(c) for c in constraints]
    matchers = [g.matcher() if g else None for g in (grammars[i % 4] for i in range(num_rows))]
    for i, matcher in enumerate(matchers):
        if i % 4 == 2:
            assert matcher.accept(vocabulary.tokenize(b"(")[0])
        if i % 8 == 0:
            assert matcher.accept(vocabulary.tokenize(b"ab")[0])
    rows = mask.allocate(num_rows, vocabulary.words)
    rows[:] = 0xDEADBEEF  # whatever stood there is overwritten
    mask.fill_rows(matchers, rows)
    for matcher, row in zip(matchers, rows, strict=True):
        alone = np.zeros(vocabulary.words, np.uint32)
        if matcher is None:
            alone[:] = 0xFFFFFFFF
        else:
            matcher.fill(alone)
        assert (row == alone).all()
