"""Where documents begin in a text with tags, against a pattern that captures them."""

import json
import random

import pytest
import regex

from radixlang.constrained import mask
from radixlang.constrained.constraint import StructuralTag
from radixlang.constrained.tags.follower import Follower
from radixlang.constrained.tags.reader import to_lark
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import UnsupportedGrammar

SPECIAL = [b"<c>", b"</c>"]
NUM_SPECIAL = 1 + len(SPECIAL)
PIECES = [b"<t>", b"<t", b"<r>", b"<s>", b"</", b"[1", b"]", b'"', b"\xc3", b"<t>["]
VOCABULARY = Vocabulary(
    [b"</s>", *SPECIAL, *(bytes([b]) for b in range(256)), *PIECES], frozenset({0}), frozenset(range(NUM_SPECIAL)), 300
)
ONES = {"type": "json_schema", "json_schema": {"type": "array", "items": {"const": 1}, "maxItems": 3}}
DISTINCT = {"type": "json_schema", "json_schema": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}}
STRING = {"type": "json_schema", "json_schema": {"type": "string"}}
NUMBER = {"type": "json_schema", "json_schema": {"type": "number"}}
ONES_TEXT = r"(?P<d>\[(?:1(?:, 1)*)?\])"
STRING_TEXT = r'"(?:[^"\\\n]|\\.)*"'
NUMBER_TEXT = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


def tag(begin: str, content: dict, end: str) -> dict:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def triggered(triggers: list[str], *tags: dict) -> dict:
    return {"type": "triggered_tags", "triggers": triggers, "tags": list(tags)}


def const(value: str) -> dict:
    return {"type": "const_string", "value": value}


def rx(pattern: str) -> dict:
    return {"type": "regex", "pattern": pattern}


def row(*elements: dict) -> dict:
    return {"type": "sequence", "elements": list(elements)}


CASES = [
    (ONES, ONES_TEXT),
    (
        triggered(["<t>", "<r>"], tag("<t>", ONES, "</t>"), tag("<r>", rx("[^/]*"), "</r>")),
        rf"(?:(?:(?!<[tr]>)(?s:.))*(?:<t>{ONES_TEXT}</t>|<r>[^/]*</r>))*(?:(?!<[tr]>)(?s:.))*",
    ),
    (
        triggered(["<t", "<s>"], tag("<t>", ONES, "</t><"), tag("<s>", STRING, "</s>"), tag("<ti", NUMBER, "")),
        rf"(?:(?:(?!<t|<s>)(?s:.))*(?:<t>{ONES_TEXT}</t><|<s>{STRING_TEXT}</s>|<ti{NUMBER_TEXT}))*(?:(?!<t|<s>)(?s:.))*",
    ),
    (
        row(const("a["), const("a"), ONES, const("a[1]a"), {"type": "star", "content": ONES}, const("x"), rx("a.*")),
        rf"a\[a{ONES_TEXT}a\[1\]a{ONES_TEXT}*xa.*",
    ),
    (
        {
            "type": "star",
            "content": {"type": "or", "elements": [row(rx("[é-ü]{2}"), ONES), row(rx("[à-ç]"), NUMBER)]},
        },
        rf"(?:[é-ü]{{2}}{ONES_TEXT}|[à-ç]{NUMBER_TEXT})*",
    ),
    (
        triggered(["<c>"], tag("<c>x", ONES, "</c>"), tag("<c>y", {"type": "any_text"}, "</c>")),
        rf"(?:(?:(?!<c>)(?s:.))*<c>(?:x{ONES_TEXT}|y(?:(?!</c>)(?s:.))*)</c>)*(?:(?!<c>)(?s:.))*",
    ),
]
LIKED = 'a[1, ]<tr>/s"éèü-.5ixyc'


def begins(follower: Follower, data: bytes) -> list[int]:
    """Where documents begin; how they go on nobody but the follower's user says."""
    spot, found, depth, moved = follower.start, [], 0, None
    for at, byte in enumerate(data):
        if not depth:
            spot = follower.move(spot, byte)
            moved = spot.after
            if moved is None:
                continue
            found.append(at)
        depth += (byte == ord("[")) - (byte == ord("]"))
        if not depth:
            assert moved is not None
            spot = moved
    return found


