"""Documents drawn from the grammar against Python's own parser, and content models against regular expressions."""

import json
import random
import re
import xml.etree.ElementTree as ET

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from radixlang.constrained import mask
from radixlang.constrained.constraint import Grammar, Xml
from radixlang.constrained.grammar.reader import read as read_ebnf
from radixlang.constrained.grammar.writer import write
from radixlang.constrained.grammar.xml import rules_of
from radixlang.constrained.grammar.xml_spec import Particle, content_model
from radixlang.constrained.grammar.xml_spec import read as read_spec
from radixlang.errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar

DTD = """<!-- people -->
<!ELEMENT person (name, phone*, (mail | web)?, note?)>
<!ATTLIST person id NMTOKEN #REQUIRED kind (a|b) "a"
                 lang CDATA #IMPLIED>
<!ELEMENT name (#PCDATA)> <!ELEMENT phone (#PCDATA)> <!ELEMENT mail EMPTY> <!ELEMENT web (#PCDATA)>
<!ELEMENT note (#PCDATA | b)*> <!ELEMENT b (#PCDATA)>"""
TREE = {  # recursive: llguidance's
    "root": "node",
    "elements": {
        "node": {"content": "(value, node{0,2})", "attributes": {"id": {"type": "integer", "required": False}}},
        "value": {"text": {"pattern": '[<>&"a-c]{0,3}'}},
    },
}
TYPED = {
    "elements": {
        "row": {"content": "(n, x, yes, kind, s)"},
        "n": {"text": "integer"},
        "x": {"text": "number"},
        "yes": {"text": "boolean"},
        "kind": {"text": {"enum": ["a<b", "R&D", "plain"]}},
        "s": {"text": {"type": "string", "minLength": 1, "maxLength": 3}},
    }
}
SPECS = [DTD, json.dumps(TREE), json.dumps(TYPED)]


def model_as_regex(particle: Particle | None) -> str:
    """The content model as a pattern over the children's tags, each followed by a semicolon."""
    if particle is None or particle.kind == "text":
        return ""
    if particle.kind == "element":
        inner = re.escape(particle.name) + ";"
    else:
        inner = ("|" if particle.kind == "choice" else "").join(map(model_as_regex, particle.parts))
    return f"(?:{inner}){{{particle.low},{'' if particle.high is None else particle.high}}}"


def check(spec: str, text: str) -> None:
    """The document is well formed, and each of its elements as the specification says."""
    document = read_spec(spec)
    root = ET.fromstring(text)
    assert root.tag == document.elements[document.root].tag
    for node in root.iter():
        element = document.elements[node.tag]
        children = "".join(child.tag + ";" for child in node)
        assert re.fullmatch(model_as_regex(element.content), children), (node.tag, children)
        known = {attribute.name: attribute for attribute in element.attributes}
        assert set(node.attrib) <= set(known)
        assert {name for name, a in known.items() if a.is_required} <= set(node.attrib)
        for name, value in node.attrib.items():
            check_type(known[name].kind, value)
        if element.text is not None:
            check_type(element.text, node.text or "")


def check_type(kind, value: str) -> None:
    kind = {"type": kind} if isinstance(kind, str) else kind
    if "enum" in kind:
        assert value in kind["enum"]
    elif "pattern" in kind:
        assert re.fullmatch(kind["pattern"], value)
    elif kind["type"] == "string":
        assert kind.get("minLength", 0) <= len(value) <= kind.get("maxLength", 10**6)
    else:
        {"integer": int, "number": float, "boolean": lambda v: {"true": 1, "false": 0}[v]}[kind["type"]](value)


@pytest.fixture(scope="session")
def draw_short(vocabulary):
    """A document drawn at random that ends its texts soon, or None."""

    def sample(grammar, seed: int) -> str | None:
        rng, matcher, token_ids = random.Random(seed), grammar.matcher(), []
        row = mask.allocate(1, vocabulary.words)[0]
        while not matcher.is_accepting and len(token_ids) < 300:
            matcher.fill(row)
            allowed = [t for t in mask.to_ids(row) if vocabulary.is_text(t)]
            ends = [t for t in allowed if vocabulary.token_bytes[t] in (b"<", b'"')]
            token_id = rng.choice(ends if ends and rng.random() < 0.5 else allowed)
            assert matcher.accept(token_id)
            token_ids.append(token_id)
        return vocabulary.join(token_ids).decode() if matcher.is_accepting else None

    return sample


