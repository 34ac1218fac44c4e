import json

import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import StructuralTag
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

INTEGER = {"type": "json_schema", "json_schema": {"type": "integer"}}


def functions(*names: str) -> dict:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    return {
        "type": "structural_tag",
        "triggers": ["<f"],
        "structures": [{"begin": f"<f={name}>", "schema": schema, "end": "</f>"} for name in names],
    }


def new(**fields: object) -> dict:
    return {"type": "structural_tag", "format": fields}


TAGS = [{"begin": "<t>", "content": INTEGER, "end": "</t>"}]
CASES = [
    (
        functions("foo", "bar"),
        ["", "hello", 'hi <f=foo>{"a": 1}</f> and <f=bar>{"a": 2}</f>.', "a < b <", '<f=foo>{"a": 1}</f>'],
        ["<f", "<f=baz>", '<f=foo>{"a": 1}', 'x <f=foo>{"a": "x"}</f>', "see <f"],
    ),
    (
        {
            "triggers": ["<f>", "<g>"],
            "structures": [
                {"begin": "<f>", "schema": {"enum": [1, 2]}, "end": "</f>"},
                {"begin": "<g>", "schema": {"const": "x"}, "end": ""},
            ],
        },
        ["<f>1</f>", 'a<g>"x"b', '<g>"x"<f>2</f>'],
        ["<f>3</f>", "<g>1", '<f>"x"</f>'],
    ),
    (
        new(type="triggered_tags", triggers=["<t>"], tags=TAGS, at_least_one=True, stop_after_first=True),
        ["a<t>5</t>", "<t>5</t>"],
        ["", "a", "<t>5</t>x", "<t>a</t>"],
    ),
    (
        new(type="triggered_tags", triggers=["<t>"], tags=TAGS, stop_after_first=True),
        ["", "abc", "a<t>5</t>"],
        ["<t>5</t><t>5</t>"],
    ),
    (new(type="tag", begin="A", content={"type": "any_text"}, end="B"), ["AB", "Axx AB"], ["A", "AxBy", "B"]),
    (
        new(type="tag", begin="A", content={"type": "regex", "pattern": "[a-z]+"}, end=["!", "?"]),
        ["Ax!", "Axyz?"],
        ["A!", "Ax"],
    ),
    (
        new(
            type="sequence",
            elements=[
                {"type": "const_string", "value": "x:"},
                {"type": "tag", "begin": "<w>", "content": {"type": "any_text"}, "end": "</w>"},
                INTEGER,
            ],
        ),
        ["x:<w></w>5", "x:<w>ab < c</w>12"],
        ["x:5", "x:<w>ab5", "x:<w></w>a"],
    ),
    (
        new(
            type="json_schema", json_schema={"type": "object", "properties": {"a": INTEGER["json_schema"]}}, strict=True
        ),
        ["{}", '{"a": 5}'],
        ['{"b": 1}', '{"a": 5, "b": 1}'],
    ),
    (new(type="or", elements=[{"type": "const_string", "value": "yes"}, INTEGER]), ["yes", "12"], ["", "yes12", "no"]),
    (
        new(
            type="tags_with_separator",
            separator=", ",
            at_least_one=True,
            tags=[
                {"begin": "<a>", "content": INTEGER, "end": "</a>"},
                {"begin": "<b>", "content": {"type": "const_string", "value": "x"}, "end": "</b>"},
            ],
        ),
        ["<a>1</a>", "<a>1</a>, <b>x</b>, <a>2</a>"],
        ["", "<a>1</a><b>x</b>", "<a>1</a>, "],
    ),
]


CASES += [
    (new(type="any_text", excludes=["bad"]), ["", "ba d", "good"], ["bad", "very bad", "badly"]),
    (
        new(type="triggered_tags", triggers=["<t>"], tags=TAGS, excludes=["no"]),
        ["yes", "a<t>5</t>n o"],
        ["no", "no<t>5</t>", "<t>5</t> no"],
    ),
    (new(type="optional", content=INTEGER), ["", "5"], ["5 5", "x"]),
    (new(type="plus", content={"type": "const_string", "value": "ab"}), ["ab", "abab"], ["", "aba"]),
    (new(type="star", content={"type": "const_string", "value": "ab"}), ["", "ababab"], ["aba", "b"]),
]


@pytest.mark.parametrize(("spec", "valid", "invalid"), CASES, ids=lambda value: json.dumps(value)[:50])
def test_tags_constrain_their_parts_and_nothing_else(compiler, accepts, draw, spec, valid, invalid) -> None:
    grammar = compiler.compile(StructuralTag(json.dumps(spec)))
    for answer in valid:
        assert accepts(grammar, answer), answer
    for answer in invalid:
        assert not accepts(grammar, answer), answer
    for seed in range(6):
        answer, is_complete = draw(grammar, seed, 30)
        assert not is_complete or accepts(grammar, answer)


