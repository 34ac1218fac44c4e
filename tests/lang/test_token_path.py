from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from radixlang.lang.token_path import Kept, TokenPath, kept_of


def spell(ids):
    return "".join(map(chr, ids))


def finish(kind, matched=None):
    return {"finish_reason": {"type": kind, "matched": matched}}


@given(st.lists(st.text(max_size=3) | st.lists(st.integers(97, 122), max_size=3), max_size=8))
def test_parts_spell_what_was_appended_and_texts_merge(pieces):
    path = TokenPath()
    for piece in pieces:
        if isinstance(piece, str):
            path.append_text(piece)
        else:
            path.append_generated(Kept(piece, ""))
    parts = path.parts()
    assert "".join(p if isinstance(p, str) else spell(p) for p in parts) == "".join(
        p if isinstance(p, str) else spell(p) for p in pieces
    )
    assert not any(isinstance(a, str) and isinstance(b, str) for a, b in itertools.pairwise(parts))


def test_a_fork_leaves_the_parent_alone():
    path = TokenPath()
    path.append_text("a")
    child = path.fork()
    child.append_text("b")
    child.append_generated(Kept([99], ""))
    assert (path.parts(), child.parts()) == (["a"], ["ab", [99]])


def test_restore_takes_back_a_generation():
    path = TokenPath()
    path.append_text("a")
    place = (path.mark(), path.last())
    path.append_generated(Kept([98], "c"))
    path.restore(*place)
    assert path.parts() == ["a"]
    path.append_generated(Kept([], "d"))
    path.restore(*place)
    assert path.parts() == ["a"]


def test_ids_are_kept_as_far_as_they_spell_the_text():
    ids = [97, 98, 99]
    assert kept_of(ids, "abc", finish("length")) == Kept(ids, "")
    assert kept_of([*ids, 2], "abc", finish("stop", 2)) == Kept(ids, "")
    assert kept_of([*ids, 2], "abc", finish("stop"), frozenset({2})) == Kept(ids, "")
    assert kept_of(ids, "ab", finish("stop", "c")) == Kept([], "ab")
    texts = {"output_token_logprobs": [[-1, 97, "a"], [-1, 98, "bX"], [-1, 99, "c"]]}
    assert kept_of(ids, "ab", {**finish("stop", "Xc"), **texts}) == Kept([97], "b")
    said = {"text_token_ids_len": 1, "text_token_ids_chars": 1}
    assert kept_of(ids, "ab", {**finish("stop", "c"), **said}) == Kept([97], "b")
    assert kept_of([2], "", finish("stop", 2)) == Kept([], "")
