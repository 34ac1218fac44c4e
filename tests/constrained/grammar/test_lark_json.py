"""JSON schemas in Lark grammars are enforced as everywhere."""

import pytest

from radixlang.constrained.constraint import Grammar
from radixlang.constrained.grammar.lark_json import with_read_json
from radixlang.errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar

OBJECT = (
    '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}'
)


def test_a_document_has_no_white_space_without_end(compiler, accepts):
    grammar = compiler.compile(Grammar(f'start: "x" %json {OBJECT} "y"', "lark"))
    assert accepts(grammar, 'x{"a": 1}y')
    for text in ('x{ "a": 1}y', 'x{"a":  1}y', 'x{"a": "1"}y', 'x{"a": 1}'):
        assert not accepts(grammar, text)


def test_what_the_engine_does_not_read_is_rewritten(compiler, accepts):
    one = Grammar('start: "a" %json {"oneOf": [{"type": "string"}, {"type": "boolean"}]}', "lark")
    grammar = compiler.compile(one)
    assert accepts(grammar, 'a"x"')
    assert not accepts(grammar, "a5")


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ('{"const": 9007199254740993}', "const"),
        ('{"enum": [-9223372036854775808]}', "enum"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"x-guidance": {"lenient": true}, "contains": {}}', "lenient"),
        ('{"$ref": "http://example.com/a"}', "$ref"),
    ],
)
def test_what_would_be_loosened_is_refused(compiler, schema, keyword):
    source = f'start: "a"\n  | %json {schema}'
    with pytest.raises(UnsupportedGrammar, match="line 2") as caught:
        compiler.compile(Grammar(source, "lark"))
    assert caught.value.keyword == keyword
    with pytest.raises(UnsupportedGrammar):
        compiler.check(Grammar(source, "lark"))


def test_only_schemas_are_read():
    for source in ('start: "%json {" /%json \\{/ // %json {', "start: /a/ | B\nB: /[/]x/", ""):
        assert with_read_json(source) == source
    ours = 'start: %json {"x-guidance": {"whitespace_flexible": false}, "type": "null"}'
    assert with_read_json(ours) == ours


def test_lines_stay_where_they_were():
    source = 'start: %json {\n"type":\n"null"}\n | foo'
    assert with_read_json(source).count("\n") == source.count("\n")


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ('start: (("a"', 1, 13),
        ("start: /a", 1, 10),
        ("start: b\nb: foo", 2, 4),
        ('start: %json {"type":', 1, 22),
        ('start: "a"\nb: %json [1', 2, 12),
        ('start: %json {"maximum": ' + "1" * 5000 + "}", 1, 14),
    ],
)
def test_errors_have_their_place_and_a_caret(compiler, source, line, column):
    with pytest.raises(GrammarSyntaxError) as caught:
        compiler.compile(Grammar(source, "lark"))
    assert (caught.value.line, caught.value.column) == (line, column)
    assert f"(line {line}, column {column})" in caught.value.message


def test_a_caret_stands_below_the_fault(compiler):
    with pytest.raises(GrammarError) as caught:
        compiler.compile(Grammar("start: b\nb: foo", "lark"))
    assert caught.value.message.endswith("b: foo\n   ^")


def test_a_grammar_of_millions_of_characters_is_refused(compiler):
    with pytest.raises(GrammarTooLarge):
        compiler.compile(Grammar('start: "a"\n' + "// x\n" * 300_000, "lark"))
