import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.token_trie import TokenTrie

PIECES = st.lists(st.binary(min_size=1, max_size=6), max_size=40)


@given(PIECES)
def test_every_token_ends_at_the_node_that_spells_it(pieces: list[bytes]) -> None:
    trie = TokenTrie((piece, i) for i, piece in enumerate(pieces))
    spelled: dict[int, bytes] = {0: b""}
    nodes = np.zeros(1, np.int32)
    found: dict[int, bytes] = {}
    while len(nodes):
        for node in nodes.tolist():
            for token_id in trie.tokens_at(np.array([node], np.int32)).tolist():
                found[token_id] = spelled[node]
        children, source = trie.children_of(nodes)
        for child, parent in zip(children.tolist(), source.tolist(), strict=True):
            spelled[child] = spelled[int(nodes[parent])] + bytes([int(trie.edge_byte_N[child])])
        nodes = children
    assert found == dict(enumerate(pieces))
    assert len(set(spelled.values())) == trie.num_nodes


@given(PIECES, st.binary(max_size=20))
def test_tokenizing_takes_the_longest_token_each_time(pieces: list[bytes], text: bytes) -> None:
    trie = TokenTrie((piece, i) for i, piece in enumerate(pieces))
    rest = text
    for token_id in trie.tokenize(text):
        longest = max(len(p) for p in pieces if rest.startswith(p))
        assert len(pieces[token_id]) == longest
        rest = rest[longest:]
    assert not any(rest.startswith(p) for p in pieces if rest)
