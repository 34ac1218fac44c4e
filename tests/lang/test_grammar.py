from __future__ import annotations

import dataclasses
import json
import re
import threading

import pytest

import radixlang as sgl
from radixlang.lang.grammar import Grammar
from radixlang.lang.grammar_data import grammar_text, read_grammar

g = sgl.grammar


def test_parts_add_up_to_a_regex_that_reads_its_captures():
    person = g.seq("(1) Name: ", g.rx("[A-Z][a-z]+").capture("name"), g.opt(g.seq(", ", g.rx("[0-9]+").capture("age"))))
    assert person.read("(1) Name: Anna, 31") == {"name": "Anna", "age": "31"}
    assert person.read("(1) Name: Anna") == {"name": "Anna", "age": None}
    assert re.fullmatch(person.regex(), "(1) Name: Bo, 7")
    assert "?P<" not in person.regex()
    assert re.fullmatch(g.many(g.alt("a", g.lit("b.")), 1, 3).regex(), "ab.a")
    assert not re.fullmatch(g.many("a", 1, 3).regex(), "aaaa")
    with pytest.raises(sgl.ProgramError, match="max_tokens"):
        person.read("(1) Na")
    with pytest.raises(ValueError, match="twice"):
        g.seq(g.lit("a").capture("x"), g.lit("b").capture("x"))


def test_captures_are_values(native):
    backend = native(lambda prompt: "Name: Anna, 31")
    person = g.seq("Name: ", g.rx("[A-Z][a-z]+").capture("name"), ", ", g.rx("[0-9]+").capture("age", int))

    @sgl.function
    def p(s):
        s += "Card: " + sgl.gen("card", grammar=person, max_tokens=40)
        s += " Hello " + s["name"]

    state = p.run()
    assert state.text() == "Card: Name: Anna, 31 Hello Anna"
    assert state.value("age") == 31
    assert backend.requests[0]["sampling_params"]["regex"] == person.regex()
    compiled = p.compile(mode="graph").run()
    assert compiled.text() == state.text()
    assert (compiled["name"], compiled.value("age")) == ("Anna", 31)


def test_fused_gens_are_one_call(native):
    backend = native(lambda prompt: '{"n": 42, "ok": True}')

    @sgl.function
    def row(s):
        s += sgl.fuse('{"n": ' + sgl.gen("n", regex="[1-9][0-9]?") + ', "ok": ' + sgl.gen("ok", dtype=bool) + "}")

    state = row.run()
    assert (state["n"], state.value("ok"), state.text()) == ("42", True, '{"n": 42, "ok": True}')
    assert len(backend.requests) == 1
    with pytest.raises(ValueError, match="has none"):
        sgl.fuse("a" + sgl.gen("free"))


def test_a_text_that_was_cut_says_so(native):
    native(lambda prompt: "Name: An")

    @sgl.function
    def p(s):
        s += sgl.gen("card", grammar=g.seq("Name: ", g.rx("[a-z]+!").capture("name")), max_tokens=3)

    with pytest.raises(sgl.ProgramError, match="max_tokens"):
        p.run()["name"]


def arithmetic():
    expr = g.rule("expr")
    return expr.define(g.alt(g.rx("[0-9]{1,2}"), g.seq("(", expr, g.rx("[-+*]"), expr, ")")))


def test_a_rule_may_contain_itself_and_captures_are_read_all_the_same():
    whole = g.seq("The sum: ", arithmetic().capture("sum"), g.opt(g.seq(" = ", g.rx("[0-9]+").capture("value", int))))
    assert not whole.is_regular
    assert whole.constraint()["syntax"] == "ebnf"
    assert whole.read("The sum: ((1+2)*30)") == {"sum": "((1+2)*30)", "value": None}
    assert whole.read("The sum: (1+2) = 3") == {"sum": "(1+2)", "value": "3"}
    with pytest.raises(sgl.ProgramError, match="max_tokens"):
        whole.read("The sum: ((1+2)")
    nested = g.rule(lambda r: g.alt("x", g.seq("(", r, ")")))
    assert g.seq("a", nested.capture("n")).read("a((x))") == {"n": "((x))"}
    named = g.rule("nested", lambda r: g.alt("x", g.seq("(", r, ")")))
    assert named.constraint()["source"].count("nested") == nested.constraint()["source"].count("rule")
    assert g.rule("word", "abc").capture("w").read("abc") == {"w": "abc"}


@dataclasses.dataclass
class City:
    name: str
    big: bool


