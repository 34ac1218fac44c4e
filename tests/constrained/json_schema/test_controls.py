"""Control characters in constants, patterns and names: written as asked, or not at all."""

import json

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.fsm.pattern import EMPTY, NOTHING, parse
from radixlang.constrained.json_schema.controls import may_spell, writable
from radixlang.errors import UnsatisfiableGrammar, UnsupportedGrammar


def grammar_of(compiler, schema: object):
    return compiler.compile(JsonSchema(json.dumps(schema)))


@pytest.mark.parametrize("control", ["\x00", "\x01", "\x0b", "\x1f", "\x7f"])
@pytest.mark.parametrize("pattern", ["{}", ".{{0,2}}{}x*", "^x*{}x*$", "^a?{}.*$"])
def test_a_pattern_that_asks_for_a_control_character_takes_no_other_string(compiler, pattern, control) -> None:
    with pytest.raises(UnsatisfiableGrammar):
        grammar_of(compiler, {"type": "string", "pattern": pattern.format(control)})


def test_where_another_type_is_left_only_that_is_taken(compiler, accepts) -> None:
    grammar = grammar_of(compiler, {"type": ["string", "null"], "pattern": "\x01"})
    assert accepts(grammar, "null")
    assert not accepts(grammar, '""')
    assert not accepts(grammar, '"ab"')


@pytest.mark.parametrize("control", ["\x01", "\x1f", "\x7f"])
def test_a_constant_keeps_its_control_character(compiler, accepts, control) -> None:
    grammar = grammar_of(compiler, {"enum": [f"a{control}", "b"]})
    assert accepts(grammar, f'"a\\u{ord(control):04x}"')
    assert accepts(grammar, '"b"')
    assert not accepts(grammar, '"a"')


def test_a_name_is_no_listed_one_in_disguise(compiler, accepts) -> None:
    listed = {"a": {"type": "integer"}, "x\x01": {}}
    grammar = grammar_of(compiler, {"type": "object", "properties": listed, "additionalProperties": {"type": "string"}})
    assert accepts(grammar, '{"x\\u0001": 1}')
    assert accepts(grammar, '{"b": "s"}')
    assert not accepts(grammar, '{"\\u0061": "s"}')


def test_a_constant_with_a_control_character_asks_for_closed_objects(compiler, accepts) -> None:
    properties = {"a": {"const": "\x01"}, "b": {"type": "integer"}}
    with pytest.raises(UnsupportedGrammar, match="additionalProperties: false"):
        grammar_of(compiler, {"type": "object", "properties": properties})
    grammar = grammar_of(compiler, {"type": "object", "properties": properties, "additionalProperties": False})
    assert accepts(grammar, '{"a": "\\u0001", "b": 1}')
    assert not accepts(grammar, '{"a": "\\u0001", "\\u0062": 1}')


def test_names_that_a_pattern_takes_by_a_control_character_are_none(compiler, accepts) -> None:
    patterns = {"\x7f": {"type": "null"}}
    schema = {"type": "object", "patternProperties": patterns, "additionalProperties": {"type": "integer"}}
    grammar = grammar_of(compiler, schema)
    assert accepts(grammar, '{"a": 1}')
    assert not accepts(grammar, '{"a": null}')
    only = grammar_of(compiler, {"type": "object", "propertyNames": {"pattern": "\x01"}})
    assert accepts(only, "{}")
    assert not accepts(only, '{"a": 1}')


def test_what_cannot_be_written_is_taken_out_of_a_tree() -> None:
    assert writable(parse("\x01*")) == EMPTY
    assert writable(parse("(?:\x01|\x7f)b")) == NOTHING
    assert writable(parse("[\x00-\x07]?")) == EMPTY
    assert writable(parse("[\x00-\t]")) == parse("[\x08\t]")


@pytest.mark.parametrize(
    ("pattern", "may"),
    [(r"\p{Greek}\x01", True), (r"\p{Greek}\u0391", False), (r"\p{Cc}", True), (r"\x{7f}", True), (r"\x41", False)],
)
def test_controls_in_words_of_the_engine_are_seen(pattern: str, may: bool) -> None:
    assert may_spell(pattern) is may
