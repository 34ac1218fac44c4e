"""Whatever is sent as a constraint is read or refused with one of our errors, never anything else."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.constraint import Choice, Grammar, JsonSchema, Regex, StructuralTag
from radixlang.constrained.fields import FIELD_NAMES, constraint_from_fields
from radixlang.constrained.translate import check_constraint, compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
REGEX = st.text(st.sampled_from("ab01.*+?{}[]()|^$\\dwsbBAZpx,-:=!<>P&~é中\n"), max_size=14)
EBNF = st.lists(
    st.sampled_from(
        [
            "root",
            "::=",
            "x",
            '"a"',
            "[a-z]",
            "(",
            ")",
            "|",
            "*",
            "+",
            "?",
            "{2}",
            "{1,",
            "}",
            "\n",
            "#",
            '"',
            "[",
            "]",
            "\\",
            ".",
        ]
    ),
    max_size=14,
).map(" ".join)
KEYWORDS = st.sampled_from(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "items",
        "prefixItems",
        "contains",
        "minItems",
        "maxItems",
        "uniqueItems",
        "unevaluatedItems",
        "unevaluatedProperties",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$dynamicRef",
        "$defs",
        "$id",
        "$anchor",
        "a",
        "b",
        "^a",
        "b$",
        "string",
        "integer",
        "object",
        "array",
        "null",
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 5),
        st.floats(-2, 3),
        KEYWORDS,
        st.sampled_from(["#", "#/$defs/a", "^a", "([", "date"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYWORDS, inner, max_size=4)),
    max_leaves=14,
)
SCHEMAS = st.dictionaries(KEYWORDS, VALUES, max_size=5)
TAG_KEYS = st.sampled_from(
    [
        "type",
        "format",
        "triggers",
        "structures",
        "tags",
        "begin",
        "end",
        "content",
        "schema",
        "json_schema",
        "value",
        "elements",
        "pattern",
        "separator",
    ]
)
TAG_VALUES = st.sampled_from(
    [
        "structural_tag",
        "tag",
        "triggered_tags",
        "sequence",
        "or",
        "regex",
        "const_string",
        "json_schema",
        "any_text",
        "<a",
        "<ab",
        "a",
    ]
)
TAGS = st.dictionaries(
    TAG_KEYS,
    st.recursive(
        st.one_of(TAG_VALUES, st.none(), st.integers(0, 2)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TAG_KEYS, inner, max_size=4)),
        max_leaves=10,
    ),
    max_size=4,
)


def refusal(call) -> GrammarError | None:
    try:
        call()
    except GrammarError as error:
        return error
    return None


def read(constraint) -> None:
    """Compiling finds no other errors than ours, and no fewer than checking."""
    checked = refusal(lambda: check_constraint(constraint))
    compiled = refusal(lambda: compile_constraint(constraint, VOCABULARY))
    assert checked is None or compiled is not None
    assert all(error.status == 400 and error.code for error in (checked, compiled) if error is not None)


@settings(max_examples=250, deadline=None)
@given(REGEX)
def test_any_regex(pattern: str) -> None:
    read(Regex(pattern))


@settings(max_examples=200, deadline=None)
@given(EBNF, st.sampled_from(["ebnf", "gbnf", "lark"]))
def test_any_grammar(text: str, syntax) -> None:
    read(Grammar(text, syntax))


@settings(max_examples=300, deadline=None)
@given(SCHEMAS)
def test_any_schema(schema: dict) -> None:
    read(JsonSchema(json.dumps(schema)))
    read(JsonSchema(json.dumps(schema), strict=True))


@settings(max_examples=150, deadline=None)
@given(TAGS)
def test_any_structural_tag(spec: dict) -> None:
    read(StructuralTag(json.dumps(spec)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=4), max_size=5))
def test_any_choices(choices: list[str]) -> None:
    read(Choice(tuple(choices)))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FIELD_NAMES)), st.one_of(VALUES, TAGS), max_size=3))
def test_any_fields(fields: dict) -> None:
    error = refusal(lambda: constraint_from_fields(fields))
    assert error is None or error.status == 400