def test_json_is_a_part_like_any_other_and_its_capture_has_its_type(native):
    text = 'City: {"name": "Rome", "big": true} in it'
    native(lambda prompt: text)
    part = g.seq("City: ", g.json(City).capture("city"), g.rx(" [a-z]+").capture("where"), " it")
    constraint = part.constraint()
    assert constraint["syntax"] == "lark"
    assert "%json" in constraint["source"]

    @sgl.function
    def p(s):
        s += sgl.gen("all", grammar=part, max_tokens=80)

    state = p.run()
    assert state.value("city") == City("Rome", True)
    assert state["where"] == " in"
    assert json.loads(g.json({"type": "object"}).capture("x").read('{"a": [1]}')["x"]) == {"a": [1]}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: g.seq(g.json(int), g.rx("[0-9]")), "put a text between"),
        (lambda: g.alt(g.json(str), g.rx('"a"+')), "put a text before one"),
        (lambda: g.seq(g.opt(g.json(str)), '"'), "put a text before one"),
        (lambda: g.rule(lambda r: g.alt("a", g.seq(r, "b"))), "begins with itself"),
        (lambda: g.rule("unknown"), "'unknown' was never defined"),
        (lambda: g.rule(lambda r: g.seq("a", r)), "without end"),
        (lambda: g.seq(arithmetic(), g.rx("(?=a)b")), "looks around"),
        (lambda: g.xml("<!ELEMENT a (b)>"), "not declared"),
    ],
)
def test_what_no_engine_can_serve_is_said_when_it_is_used(make, told):
    with pytest.raises(ValueError, match=told):
        sgl.gen("x", grammar=make())


def test_a_name_that_two_parts_have_is_refused_a_rule_that_is_called_twice_is_not():
    part = g.rx("a").capture("x")
    with pytest.raises(ValueError, match="twice"):
        g.seq(part, "-", part)
    call = g.rule("r").define(g.rx("[ab]").capture("x"))
    assert g.seq(call, "-", call).read("a-b") == {"x": "b"}


@dataclasses.dataclass
class Person:
    name: str
    age: int
    city: City | None = None


def test_xml_of_a_type(native):
    text = "<person><name>A &amp; B</name><age>3</age><city><name>Rome</name><big>true</big></city></person>"
    backend = native(lambda prompt: text)
    part = g.seq(g.xml(Person).capture("x"), g.opt(g.rx("!").capture("loud")))
    assert part.read(text) == {"x": text, "loud": None}
    assert part.read(text + "!") == {"x": text, "loud": "!"}
    with pytest.raises(sgl.ProgramError):
        part.read(text.replace("3", "three"))

    @sgl.function
    def p(s):
        s += sgl.gen("x", xml=Person, max_tokens=100)

    assert p.run()["x"] == text
    assert backend.requests[0]["constraint"]["type"] == "xml"
    assert p.compile().run()["x"] == text  # stays in the graph
    with pytest.raises(TypeError, match="no form in XML"):
        g.xml(dataclasses.make_dataclass("Two", [("a", int | str)]))
    with pytest.raises(ValueError, match="one constraint"):
        sgl.gen("x", xml=Person, regex="a")


@pytest.mark.model
def test_the_model_writes_what_the_grammar_says():
    with sgl.Engine(model_path="smollm2-135m-instruct") as engine:

        @sgl.function
        def p(s):
            s += "An expression: " + sgl.gen(
                "a", grammar=g.seq(arithmetic().capture("sum"), "."), max_tokens=60, heal=True
            )
            name = g.xml({"elements": {"name": {"text": {"type": "string", "maxLength": 12}}}})
            city = g.json({"type": "object", "properties": {"big": {"type": "boolean"}}, "required": ["big"]})
            part = g.seq("City: ", city.capture("city"), " and ", name.capture("person"), "\n")
            s += "\n" + sgl.gen("b", grammar=part, max_tokens=60)
            s += sgl.gen("c", ebnf='root ::= "a" root "b" | "x"', max_tokens=20)

        state = p.run(backend=engine, temperature=0)
        assert re.fullmatch(r"[0-9()+*-]+", state["sum"])
        assert state["a"] == state["sum"] + "."
        assert isinstance(state.value("city")["big"], bool)
        assert re.fullmatch(r"<name>[^<]{0,60}</name>", state["person"])
        assert re.fullmatch("(a*)x(b*)", state["c"])


