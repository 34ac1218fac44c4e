import hypothesis.strategies as st
from hypothesis import given

from radixlang.constrained.pieces import Pieces

TEXTS = st.lists(st.binary(max_size=4), max_size=30, unique=True)


@given(TEXTS, st.binary(max_size=3))
def test_lookups_are_those_of_a_scan(texts: list[bytes], prefix: bytes) -> None:
    pieces = Pieces((text, i) for i, text in enumerate(texts))
    following = [(text, i) for i, text in enumerate(texts) if text and text.startswith(prefix)]
    assert list(pieces.beginning_with(prefix)) == sorted(following)
    assert pieces.has_longer(prefix) == any(text != prefix for text, _ in following)
    assert pieces.id_of(prefix) == next((i for text, i in following if text == prefix), None)
