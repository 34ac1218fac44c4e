"""Constrained gens that follow each other are one request, and give what they give alone."""

from __future__ import annotations

import random

import pytest

import radixlang as sgl


@sgl.function
def row(s, q):
    s += (
        q + '{"n": ' + sgl.gen("n", regex="[0-9]+", max_tokens=3) + ', "ok": ' + sgl.gen("ok", dtype=bool, max_tokens=2)
    )
    s += ', "c": ' + sgl.gen("c", json_schema={"type": "object"}, max_tokens=4) + "}"
    s["all"] = f"{s['n']} {s['ok']}"


def asked(graph):
    return [node.params["name"] for node in graph.nodes if node.params.get("together")]


def test_a_row_is_one_request_with_the_values_of_three(native):
    backend = native(lambda prompt: f"{len(prompt) % 10}ab")
    apart = row.run(q="x", temperature=0)
    text, values = apart.text(), [apart[n] for n in ("n", "ok", "c", "all")]
    assert len(backend.requests) == 3
    state = row.compile(mode="graph").run(q="x", temperature=0)
    assert (state.text(), [state[n] for n in ("n", "ok", "c", "all")]) == (text, values)
    assert len(backend.requests) == 4
    assert state.usage.requests == 1
    assert state.get_meta_info("ok")["completion_tokens"] == 2
    parts = backend.requests[-1]["constraint"]["parts"]
    assert [part["before"] for part in parts] == ["", ', "ok": ', ', "c": ']
    assert [part["constraint"]["type"] for part in parts] == ["regex", "regex", "json_schema"]


def test_what_one_request_leaves_is_asked_for_alone(native):
    backend = native(lambda prompt: "" if prompt.endswith('"ok": ') else "7")
    state = row.compile(mode="graph").run(q="", temperature=0)
    assert state.text() == row.run(q="", temperature=0).text() == '{"n": 7, "ok": , "c": 7}'
    assert [request.get("constraint") is not None for request in backend.requests[:3]] == [True, False, False]


@pytest.mark.parametrize(
    "options", [{"frequency_penalty": 0.5}, {"n": 2}, {"temperature": 1.0, "seed": 3}, {"stream": True}, {"stop": "x"}]
)
def test_runs_that_one_request_cannot_stand_for_ask_apart(native, options):
    backend = native(lambda prompt: "12")
    state = row.compile(mode="graph").run(q="", **options)
    state.sync()
    assert state.error() is None
    assert len(backend.requests) == (1 if options == {"stop": "x"} else 3)


def test_the_pass_stops_at_what_is_no_text_and_at_values_that_others_wait_for():
    @sgl.function
    def p(s):
        s += sgl.gen("a", regex="a") + sgl.gen("free") + sgl.gen("b", regex="b") + "," + sgl.gen("c", regex="c")
        s += s["c"] + sgl.gen("d", regex="d") + sgl.gen("e", dtype=int)
        s += sgl.user("x") + sgl.gen("f", regex="f")

    graph = p.compile(mode="graph").plan(temperature=0)
    assert asked(graph) == ["c", "e"]
    assert asked(p.compile(mode="graph").graph) == []
    assert graph.stats()["gens"] == 7
    assert graph.stats()["calls"] == 5
    again = sgl.ProgramGraph.from_json(graph.to_json())
    assert asked(again) == ["c", "e"]


def test_a_failed_request_is_told_where_its_gen_stands(native):
    native(lambda prompt: 1 / 0)
    state = row.compile(mode="graph").run(q="", temperature=0)
    with pytest.raises(sgl.ProgramError, match=r"division by zero.*test_join_gens\.py"):
        state["n"]


PATTERNS = [
    r'"[A-Za-z ]{1,20}"',
    r"[0-9]+",
    r"(true|false)",
    r"[a-z ]{3,30}",
    r"\w+(, \w+)*",
    r"-?[0-9]{1,4}(\.[0-9]+)?",
]
BETWEEN = [', "a": ', " ", "\n", " and then ", " é, ", "<|im_end|>\n", ""]


@pytest.mark.model
def test_the_model_says_the_same_in_one_request_as_in_several():
    draw = random.Random(7)
    fused = apart = 0
    with sgl.Engine(model_path="smollm2-135m-instruct") as engine:
        for _ in range(12):
            spec = []
            for _ in range(draw.randint(2, 4)):
                options = (
                    {"regex": draw.choice(PATTERNS)} if draw.random() < 0.75 else {"dtype": draw.choice([int, bool])}
                )
                stop = {"stop": draw.choice([",", "e"])} if draw.random() < 0.2 else {}
                spec.append((draw.choice(BETWEEN), {**options, **stop, "max_tokens": draw.choice([1, 2, 8])}))

            @sgl.function
            def program(s, spec=tuple(spec)):
                s += 'A person as JSON: {"name": '
                for i, (text, options) in enumerate(spec):
                    s += (text if i else "") + sgl.gen(f"g{i}", **options)
                s += " END " + sgl.gen("end", max_tokens=3)

            one = program.run(temperature=0, backend=engine)
            compiled = program.compile(mode="graph")
            for other in (
                compiled.run(temperature=0, backend=engine),
                compiled.run(temperature=0, backend=engine, remote=True),
            ):
                assert other.text() == one.text(), spec
            apart, fused = apart + one.usage.requests, fused + other.usage.requests
    assert fused < apart
