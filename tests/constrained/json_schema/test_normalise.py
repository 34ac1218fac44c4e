import json

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.checks import CHECKS
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.errors import GrammarError

AB = {"a": {"type": "integer"}, "b": {"type": "integer"}}
CLOSED = {"type": "object", "properties": AB, "additionalProperties": False}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
SERVED = [
    ({"type": "object", "properties": AB, "required": ["a"]}, [{"a": 1}, {"a": 1, "b": 2}], [{}, {"a": "x"}, [1]]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, [1, "x"], [None, 1.5]),
    ({**CLOSED, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}], [{}, {"a": 1, "b": 1}]),
    (
        {"oneOf": [{"type": "object", "properties": {"k": {"const": k}, k: True}, "required": ["k"]} for k in "xyz"]},
        [{"k": "x", "x": 1}, {"k": "z"}],
        [{"k": "w"}, {}],
    ),
    ({"oneOf": [{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 4}]}, ["ab", "abab"], ["abc"]),
    ({"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 3}]}, [2, 4], [3]),
    ({**CLOSED, "dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    (
        {**CLOSED, "$schema": DRAFT_7, "dependencies": {"a": ["b"], "b": {"properties": {"b": {"minimum": 3}}}}},
        [{}, {"b": 3}, {"a": 1, "b": 4}],
        [{"a": 1}, {"b": 1}],
    ),
    (
        {
            "type": "object",
            "properties": {"k": {"enum": ["x", "y"]}, "v": True},
            "required": ["k", "v"],
            "additionalProperties": False,
            "if": {"properties": {"k": {"const": "x"}}},
            "then": {"properties": {"v": {"type": "integer"}}},
            "else": {"properties": {"v": {"type": "string"}}},
        },
        [{"k": "x", "v": 1}, {"k": "y", "v": "s"}],
        [{"k": "x", "v": "s"}, {"k": "y", "v": 1}],
    ),
    ({"type": "string", "not": {"enum": ["a", "bc"]}}, ["b", "ab", "bcc", ""], ["a", "bc"]),
    ({"type": "integer", "not": {"const": 5}}, [4, 6, -5, 55], [5]),
    ({"not": {"type": "string"}}, [1, None, [1], {}], ["x"]),
    ({"type": "string", "not": {"pattern": "^a"}}, ["b", ""], ["a", "ab"]),
    ({**CLOSED, "not": {"required": ["a", "b"]}}, [{}, {"a": 1}], [{"a": 1, "b": 1}]),
    ({**CLOSED, "minProperties": 2}, [{"a": 1, "b": 1}], [{}, {"a": 1}]),
    ({**CLOSED, "maxProperties": 1}, [{}, {"b": 1}], [{"a": 1, "b": 1}]),
    ({"type": "object", "properties": AB, "minProperties": 1}, [{"a": 1}, {"z": 1}], [{}]),
    (
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True},
        [[], [2, 1], [3, 1, 2]],
        [[1, 1], [1, 2, 1]],
    ),
    (
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 1},
        [[True], [False, True]],
        [[], [True, True]],
    ),
    (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
        [{"ab": 1}],
        [{"A": 1}, {"ab": "x"}],
    ),
    ({"type": "object", "propertyNames": {"enum": ["a", "b"]}}, [{"a": 1}, {}], [{"c": 1}]),
    (
        {"type": "object", "properties": {"id": AB["a"]}, "propertyNames": {"maxLength": 3}},
        [{"id": 1, "abc": 2}],
        [{"abcd": 1}, {"id": "x"}],
    ),
    (
        {
            "type": "object",
            "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 5}},
            "additionalProperties": False,
        },
        [{"ab": 6, "ax": 1, "xb": "s"}],
        [{"ab": 1}, {"ax": "s"}, {"x": 1}],
    ),
    ({"type": "string", "pattern": r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{4,6}$"}, ["aB3d"], ["abcd", "aB3dddd"]),
    ({"type": "string", "pattern": "b"}, ["abc", "b"], ["a", ""]),
    ({"type": "string", "pattern": r"^\d+$"}, ["12"], ["", "a"]),
    ({"$defs": {"p": {"$anchor": "pp", "type": "integer"}}, "type": "array", "items": {"$ref": "#pp"}}, [[1]], [["x"]]),
    ({"$id": "http://x.example/a", "$defs": {"p": {"$id": "b", "type": "null"}}, "$ref": "b"}, [None], [1]),
    (
        {
            "$schema": DRAFT_7,
            "definitions": {"a/b": {"type": "null"}},
            "properties": {"x": {"$ref": "#/definitions/a~1b", "type": "string"}},
        },
        [{"x": None}],
        [{"x": "s"}],
    ),
    (
        {
            "type": "object",
            "properties": {"v": AB["a"], "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["v", "next"],
        },
        [{"v": 1, "next": None}, {"v": 1, "next": {"v": 2, "next": None}}],
        [{"v": 1}, {"v": 1, "next": {"v": 2}}],
    ),
    (
        {"type": "array", "prefixItems": [AB["a"], {"type": "string"}], "items": False, "minItems": 2},
        [[1, "x"]],
        [[1], [1, "x", 1]],
    ),
    (
        {"$schema": DRAFT_7, "type": "array", "items": [AB["a"]], "additionalItems": {"type": "null"}},
        [[1, None], []],
        [["x"], [1, 1]],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "integer",
            "minimum": 3,
            "exclusiveMinimum": True,
        },
        [4],
        [3],
    ),
    (
        {
            "allOf": [
                {"properties": {"a": AB["a"]}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ],
            "type": "object",
        },
        [{"a": 1, "b": "x"}],
        [{"a": 1}, {"a": 1, "b": 1}],
    ),
    ({"type": "object", "properties": {"a": True}, "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    ({"type": "string", "x-guidance": {"lenient": True}, "minLength": 2}, ["ab"], ["a"]),
    ({"anyOf": [{"type": "string", "minLength": 5, "maxLength": 2}, {"type": "null"}]}, [None], ["a"]),
    ({"type": ["string", "null"], "enum": ["a", None]}, ["a", None], ["b"]),
    ({"const": 1.0}, [1], [2]),
    ({"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 2}, [1.5, 2], [3, 1.25]),
    ({"minLength": 5, "maxLength": 2}, [1, None], ["abc"]),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        [{"a": 1, "b": "x"}],
        [{"a": "x"}, {"b": 1}],
    ),
    (
        {
            "type": "object",
            "properties": {"n": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/x"}}},
        },
        [{}, {"m": 1}],
        [{"n": []}, {"n": 1}],
    ),
    ({"propertyNames": False}, [{}, 1], [{"a": 1}]),
    ({"propertyNames": True}, [{"a": 1}], []),
    ({"minProperties": 2, "maxProperties": 1}, [1, "a"], [{}, {"a": 1}]),
    ({"properties": {"n": {"$ref": "#/$defs/x"}}, "$defs": {"x": False}}, [{}, 1], [{"n": 1}]),
    ({}, [1, "x", None, [], {}, True], []),
    (True, [1, {"a": 1}], []),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), SERVED, ids=lambda value: json.dumps(value)[:70])
def test_what_is_served_is_served_exactly(check_schema, schema, valid, invalid) -> None:
    check_schema(schema, valid, invalid)


UNSATISFIABLE = [
    ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength", "#/minLength"),
    ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum", "#/minimum"),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "exclusiveMinimum", "#/exclusiveMinimum"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems", "#/minItems"),
    ({"type": "object", "minProperties": 3, "maxProperties": 2}, "minProperties", "#/minProperties"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "required", "#/required"),
    ({"enum": []}, "enum", "#/enum"),
    ({"type": "string", "const": 5}, "type", "#/type"),
    (False, None, "#"),
    ({"$ref": "#"}, "$ref", "#/$ref"),
    (
        {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
        "$ref",
        "#/properties/n/$ref",
    ),
    (
        {
            "type": "object",
            "properties": {
                "x": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 5, "maxLength": 2}}
            },
            "required": ["x"],
        },
        "minLength",
        "#/properties/x/items/minLength",
    ),
]


@pytest.mark.parametrize(("schema", "keyword", "pointer"), UNSATISFIABLE, ids=lambda value: json.dumps(value)[:70])
def test_what_nothing_satisfies_is_refused_with_its_place(schema, keyword, pointer) -> None:
    with pytest.raises(GrammarError) as caught:
        normalise(json.dumps(schema))
    assert (caught.value.code, caught.value.keyword, caught.value.pointer) == ("unsatisfiable_schema", keyword, pointer)


INVALID = [
    ([1], "#"),
    ("x", "#"),
    ({"type": "strin"}, "#/type"),
    ({"properties": {"a": 5}}, "#/properties"),
    ({"properties": {"a": {"pattern": "([a"}}}, "#/properties/a/pattern"),
    ({"pattern": 5}, "#/pattern"),
    ({"required": "a"}, "#/required"),
    ({"minLength": -1}, "#/minLength"),
    ({"minLength": 1.5}, "#/minLength"),
    ({"anyOf": []}, "#/anyOf"),
    ({"items": 5}, "#/items"),
    ({"multipleOf": 0}, "#/multipleOf"),
    ({"$ref": "#/nowhere"}, "#/$ref"),
    ({"$ref": "http://169.254.169.254/latest"}, "#/$ref"),
    ({"$ref": "file:///etc/passwd"}, "#/$ref"),
    ({"items": {"$ref": "#nowhere"}}, "#/items/$ref"),
]


@pytest.mark.parametrize(("schema", "pointer"), INVALID, ids=lambda value: json.dumps(value)[:70])
def test_what_is_no_schema_is_refused_with_its_place(schema, pointer) -> None:
    with pytest.raises(GrammarError) as caught:
        normalise(json.dumps(schema))
    assert (caught.value.code, caught.value.pointer) == ("invalid_schema", pointer)


WRONG = [None, 1, "x", True, [1], [None], {"a": 1}]
AROUND = {
    "oneOf/0": lambda inner: {"oneOf": [inner, {"type": "string"}]},
    "not": lambda inner: {"not": inner},
    "if": lambda inner: {"if": inner, "then": {"type": "string"}},
    "oneOf/1/allOf/0": lambda inner: {"oneOf": [{"type": "object", "required": ["a"]}, {"allOf": [inner]}]},
    "propertyNames": lambda inner: {"propertyNames": inner},
    "anyOf/0": lambda inner: {"unevaluatedProperties": False, "anyOf": [inner]},
    "$defs/a~1b": lambda inner: {"not": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": inner}},
}


@pytest.mark.parametrize("place", AROUND)
@pytest.mark.parametrize("keyword", sorted(CHECKS))
def test_a_wrong_value_deep_inside_is_refused_with_its_place(place: str, keyword: str) -> None:
    for wrong in WRONG:
        if CHECKS[keyword][0](wrong):
            continue
        with pytest.raises(GrammarError) as caught:
            normalise(json.dumps(AROUND[place]({keyword: wrong})))
        assert (caught.value.code, caught.value.pointer) == ("invalid_schema", f"#/{place}/{keyword}"), wrong


UNSUPPORTED = [
    ({"oneOf": [{"format": "date"}, {"format": "time"}]}, "oneOf"),
    ({"type": "string", "not": {"format": "email"}}, "not"),
    ({"if": {"format": "date"}, "then": {"minLength": 3}}, "if"),
    (
        {
            "anyOf": [{"properties": {f"p{i}": True}} for i in range(9)],
            "unevaluatedProperties": False,
        },
        "unevaluatedProperties",
    ),
    ({"type": "string", "pattern": r"(a)\1"}, "pattern"),
]


@pytest.mark.parametrize(("schema", "keyword"), UNSUPPORTED, ids=lambda value: json.dumps(value)[:70])
def test_what_cannot_be_exact_is_refused_and_never_loosened(schema, keyword) -> None:
    with pytest.raises(GrammarError) as caught:
        normalise(json.dumps(schema))
    assert caught.value.code == "unsupported_schema"
    assert caught.value.keyword == keyword
    assert caught.value.pointer.startswith("#/")


def test_annotations_are_listed_and_strict_refuses_formats() -> None:
    schema = {"type": "string", "format": "zip-code", "colour": "red", "title": "t", "x-mine": 1}
    assert set(normalise(json.dumps(schema)).ignored) == {"#/format", "#/colour"}
    with pytest.raises(GrammarError, match="format"):
        normalise(json.dumps(schema), strict=True)


def test_strict_closes_objects(check_schema) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": True}}}}
    check_schema(schema, [{}, {"a": {"b": 1}}], [{"c": 1}, {"a": {"c": 1}}], strict=True)
    check_schema({"anyOf": [schema, {"type": "null"}]}, [None, {"a": {}}], [{"c": 1}], strict=True)
    check_schema({**schema, "additionalProperties": True}, [{"c": 1}], strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "nul",
        '{"a":NaN}',
        "[" * 100_000,
        '{"items":' * 5000 + "{}" + "}" * 5000,
        '{"const":' + "1" * 9000 + "}",
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        normalise(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("whitespace", ["compact", "fixed", "flexible"])
def test_white_space_is_as_asked(compiler, accepts, draw, whitespace) -> None:
    grammar = compiler.compile(
        JsonSchema(
            '{"type":"object","properties":{"a":{"enum":[[1,2]]}},"required":["a"],"additionalProperties":false}',
            whitespace,
        )
    )
    forms = {"compact": '{"a":[1,2]}', "fixed": '{"a": [1, 2]}', "flood": '{ \n\n\n"a":   [1,2]}'}
    assert accepts(grammar, forms["compact"]) == (whitespace != "fixed")
    assert accepts(grammar, forms["fixed"]) == (whitespace != "compact")
    assert not accepts(grammar, forms["flood"])
    for seed in range(5):
        text, is_complete = draw(grammar, seed)
        assert is_complete
        assert json.loads(text) == {"a": [1, 2]}


def test_a_key_cannot_be_repeated_in_disguise(compiler, accepts) -> None:
    grammar = compiler.compile(JsonSchema('{"type":"object","properties":{"a":{"type":"integer"}}}'))
    assert not accepts(grammar, '{"a": 1, "\\u0061": "x"}')
    assert not accepts(grammar, '{"\\u0061": "x"}')


def test_deep_schemas_are_served(compiler, accepts) -> None:
    schema: dict = {"type": "integer"}
    for _ in range(64):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    assert accepts(grammar, '{"a": ' * 64 + "5" + "}" * 64)
    assert not accepts(grammar, '{"a": ' * 63 + "5" + "}" * 63)
