"""Masks against brute force over a small vocabulary, and the moves of a matcher against each other."""

import json

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, Constraint, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.fsm.index import FsmGrammar
from radixlang.constrained.fsm.pattern import parse
from radixlang.constrained.translate import compile_constraint, engine_regex
from radixlang.constrained.vocabulary import Vocabulary

EOS = 0
PIECES = [
    "a",
    "b",
    "c",
    "ab",
    "ba",
    "abc",
    "aa",
    "é",
    "中",
    "1",
    "12",
    "-",
    " ",
    "\n",
    "中a",
    "é1",
    "[",
    "]",
    "{",
    "}",
    '"',
    ", ",
    ": ",
    "\\",
]
VOCABULARY = Vocabulary(
    [
        b"</s>",
        b"<|s|>",
        b"",
        *(p.encode() for p in PIECES),
        *(bytes([b]) for b in range(128, 256)),
        b"\xe4\xb8",
        b"a\xc3",
    ],
    frozenset({EOS}),
    frozenset({EOS, 1}),
    200,
)
ATOMS = ["a", "b", "ab", "é", "中", ".", r"\d", "[a-c]", "[^a]", "1", "(?i:A)"]
PATTERNS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=5,
)
CONSTRAINTS: list[Constraint] = [
    Regex("(?:ab|c){1,4}é?"),
    Regex("[中é]{1,3}"),
    Choice(("a", "ab", "abc", "中a", "12-")),
    JsonObject(),
    JsonSchema(json.dumps({"type": "array", "items": {"enum": [1, 12, "a", "中"]}, "maxItems": 3})),
    Grammar('root ::= "a" root "b" | "c" | [é中]'),
    StructuralTag(
        json.dumps({"triggers": ["a-"], "structures": [{"begin": "a-", "schema": {"enum": [1]}, "end": "b"}]})
    ),
]


def could_go_on(pattern: str, text: bytes) -> bool:
    """Whether some string that the pattern matches begins with `text`, by another engine's partial matching."""
    for back in range(4):
        head, tail = text[: len(text) - back], text[len(text) - back :]
        try:
            whole = head.decode()
        except UnicodeDecodeError:
            continue
        if not tail:
            return regex.fullmatch(pattern, whole, partial=True) is not None
        try:
            tail.decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return False
        endings = (chr(c) for c in (*range(0x80, 0x900), *range(0x4E00, 0x4F00), 0xFFFD, 0x1F600, 0x100000))
        return any(
            regex.fullmatch(pattern, whole + c, partial=True) is not None
            for c in endings
            if c.encode().startswith(tail)
        )
    return False


def row_of(matcher) -> list[int]:
    row = mask.allocate(1, VOCABULARY.words)[0]
    matcher.fill(row)
    return mask.to_ids(row)


@pytest.mark.parametrize("engine", ["automaton", "llguidance"])
@settings(max_examples=40, deadline=None)
@given(pattern=PATTERNS, choices=st.lists(st.integers(0, 1000), max_size=5))
def test_masks_are_those_of_brute_force(engine: str, pattern: str, choices: list[int]) -> None:
    tree = parse(pattern)
    grammar = (
        compile_constraint(Regex(pattern), VOCABULARY) if engine == "automaton" else engine_regex(tree, VOCABULARY)
    )
    assert isinstance(grammar, FsmGrammar) == (engine == "automaton")
    matcher = grammar.matcher()
    text = b""
    for choice in choices:
        allowed = row_of(matcher)
        is_forced = engine == "llguidance" and allowed == matcher.forced()[:1]
        try:
            is_complete = regex.fullmatch(pattern, text.decode()) is not None
        except UnicodeDecodeError:
            is_complete = False
        assert (EOS in allowed) == is_complete
        for token_id in range(VOCABULARY.size):
            if VOCABULARY.is_text(token_id):
                piece = VOCABULARY.token_bytes[token_id]
                if len(piece) > 1 or piece < b"\x80" or piece in (b"\xc3", b"\xe4"):
                    is_viable = could_go_on(pattern, text + piece)
                    if is_forced:  # llguidance's mask holds the canonical token alone
                        assert token_id not in allowed or is_viable
                    else:
                        assert (token_id in allowed) == is_viable, (text, piece)
            elif token_id != EOS:
                assert token_id not in allowed
        rest = [t for t in allowed if t != EOS]
        if not rest:
            break
        token_id = rest[choice % len(rest)]
        assert matcher.accept(token_id)
        text += VOCABULARY.token_bytes[token_id]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
@settings(max_examples=25, deadline=None)
@given(choices=st.lists(st.integers(0, 1000), max_size=12), back=st.integers(0, 12))
def test_taking_back_is_the_inverse_of_accepting_and_copies_are_apart(constraint, choices, back: int) -> None:
    matcher = compile_constraint(constraint, VOCABULARY).matcher()
    seen = [(row_of(matcher), matcher.is_accepting, matcher.is_finished)]
    written: list[int] = []
    for choice in choices:
        token_id = seen[-1][0][choice % len(seen[-1][0])]
        copy = matcher.copy()
        assert matcher.would_accept([*written[:0], token_id]) == 1
        assert matcher.accept(token_id)
        assert row_of(copy) == seen[-1][0]
        written.append(token_id)
        seen.append((row_of(matcher), matcher.is_accepting, matcher.is_finished))
    steps = min(back, len(written))
    ahead = matcher.copy()
    matcher.rollback(steps)
    assert (row_of(matcher), matcher.is_accepting, matcher.is_finished) == seen[len(written) - steps]
    assert row_of(ahead) == seen[-1][0]
    again = written[len(written) - steps :]
    assert matcher.would_accept(again) == steps
    assert all(matcher.accept(t) for t in again)
    assert row_of(matcher) == seen[-1][0]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
@settings(max_examples=15, deadline=None)
@given(choices=st.lists(st.integers(0, 1000), max_size=10))
def test_what_is_forced_is_the_only_text_and_allowed(constraint, choices) -> None:
    matcher = compile_constraint(constraint, VOCABULARY).matcher()
    for choice in choices:
        forced = matcher.forced()
        assert matcher.would_accept(forced) == len(forced)
        allowed = row_of(matcher)
        if forced:
            text = VOCABULARY.join(forced)
            assert EOS not in allowed
            for token_id in allowed:
                piece = VOCABULARY.token_bytes[token_id]
                assert piece.startswith(text) or text.startswith(piece)
        if allowed == [EOS]:
            break
        rest = [t for t in allowed if t != EOS]
        assert matcher.accept(rest[choice % len(rest)])
