"""Numbers that the engine would round, refuse without a place, or die of."""

import json
from decimal import Decimal

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.numbers import is_exact, looser
from radixlang.errors import GrammarError, GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("bounds", "valid", "invalid"),
    [
        ({"minimum": LEAST, "maximum": MOST}, [0, LEAST, MOST], [LEAST - 1, MOST + 1]),
        ({"minimum": 0, "maximum": 2**64 - 1}, [0, 2**64 - 1], [-1, 2**64]),
        ({"minimum": 2**53 + 1}, [2**53 + 1], [2**53]),
        ({"maximum": 2**53 + 3}, [0, 2**53 + 3], [2**53 + 4]),
        ({"exclusiveMinimum": 2**53 + 1, "exclusiveMaximum": 2**53 + 3}, [2**53 + 2], [2**53 + 1, 2**53 + 3]),
        ({"exclusiveMinimum": 2**53}, [2**53 + 1], [2**53]),
        ({"exclusiveMaximum": 10**16 + 92}, [10**16 + 91], [10**16 + 92]),
        ({"minimum": 10**18 - 1}, [10**18 - 1, 10**18], [10**18 - 2]),
        ({"maximum": -(2**53) - 1}, [-(2**53) - 1], [-(2**53)]),
        ({"minimum": 10**17 + 1, "maximum": 10**17 + 300}, [10**17 + 1, 10**17 + 300], [10**17, 10**17 + 301]),
        ({"minimum": 10**17}, [10**17], [10**17 - 1]),
    ],
    ids=str,
)
def test_bounds_hold_to_the_last_digit(check_schema, bounds, valid, invalid):
    schema = {"type": "integer", **bounds}
    check_schema(schema, valid, invalid, seeds=())
    inside = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": schema}, "required": ["a"]}
    check_schema(inside, [{"a": n} for n in valid], [{"a": n} for n in invalid], seeds=())
    check_schema({"type": "array", "items": schema}, [valid], [[*valid, n] for n in invalid], seeds=())


@pytest.mark.parametrize(
    ("keyword", "value"), [("minimum", 10**4000), ("exclusiveMaximum", -(10**400))], ids=["low", "high"]
)
def test_bounds_of_hundreds_of_digits_are_refused(compiler, keyword, value):
    with pytest.raises(GrammarTooLarge) as caught:
        compiler.compile(JsonSchema(json.dumps({"type": "integer", keyword: value})))
    assert caught.value.pointer == f"#/{keyword}"


def test_complements_of_far_bounds_hold_too(check_schema):
    check_schema({"type": "integer", "not": {"minimum": LEAST}}, [LEAST - 1], [LEAST, 0], seeds=())


@pytest.mark.parametrize("value", [2**53 + 1, 10**17 + 300, LEAST, -LEAST, 2**64, 10**18, -(10**18), 1e300], ids=str)
@pytest.mark.parametrize("holder", ['{"const": %s}', '{"enum": [1, %s]}', '{"const": {"a": [%s]}}'])
def test_constants_that_the_engine_would_round_are_refused(compiler, value, holder):
    with pytest.raises(UnsupportedGrammar) as caught:
        compiler.compile(JsonSchema(holder % json.dumps(value)))
    assert caught.value.pointer in ("#/const", "#/enum")
    wide = JsonSchema(holder % json.dumps(value), on_unsupported="verify")
    assert compiler.compile(wide).matcher().error is None


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**17, 123, 0.1])
def test_constants_that_it_writes_are_served(check_schema, value):
    assert is_exact(value)
    check_schema({"const": value}, [value], [value + max(1, abs(value) // 2)])


@pytest.mark.parametrize("step", ["1e-12", "0.0001234", "100003", "1e9", "12345.678", "1" + "0" * 400])
def test_steps_of_many_digits_are_refused_with_their_place(compiler, step):
    with pytest.raises(GrammarTooLarge) as caught:
        compiler.compile(JsonSchema(f'{{"properties": {{"a": {{"type": "number", "multipleOf": {step}}}}}}}'))
    assert caught.value.pointer == "#/properties/a/multipleOf"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 1, "maximum": 6, "multipleOf": 7},
        {"type": "number", "minimum": 0.1, "maximum": 0.4, "multipleOf": 0.5},
        {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2, "multipleOf": 0.1},
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6, "multipleOf": 3},
        {"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53},
    ],
    ids=str,
)
def test_bounds_that_leave_nothing_are_told_by_keyword(compiler, schema):
    with pytest.raises(UnsatisfiableGrammar) as caught:
        compiler.compile(JsonSchema(json.dumps(schema)))
    assert caught.value.pointer in ("#/multipleOf", "#/minimum")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 1, "maximum": 7, "multipleOf": 7},
        {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.3, "multipleOf": 0.1},
        {"type": "integer", "minimum": -7, "exclusiveMaximum": 0, "multipleOf": 7},
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 7, "multipleOf": 7},
    ],
    ids=str,
)
def test_bounds_that_leave_one_multiple_are_served(compiler, schema):
    assert compiler.compile(JsonSchema(json.dumps(schema))).matcher().error is None