@pytest.mark.parametrize(("spec", "pattern"), CASES, ids=range(len(CASES)))
def test_documents_are_found_where_they_begin(spec: dict, pattern: str) -> None:
    constraint = json.dumps({"format": spec})
    grammar = compile_constraint(StructuralTag(constraint), VOCABULARY)
    follower = to_lark(constraint, special_tokens=VOCABULARY.special_names).follower()
    wanted, num_found = regex.compile(pattern), 0
    row_W = mask.allocate(1, VOCABULARY.words)[0]
    for seed in range(25):
        rng, matcher, data = random.Random(seed), grammar.matcher(), b""
        while len(data) < 80 or not matcher.is_accepting:
            matcher.fill(row_W)
            allowed = [t for t in mask.to_ids(row_W) if t]
            if not allowed or len(data) > 300:
                break
            pieces = [t for t in allowed if t < NUM_SPECIAL or VOCABULARY.token_bytes[t] in PIECES]
            liked = [t for t in allowed if VOCABULARY.token_bytes[t] in LIKED.encode()]
            token_id = rng.choice(pieces if pieces and rng.random() < 0.5 else liked or allowed)
            assert matcher.accept(token_id)
            data += VOCABULARY.token_bytes[token_id]
        if not matcher.is_accepting:
            continue
        text = data.decode()
        match = wanted.fullmatch(text)
        assert match is not None, text
        found = begins(follower, data)
        assert found == [len(text[:at].encode()) for at in match.starts("d")], text
        num_found += len(found)
    assert num_found > 12


TAGGED = triggered(
    ["<t", "<r>", "<s>"],
    tag("<t>", DISTINCT, "</t>"),
    tag("<r>", rx("[^/]*"), "</r>"),
    tag("<s>", STRING, "</s>"),
    tag("<ti>", DISTINCT, "</t><"),
)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("<t>[1, 2]</t>", True),
        ("<t>[1, 1]</t>", False),
        ("<r><t>[1, 1]</r>", True),
        ("<r><t>[</r><t>[1, 1]</t>", False),
        ('<s>"<t>[1, 1]"</s>', True),
        ('<s>"<t>["</s><t>[1, 1]</t>', False),
        ("<ti>[1]</t><t>[1, 1]", True),
        ("<ti>[1]</t><t>[ <t>[1, 1]</t>", False),
    ],
)
def test_text_that_looks_like_the_begin_of_another_tag_misleads_nobody(text: str, is_valid: bool) -> None:
    grammar = compile_constraint(StructuralTag(json.dumps({"format": TAGGED})), VOCABULARY)
    token_ids = [NUM_SPECIAL + b for b in text.encode()] + [0]
    assert (grammar.matcher().would_accept(token_ids) == len(token_ids)) is is_valid


def test_tags_that_begin_alike_in_different_places_have_their_own_rules() -> None:
    ints = {"type": "json_schema", "json_schema": {"type": "array", "items": {"type": "integer"}}}
    spec = {"type": "or", "elements": [tag("<t>", DISTINCT, ""), row(const("x"), tag("<t>", ints, ""))]}
    grammar = compile_constraint(StructuralTag(json.dumps({"format": spec})), VOCABULARY)
    for text, is_valid in (("<t>[1, 1]", False), ("<t>[1, 2]", True), ("x<t>[1, 1]", True)):
        token_ids = [NUM_SPECIAL + b for b in text.encode()]
        assert (grammar.matcher().would_accept(token_ids) == len(token_ids)) is is_valid


def test_documents_at_one_place_are_refused_if_one_is_watched() -> None:
    ints = {"type": "json_schema", "json_schema": {"type": "array", "items": {"type": "string"}}}
    with pytest.raises(UnsupportedGrammar, match="anyOf"):
        to_lark(json.dumps({"format": {"type": "or", "elements": [DISTINCT, ints]}}))


def test_states_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radixlang.constrained.tags.follower.MAX_ITEMS", 20)
    spec = {"format": triggered(["<t>"], tag("<t>", ONES, "</t>"))}
    text = "é<<t>[1]</t>ü<t>[]</t>".encode()
    follower = to_lark(json.dumps(spec)).follower()
    assert begins(follower, text) == [text.index(b"[1"), text.index(b"[]")]
    assert len(follower._spots) <= 4
