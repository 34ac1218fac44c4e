"""Trees of tokens: the same told by words of bits, ways and places; a chain is a tree that does not branch."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from radixlang.runtime.speculation.acceptance import Acceptance
from radixlang.runtime.speculation.drafter import Draft
from radixlang.runtime.speculation.token_tree import TokenTree, Trial


@st.composite
def trees(draw) -> TokenTree:
    """Siblings differ."""
    size = draw(st.integers(1, 20))
    ids, parents = [], []
    for place in range(size):
        parent = draw(st.integers(-1, place - 1))
        token = draw(st.integers(0, 5))
        if (parent, token) not in zip(parents, ids, strict=True):
            ids.append(token)
            parents.append(min(parent, len(ids) - 2))
    seen, kept = set(), []
    for place, key in enumerate(zip(parents, ids, strict=True)):
        if key not in seen and (key[0] < 0 or key[0] in kept):
            seen.add(key)
            kept.append(place)
    return TokenTree(np.array(ids, np.int32), np.array(parents, np.int32)).only(kept)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tree=trees())
def test_a_token_sees_the_way_to_it(tree) -> None:
    words = tree.sees().tolist()
    for place, depth in enumerate(tree.depths().tolist()):
        seen = [row - 1 for row in range(1, tree.size + 1) if words[place + 1] >> row & 1]
        assert tree.ids[seen].tolist() == tree.way_to(place).tolist()
        assert len(seen) == depth + 1
        assert words[place + 1] & 1
        assert tree.follow(-1, tree.way_to(place)) == seen


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tree=trees(), data=st.data())
def test_what_came_is_the_longest_way_along_the_draws(tree, data) -> None:
    drawn = np.array(data.draw(st.lists(st.integers(0, 5), min_size=tree.size + 1, max_size=tree.size + 1)), np.int32)
    place, expected = -1, []
    while True:
        found = [p for p in range(tree.size) if tree.parent(p) == place and tree.ids[p] == drawn[place + 1]]
        if not found:
            break
        place = found[0]
        expected.append(place)
    assert tree.right(drawn) == expected
    trial = tree.trial(expected)
    assert trial.right <= len(expected)
    assert trial.tried == tree.chain().size >= trial.right
    first = tree.chain().ids.tolist()[: trial.right]
    assert first == tree.ids[expected[: trial.right]].tolist()
    if len(expected) > trial.right:
        assert trial.branch is True


def test_a_chain_is_told_as_a_chain() -> None:
    tree = TokenTree(np.array([3, 4, 5], np.int32), np.array([-1, 0, 1], np.int32)).only([0, 1, 2])
    assert tree.parents is None
    assert tree.trial(tree.right(np.array([3, 4, 9, 9], np.int32))) == Trial(3, 2, None)
    assert tree.trial([0], num_known=1) == Trial(1, 1, None)
    assert tree.sees().tolist() == [1, 3, 7, 15]


def test_where_the_first_way_ends_another_may_be_right() -> None:
    tree = TokenTree(np.array([1, 2, 3, 4], np.int32), np.array([-1, -1, 0, 1], np.int32))
    assert tree.chain().ids.tolist() == [1, 3]
    assert tree.trial([1, 3]) == Trial(2, 0, True)
    assert tree.trial([]) == Trial(2, 0, False)
    assert tree.trial([], num_known=0) == Trial(0, 0, None)
    assert tree.trial([0]) == Trial(2, 1, None)


def test_the_chances_of_a_tree_fall_along_every_way_and_branches_are_learned(make_track) -> None:
    acceptance, track = Acceptance(), make_track([1])
    tree = TokenTree(np.array([1, 2, 3, 4], np.int32), np.array([-1, 0, -1, 2], np.int32))
    draft = Draft(tree.ids, "tree", parents=tree.parents)
    before = acceptance.chances(track, draft)
    assert before[0] > before[1] > 0
    assert before[2] > before[3] > 0
    assert before[0] + before[2] <= 1
    for _ in range(100):
        acceptance.add(make_track([1]), draft, tree.trial([2, 3]))
    after = acceptance.chances(track, draft)
    assert after[0] < 0.2  # the first way is seldom right,
    assert after[2] > 0.9 * after[0]  # the other always: it is as likely as may be told behind the first