def test_captures_are_values_of_graphs_remotely_too(hosted):
    hosted(lambda prompt: "Name: Anna, 31")
    person = g.seq("Name: ", g.rx("[A-Z][a-z]+").capture("name"), g.opt(g.seq("!", g.lit("x").capture("mark"))), ", 31")

    @sgl.function
    def p(s):
        s += sgl.gen("card", grammar=person, max_tokens=40)
        s += " Hello " + s["name"]

    compiled = p.compile(mode="graph")
    for state in (compiled.run(), compiled.run(remote=True)):
        assert state.text() == "Name: Anna, 31 Hello Anna"
        assert state["name"] == "Anna"
        with pytest.raises(sgl.ProgramError):
            state["mark"]


@pytest.mark.parametrize(
    ("make", "text", "value"),
    [
        (lambda: g.seq("Sum: ", arithmetic().capture("x"), g.opt(g.lit("!").capture("loud"))), "Sum: (1+2)", "(1+2)"),
        (lambda: g.seq(g.json({"type": "object"}).capture("x"), g.opt(g.lit("!").capture("loud"))), '{"a": 1}', None),
        (
            lambda: g.seq(g.xml("<!ELEMENT a (#PCDATA)>").capture("x"), g.opt(g.lit("!").capture("loud"))),
            "<a>b</a>",
            None,
        ),
    ],
    ids=["rules", "json", "xml"],
)
def test_captures_of_rules_json_and_xml_are_values_of_graphs(hosted, make, text, value):
    hosted(lambda prompt: text)

    @sgl.function
    def p(s):
        s += sgl.gen("whole", grammar=make(), max_tokens=40)
        s += " so " + s["x"]

    compiled = p.compile(mode="graph")
    state, plain = compiled.run(), p.run()
    assert state["x"] == plain["x"] == (value or text)
    assert state.value("x") == plain.value("x")
    assert state.text() == plain.text() == f"{text} so {state['x']}"
    with pytest.raises(sgl.ProgramError):
        state["loud"]
    remote = compiled.run(remote=True)
    assert (remote.text(), remote["x"], remote.value("x")) == (state.text(), state["x"], state.value("x"))
    with pytest.raises(sgl.ProgramError):
        remote["loud"]


def test_captures_of_graphs_are_read_on_a_thread_of_their_own(hosted, monkeypatch):
    """The server's event loop has others to serve meanwhile."""
    threads = []
    read = Grammar.capture_in
    monkeypatch.setattr(
        Grammar, "capture_in", lambda *args: threads.append(threading.current_thread().name) or read(*args)
    )
    hosted(lambda prompt: '{"a": 1}')

    @sgl.function
    def p(s):
        s += sgl.gen("whole", grammar=g.json({"type": "object"}).capture("x"), max_tokens=40)
        s += " so " + s["x"]

    assert p.compile(mode="graph").run(remote=True)["x"] == '{"a": 1}'
    assert threads
    assert all(name.startswith("radixlang-captures") for name in threads)


def test_a_capture_that_takes_too_long_ends(monkeypatch):
    from radixlang.lang import symbols

    monkeypatch.setattr(symbols, "MATCH_TIMEOUT_S", 1e-4)
    with pytest.raises(sgl.ProgramError, match="captures"):
        symbols.apply_op("capture", ["(?P<capture_0>(.*?,){1,40}x)*", 0], "1," * 20_000)
    with pytest.raises(sgl.ProgramError, match="captures"):
        symbols.apply_op("capture", ["(", 0], "x")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"root": ["call", 0], "rules": []}',
        '{"root": ["either", []], "rules": []}',
        '{"root": ["times", ["json", "{}"], 2, 1], "rules": []}',
        '{"root": ' + "[" * 3000 + "]" * 3000 + ', "rules": []}',
        '{"root": ["pattern", 1, null], "rules": [[1, 2]]}',
    ],
)
def test_what_is_no_grammar_is_refused(text):
    with pytest.raises(ValueError, match="this is no"):
        read_grammar(text)


@pytest.mark.parametrize(
    "part",
    [
        g.many(g.many(g.rx("a*"))),
        g.seq(g.many(g.many("", 200_000, 200_000), 200_000, 200_000), "b"),
        g.seq(*[g.many(g.rx("a"))] * 9, "b"),
        g.rule("left", lambda r: g.alt("a", g.seq(r, "a"))),
    ],
)
def test_reading_captures_of_a_strangers_grammar_ends(part):
    strange = read_grammar(grammar_text(g.seq(part, g.opt("!")).capture("x")))
    with pytest.raises(sgl.ProgramError):
        strange.capture_in("a" * 3000 + "c", 0)
