"""The same pattern on three engines: our automata, llguidance, and outlines-core's index."""

import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import JsonSchema, Regex
from radixlang.constrained.fsm.index import FsmGrammar
from radixlang.constrained.fsm.pattern import parse
from radixlang.constrained.outlines import SecondOpinion, schema_pattern
from radixlang.constrained.translate import compile_constraint, engine_regex
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

PIECES = [
    "ab",
    "abc",
    "12",
    "123",
    "-1",
    "a1",
    ": ",
    "20",
    "true",
    "fal",
    "se",
    '"a',
    '"}',
    "@b",
    ".c",
    "éa",
    "中",
    "ab",
]
VOCABULARY = Vocabulary(
    [b"</s>", *(bytes([b]) for b in range(256)), *(p.encode() for p in PIECES)], frozenset({0}), frozenset({0}), 280
)
PATTERNS = [
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"(true|false|null)",
    r"[a-z]+@[a-z]+\.[a-z]{2,3}",
    r'"[^"\\]{0,8}"',
    r"-?(0|[1-9][0-9]{0,5})(\.[0-9]+)?",
    r"((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])",
    r"(ab|abc|a1)*c?",
    r"[é中]{1,3}",
    r"(a|b)*abb",
]
DRAWN = st.recursive(
    st.sampled_from(["a", "b", "ab", "1", "[a-c]", "[0-9]", "é", "-"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


def compare(pattern: str, most_states: int, *, is_whole: bool = True) -> None:
    """Walks all three side by side. `is_whole`: outlines-core knows every token; 0.2.14 does not for any pattern."""
    theirs = SecondOpinion(pattern, VOCABULARY)
    ours = compile_constraint(Regex(pattern), VOCABULARY)
    assert isinstance(ours, FsmGrammar)
    row = mask.allocate(1, VOCABULARY.words)[0]
    start = theirs.state()
    assert start is not None
    waiting = [(ours.matcher(), engine_regex(parse(pattern), VOCABULARY).matcher(), start)]
    seen = set()
    while waiting and len(seen) < most_states:
        one, other, state = waiting.pop()
        one.fill(row)
        allowed = set(mask.to_ids(row))
        other.fill(row)
        # Where the text is forced, llguidance's mask holds the canonical token alone.
        assert allowed == set(mask.to_ids(row)) or set(mask.to_ids(row)) == set(other.forced()[:1]) <= allowed
        if (
            one.is_accepting or not is_whole
        ):  # outlines-core 0.2.14 forgets bytes there: after "abb" of (a|b)*abb it allows "ab" only
            assert allowed - {0} >= theirs.allowed(state)
        else:
            assert allowed - {0} == theirs.allowed(state)
        assert (0 in allowed) == theirs.is_accepting(state) == one.is_accepting == other.is_accepting
        for token_id in sorted(allowed - {0})[:: max(1, len(allowed) // 5)]:
            after = theirs.next(state, token_id)
            if after is not None and after not in seen:
                seen.add(after)
                further, other_further = one.copy(), other.copy()
                assert further.accept(token_id)
                assert other_further.accept(token_id)
                waiting.append((further, other_further, after))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_three_engines_allow_the_same_tokens(pattern: str) -> None:
    compare(pattern, 60)


@settings(max_examples=40, deadline=None)
@given(DRAWN)
def test_three_engines_allow_the_same_tokens_of_any_pattern(pattern: str) -> None:
    try:
        compare(pattern, 12, is_whole=False)
    except GrammarError:
        assume(False)


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}, "required": ["a", "b"]},
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 2},
    {"type": "object", "properties": {"d": {"type": "string", "format": "date"}}, "required": ["d"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:50])
def test_what_we_generate_for_a_schema_outlines_core_takes_too(schema) -> None:
    closed = {**schema, "additionalProperties": False} if schema["type"] == "object" else schema
    grammar = compile_constraint(JsonSchema(json.dumps(closed)), VOCABULARY)
    pattern = schema_pattern(json.dumps(closed))
    texts = ['{"a": 5, "b": true}', '["x"]', '["y", "x"]', '{"d": "2024-02-29"}']
    accepted = []
    for text in texts:
        token_ids = VOCABULARY.tokenize(text.encode())
        if grammar.matcher().would_accept([*token_ids, 0]) == len(token_ids) + 1:
            accepted.append(text)
            assert re.fullmatch(pattern, text)
    assert accepted