@pytest.mark.parametrize("whitespace", ["compact", "fixed", "flexible"])
@pytest.mark.parametrize("spec", SPECS, ids=["dtd", "tree", "typed"])
def test_what_is_drawn_parses_and_is_as_declared(compiler, draw_short, spec: str, whitespace) -> None:
    grammar = compiler.compile(Xml(spec, whitespace))
    texts = [text for seed in range(25) if (text := draw_short(grammar, seed)) is not None]
    assert len(set(texts)) > 3
    for text in texts:
        check(spec, text)


def test_what_is_declared_is_accepted_and_nothing_else(compiler, accepts) -> None:
    grammar = compiler.compile(Xml(DTD))
    for text in (
        '<person id="a1"><name></name></person>',
        '<person id="x" kind="b" lang="&quot;é&amp;"><name>A &lt; B</name><phone>1</phone><phone>2</phone></person>',
        '<person id="x"><name>n</name><mail/><note>a<b>c</b> d</note></person>',
    ):
        check(DTD, text)
        assert accepts(grammar, text)
    for text in (
        "<person><name></name></person>",  # no id
        '<person id="x y"><name></name></person>',
        '<person id="x"><phone>1</phone><name></name></person>',  # order
        '<person id="x"><name>a & b</name></person>',
        '<person id="x"><name>]]></name></person>',
        '<person id="x"><name>\x01</name></person>',
        '<person id="x"><name></name><mail></mail></person>',  # written <mail/>
        '<person id="x"> <name></name></person>',
        '<person id="x"><name></name></person>\n',
    ):
        assert not accepts(grammar, text)
    flexible = compiler.compile(Xml(DTD, "flexible"))
    assert accepts(flexible, '<person id="x">\n  <name></name>\n</person>')


def test_html_has_void_elements_and_end_tags(compiler, accepts) -> None:
    spec = {"html": True, "elements": {"p": {"content": "(#PCDATA | br | i)*"}, "br": {}, "i": {}}}
    grammar = compiler.compile(Xml(json.dumps(spec)))
    assert accepts(grammar, "<p>a<br>b &amp; c<i></i></p>")
    assert not accepts(grammar, "<p>a<br/></p>")
    assert not accepts(grammar, "<p><i/></p>")


def test_elements_of_one_name_may_differ_by_their_place(compiler, accepts) -> None:
    spec = {
        "elements": {
            "all": {"content": "(a.name, b)"},
            "a.name": {"name": "name", "text": "integer"},
            "b": {"content": "(b.name)"},
            "b.name": {"name": "name", "text": "boolean"},
        }
    }
    grammar = compiler.compile(Xml(json.dumps(spec)))
    assert accepts(grammar, "<all><name>1</name><b><name>true</name></b></all>")
    assert not accepts(grammar, "<all><name>true</name><b><name>1</name></b></all>")


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ("<!ELEMENT a (b)>", GrammarSyntaxError, "'b', in the content of 'a', is not declared"),
        ("<!ELEMENT a (b, c | d)>", GrammarSyntaxError, "line 1, column 19"),
        ("<!ELEMENT a EMPTY>\n<!ELEMENT a EMPTY>", GrammarSyntaxError, "declared twice"),
        ("<!ELEMENT a ANY>", UnsupportedGrammar, "ANY"),
        ("<!ENTITY x 'y'>", UnsupportedGrammar, "ENTITY"),
        ("<!ELEMENT a EMPTY><!ATTLIST a x ID #REQUIRED>", UnsupportedGrammar, "NMTOKEN"),
        ("", GrammarSyntaxError, "there is no element"),
        ("hello", GrammarSyntaxError, "line 1, column 1"),
        ('{"elements": {"a": {"text": "strin"}}}', GrammarError, "#/elements/a/text"),
        ('{"elements": {"a": {"txt": "string"}}}', UnsupportedGrammar, "#/elements/a/txt"),
        ('{"elements": {"a b": {}}}', GrammarError, "#/elements/a b"),
        ('{"root": "b", "elements": {"a": {}}}', GrammarSyntaxError, "'b' is not declared"),
        ('{"elements": {"a": {"content": "(b"}}}', GrammarError, "too early"),
        ("<!ELEMENT a (" + "(" * 300 + "b" + ")" * 300 + ")>", GrammarTooLarge, "nested"),
        ('{"elements": {"a": {"text": {"pattern": "a(?=b)b"}}}}', UnsupportedGrammar, "look around"),
        ("<!ELEMENT a (a)>", GrammarError, "without end"),
        ('{"elements": {"a": {"text": {"pattern": "("}}}}', GrammarSyntaxError, "(at #/elements/a/text/pattern)"),
        ('{"elements": {"a": {"text": {"type": "string", "maxLength": true}}}}', GrammarError, "#/elements/a/text"),
        ('<!ELEMENT a EMPTY><!ATTLIST a b (x|) "x">', GrammarSyntaxError, "line 1, column 33"),
        ('<!ELEMENT a EMPTY><!ATTLIST a b (x|y) "z">', GrammarSyntaxError, "line 1, column 39"),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_place(compiler, spec: str, kind, told: str) -> None:
    with pytest.raises(kind, match=re.escape(told)):
        compiler.compile(Xml(spec))


