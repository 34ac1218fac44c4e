import json
import random
import re

import llguidance
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.fsm.determinise import alphabet_of, determinise
from radixlang.constrained.fsm.pattern import Alt, Node, Repeat, Seq, char_sets, parse
from radixlang.constrained.guidance import GuidanceGrammar
from radixlang.constrained.json_schema.patterns import engine_pattern
from radixlang.constrained.json_schema.roomy import roomy, roomy_pattern, with_roomy_format
from radixlang.errors import GrammarTooLarge

SETS = st.sampled_from(["[a-z]", "[a-z0-9]", "[a-z0-9-]", "[0-9]", "[b-y]", "[a-zA-Z_-]", "-"])
COUNTS = st.sampled_from([(0, None), (1, None), (2, 9), (0, 9), (0, 8), (0, 1), (3, 3)])


def same_texts(one: Node, other: Node) -> bool:
    alphabet = alphabet_of(char_sets(one) | char_sets(other))
    a, b = determinise(one, alphabet), determinise(other, alphabet)
    seen, left = {(1, 1)}, [(1, 1)]
    while left:
        p, q = left.pop()
        if a.accepting[p] != b.accepting[q]:
            return False
        new = set(zip(a.table[p].tolist(), b.table[q].tolist(), strict=True)) - seen
        seen |= new
        left += new
    return True


def trees() -> st.SearchStrategy[Node]:
    one = SETS.map(parse)
    many = st.builds(lambda node, counts: Repeat(node, *counts), one, COUNTS)
    label = st.builds(lambda more, last: Repeat(Seq((more, last)), 0, 1), many, one)
    row = st.lists(st.one_of(one, many, label), min_size=1, max_size=3).map(lambda parts: Seq(tuple(parts)))
    return st.one_of(row, st.lists(row, min_size=2, max_size=2).map(lambda options: Alt(tuple(options))))


@given(trees())
@settings(deadline=None, max_examples=60)
def test_the_texts_stay_the_same(tree: Node) -> None:
    try:
        determinise(tree, alphabet_of(char_sets(tree)))
    except GrammarTooLarge:
        reject()
    assert same_texts(tree, roomy(tree))


ROOMIER = [
    "[a-z][a-z0-9-]*",
    "[a-z][a-z0-9]+",
    "[a-zA-Z_][a-zA-Z0-9_]{0,62}",
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    "(?:[a-z][a-z0-9]{2,30}|[0-9]+)",
]


@pytest.mark.parametrize("pattern", ROOMIER)
def test_words_that_begin_with_one_letter_get_a_repetition(pattern: str) -> None:
    tree = parse(pattern)
    assert roomy(tree) != tree
    assert same_texts(tree, roomy(tree))


@pytest.mark.parametrize("pattern", ["[a-z][0-9]*", "[a-z][a-z0-9]{0,8}", "[0-9][a-z0-9]*", "[a-z][b-z]*", "abc*"])
def test_others_are_left(pattern: str) -> None:
    written = engine_pattern(parse(pattern))
    assert roomy_pattern(written) == written


def test_what_the_engine_alone_reads_is_left() -> None:
    assert roomy_pattern(r"^\p{L}[a-z][a-z0-9]*$") == r"^\p{L}[a-z][a-z0-9]*$"


@pytest.mark.parametrize("pattern", ROOMIER)
def test_a_schemas_masks_allow_what_may_go_on(compiler, vocabulary, pattern: str) -> None:
    grammar = compiler.compile(JsonSchema(json.dumps({"type": "string", "pattern": f"^(?:{pattern})$"})))
    row = mask.allocate(1, vocabulary.words)[0]
    rng = random.Random(5)
    for _ in range(5):
        matcher, ids = grammar.matcher(), []
        while not matcher.is_accepting:
            matcher.fill(row)
            allowed = set(mask.to_ids(row))
            assert allowed == {t for t in range(vocabulary.size) if matcher.would_accept([t]) == 1}
            quotes = [t for t in allowed if vocabulary.token_bytes[t] == b'"']
            ids.append(quotes[0] if quotes and len(ids) > 8 else rng.choice(sorted(allowed)))
            assert matcher.accept(ids[-1])
        assert re.fullmatch(pattern, json.loads(vocabulary.join(ids)))


def test_a_repetition_of_one_set_is_as_it_was() -> None:
    letters = parse("[a-z]")
    assert same_texts(roomy(Seq((letters, Repeat(letters, 0, None)))), Repeat(letters, 1, None))


def on_the_engine(schema, vocabulary) -> GuidanceGrammar:
    return GuidanceGrammar(llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)), vocabulary)


@pytest.mark.parametrize("name", ["uri", "email", "hostname"])
@pytest.mark.parametrize("seed", range(4))
def test_strings_of_a_format_stay_the_same(vocabulary, name: str, seed: int) -> None:
    """Under the strings that were added beside it, and under its own."""
    schema = {"type": "string", "format": name}
    either = with_roomy_format(schema)
    assert either["anyOf"][0] == schema
    grammars = [on_the_engine(one, vocabulary) for one in (schema, either, either["anyOf"][1])]
    rng = random.Random(seed)
    num_seen = 0
    for leading in (0, 2, 2):
        plain, both, some = (grammar.matcher() for grammar in grammars)
        leader = plain if leading == 0 else some
        rows = mask.allocate(3, vocabulary.words)
        for length in range(24):
            plain.fill(rows[0])
            both.fill(rows[1])
            assert np.array_equal(rows[0], rows[1])
            if leader is some:
                some.fill(rows[2])
                assert not (rows[2] & ~rows[0]).any()
                assert plain.is_accepting or not some.is_accepting
            texts = [t for t in mask.to_ids(rows[leading]) if vocabulary.is_text(t)]
            ends = [t for t in texts if vocabulary.token_bytes[t] in (b'"', b"@", b".", b":")]
            if not texts:
                break
            token_id = rng.choice(ends if ends and length % 4 == 3 else texts)
            assert plain.accept(token_id)
            assert both.accept(token_id)
            assert leader is plain or some.accept(token_id)
            num_seen += 1
    assert num_seen > 5


def test_a_format_beside_which_more_is_said_is_left() -> None:
    for schema in ({"type": "string", "format": "uri", "maxLength": 9}, {"type": "string", "format": "date"}, True):
        assert with_roomy_format(schema) is schema
