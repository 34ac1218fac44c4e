import itertools
import json
import re

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.bounded import bounded
from radixlang.constrained.json_schema.normalise import normalise


def without_lengths(schema: dict) -> bool:
    return "maxLength" not in json.dumps(bounded(normalise(json.dumps(schema)).schema))


GROWING = [
    r"^[ab]c*$",
    "^[ab]+$",
    "^a{2}[bc]*c$",
    "^(ab)[bc]{0,9}$",
    "^[ab]{2,}$",
    "^c(?:[ab]*)$",
    "^(a*)?b$",
    "^a([ab]*c)?$",
    "^b(?:[bc]{1,2}a)?c$",
]
OTHERS = ["^a*b*$", "^(ab)*$", "^a|b+$", "a+", "^abc$", "^(a{2})?b$", "^(a*b)?c*$"]


@pytest.mark.parametrize("pattern", GROWING)
def test_lengths_are_written_into_what_grows(pattern) -> None:
    assert without_lengths({"type": "string", "pattern": pattern, "maxLength": 9})


@pytest.mark.parametrize("pattern", OTHERS)
def test_what_grows_in_more_than_one_way_is_left(pattern) -> None:
    assert not without_lengths({"type": "string", "pattern": pattern, "maxLength": 9})


@pytest.mark.parametrize("bounds", [(0, 3), (2, 4), (3, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("pattern", GROWING + OTHERS)
def test_the_same_strings_are_accepted(compiler, vocabulary, pattern, bounds) -> None:
    least, most = bounds
    schema = {"type": "string", "pattern": pattern, "minLength": least, "maxLength": most}
    texts = ["".join(letters) for n in range(6) for letters in itertools.product("abc", repeat=n)]
    valid = [t for t in texts if re.search(pattern, t) and least <= len(t) <= most]
    if not valid:
        return
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    for text in valid + texts[:: 1 + len(texts) // 60]:
        token_ids = [*vocabulary.tokenize(f'"{text}"'.encode()), min(vocabulary.eos_token_ids)]
        accepted = grammar.matcher().would_accept(token_ids) == len(token_ids)
        assert accepted == (text in valid), text


def test_lengths_count_characters_wherever_the_schema_stands(compiler, vocabulary) -> None:
    inner = {"type": "string", "pattern": "^[é€a]+$", "maxLength": 2}
    grammar = compiler.compile(JsonSchema(json.dumps({"type": "array", "items": {"anyOf": [inner, {"type": "null"}]}})))
    for text, is_valid in (("é€", True), ("éa€", False), ("", False)):
        token_ids = [*vocabulary.tokenize(f'["{text}", null]'.encode()), min(vocabulary.eos_token_ids)]
        assert (grammar.matcher().would_accept(token_ids) == len(token_ids)) == is_valid


def test_data_that_looks_like_a_schema_stays() -> None:
    schema = {"const": {"pattern": "^(?:[a-b]+)$", "maxLength": 1}}
    assert bounded(schema) == schema
    named = {"type": "object", "properties": {"pattern": {"type": "null"}, "maxLength": {"type": "null"}}}
    assert bounded(named) == named