REFUSED = [
    ([], "#"),
    ({}, "#/format"),
    ({"format": {"type": "xml"}}, "#/format/type"),
    ({"triggers": ["<a"], "structures": [{"begin": "<b", "schema": {}, "end": ""}]}, "#/structures/0/begin"),
    (
        {"triggers": ["<a"], "structures": [{"begin": "<a", "schema": {"type": "x"}, "end": ""}]},
        "#/structures/0/schema/type",
    ),
    ({"triggers": ["<a"], "structures": [{"begin": "<a", "schema": {}}]}, "#/structures/0/end"),
    ({"triggers": [""], "structures": []}, "#/triggers"),
    ({"triggers": ["a", "ba"], "structures": []}, "#/triggers/0"),
    (
        {"triggers": ["<a"], "structures": [{"begin": b, "schema": {}, "end": ""} for b in ("<a", "<ab")]},
        "#/structures",
    ),
    (new(type="sequence", elements=[{"type": "any_text"}, INTEGER]), "#/format/elements/0"),
    ({"triggers": ["<a"], "structures": [], "at_least_one": True}, "#/at_least_one"),
    (
        {"triggers": ["<a"], "structures": [{"begin": "<a", "schema": {}, "end": "", "strict": True}]},
        "#/structures/0/strict",
    ),
    (new(type="const_string", value="a", text="b"), "#/format/text"),
    (new(type="or", elements=[]), "#/format/elements"),
    ({"type": "tag", "format": {"type": "any_text"}}, "#/type"),
    (new(type="regex", pattern="("), "#/format/pattern"),
    (new(type="tag", begin="A", content={"type": "regex", "pattern": r"(a)\1"}, end="B"), "#/format/content/pattern"),
    (new(type="triggered_tags", tags=[], triggers=["<"], at_least_one="yes"), "#/format/at_least_one"),
    (new(type="triggered_tags", tags=TAGS, triggers=["<t>"], stop_after_first=5), "#/format/stop_after_first"),
    (new(type="tags_with_separator", tags=TAGS, stop_after_first="no"), "#/format/stop_after_first"),
    (new(type="json_schema", json_schema={}, strict="x"), "#/format/strict"),
    (new(type="tags_with_separator", tags=[], separator=",", at_least_one=True), "#/format/tags"),
    (new(type="triggered_tags", tags=[], triggers=["<"], at_least_one=True), "#/format/tags"),
    (new(type="triggered_tags", tags=[], triggers=["<ab"], excludes=["x", "a"]), "#/format/excludes/1"),
    (
        new(type="tag", begin="A", content={"type": "any_text", "excludes": ["b"]}, end=["a", "bb"]),
        "#/format/content/excludes/0",
    ),
    (
        new(type="tag", begin="A", content={"type": "regex", "pattern": r"a^b"}, end="B"),
        "#/format/content/pattern",
    ),
    (new(type="tag", begin="A", content={"type": "any_text", "max": 5}, end="B"), "#/format/content/max"),
    (
        new(
            type="tag",
            begin="A",
            content={
                "type": "optional",
                "content": {"type": "json_schema", "json_schema": {"type": "number", "not": {"type": "integer"}}},
            },
            end="B",
        ),
        "#/format/content/content/json_schema/not",
    ),
]


@pytest.mark.parametrize(("spec", "pointer"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_is_wrong_is_refused_with_its_place(compiler, spec, pointer) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(StructuralTag(json.dumps(spec)))
    assert caught.value.pointer == pointer


def test_many_tools_in_one_request(compiler, accepts) -> None:
    grammar = compiler.compile(StructuralTag(json.dumps(functions(*(f"tool_{i}!" for i in range(200))))))
    assert accepts(grammar, 'x <f=tool_117!>{"a": 1}</f>')
    assert not accepts(grammar, 'x <f=tool_200!>{"a": 1}</f>')


SPECIAL = Vocabulary(
    [b"</s>", b"<call>", b"</call>", b"<other>", *(bytes([b]) for b in range(256))],
    frozenset({0}),
    frozenset({0, 1, 2, 3}),
    280,
)
CALL = {
    "triggers": ["<call>"],
    "structures": [{"begin": "<call>", "schema": {"enum": [1, 2]}, "end": "</call>"}],
}


def ids(*parts: str | int) -> list[int]:
    return [t for part in parts for t in ([part] if isinstance(part, int) else [4 + b for b in part.encode()])]


@pytest.mark.parametrize(
    ("answer", "num_allowed"),
    [
        (ids("hi ", 1, "1", 2, " ok", 0), None),
        (ids("hi <call>1</call>", 0), None),
        (ids("hi <call>1", 2, 0), None),
        (ids(1, "1", 2, 1, "2</call>", 0), None),
        (ids("hi", 2, 0), 2),
        (ids(1, "3"), 1),
        (ids(3, "1"), 0),
        (ids(1, "1", 0), 2),
    ],
)
def test_a_special_token_may_begin_and_end_a_tag(answer: list[int], num_allowed: int | None) -> None:
    grammar = compile_constraint(StructuralTag(json.dumps(CALL)), SPECIAL)
    assert grammar.matcher().would_accept(answer) == (len(answer) if num_allowed is None else num_allowed)


@pytest.mark.parametrize(
    ("answer", "is_whole"),
    [
        (ids(1, "a", 3, "b", 2, 0), True),
        (ids("<call>a<other>b</call>", 0), True),
        (ids(1, "a<other>b", 2, 0), True),
        (ids(1, "b", 3, "a", 2, 0), False),
    ],
)
def test_special_tokens_may_stand_anywhere_in_a_constant(answer: list[int], is_whole: bool) -> None:
    spec = new(type="const_string", value="<call>a<other>b</call>")
    grammar = compile_constraint(StructuralTag(json.dumps(spec)), SPECIAL)
    assert (grammar.matcher().would_accept(answer) == len(answer)) == is_whole


def test_special_tokens_that_no_tag_names_stay_out() -> None:
    grammar = compile_constraint(StructuralTag(json.dumps(CALL)), SPECIAL)
    matcher = grammar.matcher()
    row = mask.allocate(1, SPECIAL.words)[0]
    for token_id in ids("hi ", 1, "1"):
        matcher.fill(row)
        assert 3 not in mask.to_ids(row)
        assert token_id in mask.to_ids(row)
        assert matcher.accept(token_id)
