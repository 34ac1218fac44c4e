import json

import pytest

from radixlang.constrained.json_schema.verify import verdict_of, widen
from radixlang.errors import GrammarError, UnsupportedGrammar

DATE, TIME, TEXT = {"format": "date"}, {"format": "time"}, {"type": "string"}
WIDENED = [
    ({**TEXT, "not": DATE}, TEXT, "#/not"),
    ({"properties": {"a": {**TEXT, "not": DATE}}}, {"properties": {"a": TEXT}}, "#/properties/a/not"),
    ({"oneOf": [DATE, TIME]}, {"anyOf": [DATE, TIME]}, "#/oneOf"),
    ({"if": DATE, "then": {"maxLength": 12}, **TEXT}, TEXT, "#/if"),
    ({"type": "string", "pattern": r"(a)\1"}, {"type": "string"}, "#/pattern"),
]


@pytest.mark.parametrize(("schema", "wide", "dropped"), WIDENED, ids=lambda value: json.dumps(value)[:50])
def test_what_is_not_served_is_left_out_and_said(schema, wide, dropped: str) -> None:
    found = widen(json.dumps(schema))
    assert found.schema == wide
    assert found.left_out == (dropped,)


def test_what_is_served_stays_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert widen(json.dumps(schema)).schema == schema


@pytest.mark.parametrize(
    "schema", [{"type": "x"}, {"$ref": "#/nowhere"}, {"type": "string", "minLength": 3, "maxLength": 1}]
)
def test_what_is_wrong_is_refused_as_ever(schema) -> None:
    with pytest.raises(GrammarError):
        widen(json.dumps(schema))


def test_the_verdict_says_where_the_first_bad_value_ends() -> None:
    verdict = verdict_of(json.dumps({"properties": {"a": {"contains": {"const": 1}}, "b": {"minimum": 3}}}))
    assert verdict(b'{"a": [2, 1], "b": 4}') is None
    assert verdict(b'{"a": [2, 3], "b": 4}') == len(b'{"a": [2, 3]')
    assert verdict(b'{"a": [1], "b": 2}') == len(b'{"a": [1], "b": 2')
    assert verdict(b'{"a": [1]') == len(b'{"a": [1]')


def test_a_pattern_without_end_does_not_hold_up_the_verdict() -> None:
    verdict = verdict_of(json.dumps({"type": "string", "pattern": "(x+x+)+y$"}))
    assert verdict(json.dumps("x" * 200).encode()) is not None


def test_a_hostile_name_pattern_is_refused() -> None:
    with pytest.raises(UnsupportedGrammar) as caught:
        verdict_of(json.dumps({"items": {"patternProperties": {"(x+x+)+y": {}}}}))
    assert caught.value.pointer == "#/items/patternProperties"
