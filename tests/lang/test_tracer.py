from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.lang.graph import ProgramGraph


@sgl.function
def expand(s, tip):
    s += "Expand: " + tip + "\n" + sgl.gen("detail")


@sgl.function
def tips(s, topic, n=2):
    s += "Two tips for " + topic + ".\n"
    s += "1." + sgl.gen("one", stop=["\n"], max_tokens=8)
    a, b = expand(tip=s["one"]), expand(tip=s["one"].strip())
    s += f"Tip: {a['detail']}/{b['detail']}\n"
    g = s.fork(n)
    g += lambda i: f" branch {i}" + sgl.select("z", ["x", "y"])
    g.join()
    s += sgl.user("End") + sgl.assistant(sgl.gen("end"))


def test_a_trace_knows_every_call_and_what_it_waits_for():
    graph = tips.trace().graph
    assert graph.inputs == ["topic"]
    assert graph.outputs == ["one", "z", "end"]
    assert graph.stats()["gens"] == 6
    assert [sorted(n.kind for n in level) for level in graph.levels()] == [
        ["gen"],
        ["gen", "gen"],
        ["select", "select"],
        ["gen"],
    ]
    assert graph.stats()["width"] == 2
    kinds = {kind for _, _, kind in graph.edges}
    assert kinds == {"seq", "fork", "data"}
    gen = next(n for n in graph.nodes if n.params.get("name") == "one")
    assert gen.params == {"name": "one", "stop": ["\n"], "max_new_tokens": 8}
    assert "test_tracer.py" in gen.source


def test_given_arguments_are_text_and_the_constant_prefix_ends_at_the_first_unknown():
    assert tips.trace().graph.constant_prefix() == "Two tips for "
    assert tips.trace(topic="tea").graph.constant_prefix() == "Two tips for tea.\n1."
    assert tips.bind(topic="tea").trace().graph.inputs == []


def test_roles_are_in_the_prefix_where_the_template_is_known():
    from radixlang.lang.chat_template import get_chat_template

    @sgl.function
    def p(s, q):
        s += sgl.user("Hi") + sgl.assistant("Yes" + q)

    graph = p.trace().graph
    assert graph.constant_prefix() == "Hi"[:0]
    template = get_chat_template("qwen")
    prefix = graph.constant_prefix(template)
    chat = [{"role": "system", "content": None}, {"role": "user", "content": "Hi"}]
    assert prefix == template.get_prompt(chat) + "<|im_start|>assistant\nYes"


def test_the_json_form_is_whole_and_its_digest_does_not_depend_on_the_place():
    graph = tips.trace().graph
    again = ProgramGraph.from_json(graph.to_json())
    assert again.to_json() == graph.to_json()
    assert again.digest() == tips.trace().graph.digest() != expand.trace().graph.digest()
    with pytest.raises(sgl.TraceError, match="version"):
        ProgramGraph.from_json('{"version": 99}')


@pytest.mark.parametrize(
    "use",
    [
        lambda v: bool(v),
        lambda v: v == "x",
        lambda v: int(v),
        lambda v: len(v),
        lambda v: list(v),
        lambda v: "a" in v,
        lambda v: v.encode(),
        lambda v: f"{v:>10}",
    ],
)
def test_what_needs_a_value_is_refused_with_its_line(use):
    @sgl.function
    def p(s):
        s += sgl.gen("a")
        use(s["a"])

    with pytest.raises(sgl.TraceError, match=r"test_tracer\.py"):
        p.trace()


def test_forms_for_people():
    state = tips.trace()
    for form in ("text", "mermaid", "dot"):
        assert "gen" in state.graph.render(form)
    with pytest.raises(ValueError, match="mermaid"):
        state.graph.render("png")
    last = state.last_node.print_graph_dfs()
    assert "Two tips" in last
    assert len(state.flatten_nodes()) == len(state.graph.nodes) > len(state.nodes)


def test_inline_programs_trace_under_their_names(native):
    native(lambda prompt: f"{len(prompt)}x")

    @sgl.function
    def inner(s, q):
        s += q + sgl.gen("a", max_tokens=2)
        s["b"] = f"<{s['a']}>"

    @sgl.function
    def outer(s, q):
        s += inner.inline(q="one", into="x") + "," + inner.inline(q=q, into="y")
        s += s["x"]["a"] + s["y"]["b"]
        s += inner.inline(q="last")

    state, expected = outer.compile(mode="graph").run(q="two"), outer.run(q="two")
    assert state.text() == expected.text()
    for name in ("x.a", "x.b", "y.a", "a", "b"):
        assert state[name] == expected[name]
