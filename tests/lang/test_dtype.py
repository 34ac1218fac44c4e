from __future__ import annotations

import dataclasses
import enum
import json
import re
from typing import Annotated, Any, Literal, TypedDict

import jsonschema
import pytest

from radixlang.errors import ProgramError
from radixlang.lang.dtype import apply_dtype, json_schema_of, parse_value
from radixlang.lang.sampling import SglSamplingParams


class Color(enum.Enum):
    RED = "red"
    ODD = "a.b"


@dataclasses.dataclass
class Point:
    x: int
    y: float | None = None


class Row(TypedDict):
    points: list[Point]
    tag: Literal["a", 1]


def test_simple_types_become_regexes_and_stops():
    for kind in (int, "int"):
        params = apply_dtype(SglSamplingParams(dtype=kind, stop="x"), native=True)
        assert re.fullmatch(params.regex, "-12 ")
        assert params.stop == ["x", " ", "\n"]
    assert re.fullmatch(apply_dtype(SglSamplingParams(dtype=bool), native=True).regex, "True")


def test_backends_of_sglangs_kind_see_the_simple_types():
    params = apply_dtype(SglSamplingParams(dtype=int), native=False)
    assert (params.dtype, params.regex) == (int, None)


def test_string_literals_and_enums_become_choices():
    params = apply_dtype(SglSamplingParams(dtype=Color), native=True)
    assert re.fullmatch(params.regex, "a.b")
    assert not re.fullmatch(params.regex, "aXb")


def test_dtype_beats_a_regex_with_a_warning():
    with pytest.warns(UserWarning, match="dtype=int is used"):
        params = apply_dtype(SglSamplingParams(dtype=int, regex="x"), native=True)
    assert params.regex != "x"


CASES = [
    (Point, Point(1, 2.5), '{"x": 1, "y": 2.5}', '{"x": "1"}'),
    (Row, {"points": [Point(1)], "tag": 1}, '{"points": [{"x": 1}], "tag": 1}', '{"points": [], "tag": 2}'),
    (list[int], [1, 2], "[1, 2]", '["1"]'),
    (dict[str, bool], {"a": True}, '{"a": true}', '{"a": 1}'),
    (tuple[int, str], (1, "a"), '[1, "a"]', '[1, "a", 2]'),
    (int | str, "a", '"a"', "[]"),
    (Literal[1, 2], 2, "2", "3"),
    (Annotated[list[str], "note"], ["a"], '["a"]', "[1]"),
]


@pytest.mark.parametrize(("kind", "value", "good", "bad"), CASES)
def test_schemas_accept_what_values_read(kind, value, good, bad):
    schema = json_schema_of(kind)
    jsonschema.validate(json.loads(good), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(bad), schema)
    if kind is not CASES[-1][0]:
        assert parse_value(good, kind) == value
        with pytest.raises(ProgramError):
            parse_value(bad, kind)


def test_a_type_without_a_schema_is_refused():
    with pytest.raises(TypeError, match="no JSON schema"):
        json_schema_of(object())
    assert json_schema_of(Any) == {}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("12", int, 12), ("-1.5", float, -1.5), ("True", "bool", True), ('"a"', str, "a"), ("red", Color, Color.RED)],
)
def test_values_of_simple_types(text, kind, value):
    assert parse_value(text, kind) == value