@pytest.mark.parametrize("text", ['{"const": 1e400}', '{"maximum": -3e308}'])
def test_numbers_that_no_reader_takes_are_named(compiler, text):
    with pytest.raises(GrammarError, match="larger than readers of JSON take"):
        compiler.compile(JsonSchema(text))


def test_counts_that_no_answer_reaches(compiler):
    for key in ("maxLength", "maxItems"):
        assert compiler.compile(JsonSchema(json.dumps({key: 2**64}))).matcher().error is None
    with pytest.raises(GrammarTooLarge) as caught:
        compiler.compile(JsonSchema('{"type": "string", "minLength": 1e30}'))
    assert caught.value.pointer == "#/minLength"


DECIMALS = [0.09059673990867223, 123456789.12345679, -96559.96065535299, 1.8230687000260783e-15, 5e-324, 1e-300]


@pytest.mark.parametrize("value", DECIMALS)
def test_decimals_that_the_engine_would_read_as_a_neighbour_are_refused(compiler, value):
    with pytest.raises(UnsupportedGrammar, match="15 digits"):
        compiler.compile(JsonSchema(json.dumps({"enum": [1, value]})))


@pytest.mark.parametrize("value", [0.5, -0.134, 1e-7, 123456.123456789, 0.30000000000000, 1.5e-20, 9007199254.740991])
def test_other_decimals_are_written_as_they_are(compiler, accepts, value):
    grammar = compiler.compile(JsonSchema(json.dumps({"const": value})))
    assert accepts(grammar, repr(value)) or accepts(grammar, f"{Decimal(repr(value)):f}")
    assert is_exact(value)


@pytest.mark.parametrize(
    ("bounds", "valid", "invalid"),
    [
        ({"maximum": 0.09059673990867223}, [0.09059673990867223, -1], [0.09059673990867224, 0.1]),
        ({"exclusiveMinimum": 123456789.12345679}, [123456789.1234568, 200000000], [123456789.12345679, 0]),
        ({"minimum": -0.09059673990867223, "maximum": 2}, [-0.09059673990867223, 0, -0.05], [-0.0905967399086723, -1]),
    ],
    ids=str,
)
def test_bounds_of_many_digits_hold_to_the_last(check_schema, bounds, valid, invalid):
    check_schema({"type": "number", **bounds}, valid, invalid, seeds=())


@pytest.mark.parametrize(
    "value", [*DECIMALS, -5e-324, -1.8230687000260783e-15, 0.9999999999999999, -7.841374758118003e-11]
)
def test_the_bound_that_the_engine_gets_is_a_little_wider_and_exact(value):
    low, high = looser("minimum", value), looser("maximum", value)
    assert low is not None
    assert high is not None
    assert low < value < high
    assert high - low < 1e-6
    assert is_exact(low)
    assert is_exact(high)


def test_integers_below_a_tiny_bound_are_told_by_the_mask(compiler, accepts):
    grammar = compiler.compile(JsonSchema('{"type": "integer", "maximum": 5e-324}'))
    assert accepts(grammar, "0")
    assert accepts(grammar, "-7")
    assert not accepts(grammar, "1")


def test_bounds_of_all_doubles_are_served(check_schema):
    largest = 1.7976931348623157e308
    check_schema({"type": "number", "minimum": -largest, "maximum": largest}, [0, -1.5, 1e300], ["a"])