NAMES = st.sampled_from(["a", "b"])
MODELS = st.recursive(
    NAMES,
    lambda inner: st.builds(
        lambda parts, separator, mark: f"({separator.join(parts)}){mark}",
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from([",", "|"]),
        st.sampled_from(["", "?", "*", "+", "{1,2}"]),
    ),
    max_leaves=5,
)


@settings(max_examples=60)
@given(MODELS, st.lists(NAMES, max_size=4))
def test_a_content_model_is_the_regular_expression_it_looks_like(compiler, accepts, model: str, tags) -> None:
    spec = {"elements": {"r": {"content": f"({model})"}, "a": {}, "b": {}}}
    text = f"<r>{''.join(f'<{tag}/>' for tag in tags)}</r>"
    expected = re.fullmatch(model_as_regex(content_model(f"({model})")), "".join(tag + ";" for tag in tags))
    assert accepts(compiler.compile(Xml(json.dumps(spec))), text) == (expected is not None)


@pytest.mark.parametrize("spec", SPECS, ids=["dtd", "tree", "typed"])
def test_the_rules_can_be_written_as_ebnf(compiler, draw_short, accepts, spec: str) -> None:
    text = write(rules_of(spec))
    assert len(read_ebnf(text)) == len(rules_of(spec))
    grammar = compiler.compile(Grammar(text))
    for seed in range(6):
        document = draw_short(compiler.compile(Xml(spec)), seed)
        if document is not None:
            assert accepts(grammar, document)
            assert not accepts(grammar, document + " ")


def test_a_declaration_that_does_not_end_is_refused_at_once():
    """Not after every way of telling its white space apart: 200,000 blanks would take hours."""
    with pytest.raises(GrammarSyntaxError):
        rules_of("<!ELEMENT" + " " * 200_000)


def test_many_texts_of_an_element_are_served(compiler, accepts):
    spec = {"elements": {"a": {"text": {"enum": [f"R&D {n}" for n in range(3000)]}}}}
    grammar = compiler.compile(Xml(json.dumps(spec)))
    assert accepts(grammar, "<a>R&amp;D 2999</a>")
    assert not accepts(grammar, "<a>R&amp;D 3000</a>")


def test_an_element_that_would_hold_itself_for_ever_is_never_begun(compiler, accepts):
    grammar = compiler.compile(Xml("<!ELEMENT a (b|c)*><!ELEMENT b (a, b)><!ELEMENT c EMPTY>"))
    assert accepts(grammar, "<a><c/><c/></a>")
    token_ids = compiler.vocabulary.tokenize(b"<a><b")
    assert grammar.matcher().would_accept(token_ids) < len(token_ids)
