"""Decimal numbers between bounds and on a grid: what may be written is what is valid, in its shortest spelling too."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.short_numbers import with_short_numbers
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import UnsatisfiableGrammar

DECIMALS = st.decimals(-9, 9, places=3).map(lambda d: float(d.normalize()))
BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "multipleOf": lambda value, step: value % step == 0,
}


def is_valid(schema: dict, text: str) -> bool:
    value = Fraction(text)
    return all(holds(value, Fraction(str(schema[key]))) for key, holds in BOUNDS.items() if key in schema)


@example(low=("minimum", 0.0), high=("maximum", 0.071), step=0.07, number=0)
@settings(max_examples=150, deadline=None)
@given(
    low=st.tuples(st.sampled_from(["minimum", "exclusiveMinimum"]), DECIMALS),
    high=st.tuples(st.sampled_from(["maximum", "exclusiveMaximum"]), DECIMALS),
    step=st.sampled_from([None, None, 0.25, 0.07, 0.01, 0.125, 1.5, 0.3]),
    number=st.integers(-9000, 9000),
)
def test_numbers_are_those_between_the_bounds(vocabulary, accepts, low, high, step, number):
    schema = {"type": "number", **dict([low, high]), **({} if step is None else {"multipleOf": step})}
    try:
        grammar = compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)
    except UnsatisfiableGrammar:
        grammar = None
    near = [Decimal(str(bound)) for _, bound in (low, high)]
    values = [Decimal(number) / 1000, *near, *(round(value, places) for value in near for places in (0, 1, 2))]
    if step is not None:
        values += [number % 50 * Decimal(str(step)), -(number % 50) * Decimal(str(step))]
    for text in {format(value.normalize() + 0, "f") for value in values} - {"-0"}:
        assert (grammar is not None and accepts(grammar, text)) == is_valid(schema, text), (schema, text)


@pytest.mark.parametrize(
    "schema", [{"type": ["number", "null"], "maximum": 99.99}, {"type": "number", "multipleOf": 0.25}]
)
def test_short_numbers_are_taken_where_a_number_stands(vocabulary, accepts, schema):
    inside = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": schema}},
        "patternProperties": {"^x": schema},
    }
    whole = {"type": "object", "properties": {"b": {"$ref": "#/$defs/inside"}}, "$defs": {"inside": inside}}
    grammar = compile_constraint(JsonSchema(json.dumps(whole)), vocabulary)
    for text in ("9.5", "0.5", "-2.5", "99.5", "1"):
        assert accepts(grammar, f'{{"b": {{"a": [{text}, {text}], "xy": {text}}}}}')
    assert not accepts(grammar, '{"b": {"a": [100.125]}}')


@pytest.mark.parametrize(
    "schema", [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "number", "multipleOf": 0.01}]
)
def test_what_the_engine_takes_as_it_is_stays(schema):
    assert with_short_numbers(schema) == schema
