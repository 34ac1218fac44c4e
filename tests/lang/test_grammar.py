from __future__ import annotations

import re

import pytest

import radixlang as sgl

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
    assert p.compile().graph is None


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
