from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.runtime.tokenizer.detokenizer import ByteDetokenizer


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.binary(max_size=5), max_size=12))
def test_pieces_of_bytes_become_the_text_of_all(pieces):
    detokenizer = ByteDetokenizer(lambda ids: b"".join(pieces[i] for i in ids))
    text = "".join(detokenizer.push([i]) for i in range(len(pieces))) + detokenizer.flush()
    assert text == b"".join(pieces).decode("utf-8", "replace")


def test_bytes_that_can_be_nothing_are_told_at_once():
    detokenizer = ByteDetokenizer(lambda ids: bytes(ids))
    assert detokenizer.push([0xF0, 0x9F]) == ""
    assert detokenizer.push([0x41]) == "\ufffdA"
    assert detokenizer.flush() == ""
