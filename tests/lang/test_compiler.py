from __future__ import annotations

import pytest

import radixlang as sgl


@sgl.function
def expand(s, tip):
    s += "Expand: " + tip + "\n" + sgl.gen("detail", max_tokens=4)


@sgl.function
def tips(s, topic):
    s += f"Tips for {topic}:" + sgl.gen("one", max_tokens=6, stop="]")
    a, b = expand(tip=s["one"]), expand(tip=s["one"].upper()[1:])
    s += f" {a['detail']}/{b['detail']}"
    g = s.fork(2)
    g += lambda i: f" {i}" + sgl.select("z", ["x", "y"])
    g.join()
    h = s.fork(2)
    h += lambda i: f"<{i}>"
    h.join("concate_and_append")
    with s.var_scope("w"):
        s += sgl.user("End") + sgl.assistant(sgl.gen("end", max_tokens=3))


def same(state):
    return state.text(), state.messages(), state["one"], list(state["z"]), state["w"], state["end"]


def test_a_graph_gives_what_its_program_gives(native):
    native(lambda prompt: f"{len(prompt)}ab]{prompt[-3:]}")
    compiled = tips.compile(mode="graph")
    for topic in ("tea", "x" * 30):
        assert same(compiled.run(topic=topic)) == same(tips.run(topic=topic))
    states = compiled.run_batch([{"topic": "a"}, {"topic": "b"}], temperature=0)
    assert [same(s) for s in states] == [same(tips.run(topic=t)) for t in "ab"]


def test_independent_calls_are_under_way_together(native, until):
    backend = native(lambda prompt: "1")

    @sgl.function
    def p(s):
        a, b = expand(tip="x"), expand(tip="y")
        s += a["detail"] + b["detail"]

    compiled = p.compile()
    backend.hold_back()
    state = compiled.run()
    until(lambda: len(backend.requests) == 2)
    state.cancel()


def test_python_on_values_is_interpreted_or_refused(native):
    native(lambda prompt: "1")

    @sgl.function
    def p(s, q):
        s += q + sgl.gen("a", max_tokens=3)
        if s["a"] == "1":
            s += "!"

    compiled = p.compile()
    assert compiled.graph is None
    assert "test_compiler.py" in str(compiled.reason)
    assert compiled.run(q="x").text() == "x1!"
    with pytest.raises(sgl.TraceError):
        p.compile(mode="graph")


def test_failures_surface_as_in_the_program(scripted):
    scripted(lambda text, params: 1 / 0)
    state = tips.compile().run(topic="tea")
    for read in (state.text, lambda: state["end"], lambda: list(state["z"])):
        with pytest.raises(sgl.ProgramError, match="division"):
            read()


def test_wrong_arguments_are_refused(native):
    native()
    with pytest.raises(TypeError, match="topic"):
        tips.compile().run()
    with pytest.raises(TypeError, match="topic"):
        tips.compile().run(topic="a", other="b")


def test_arguments_with_defaults_can_be_given(native):
    native()

    @sgl.function
    def p(s, q, tail="."):
        s += q + tail

    assert p.compile().run(q="a").text() == "a."
    assert p.compile().run(q="a", tail="!").text() == "a!"


def test_a_switch_takes_one_case_and_leaves_the_others_undefined(native):
    native(lambda prompt: "12")

    @sgl.function
    def p(s, kind):
        s += kind + sgl.switch(
            kind, {"math": "=" + sgl.gen("n", max_tokens=1) + sgl.gen("both"), "text": ":" + sgl.gen("both")}
        )
        s += "/" + s["both"]

    compiled = p.compile(mode="graph")
    for kind in ("math", "text"):
        state, expected = compiled.run(kind=kind), p.run(kind=kind)
        assert state.text() == expected.text()
        assert ("n" in state) == ("n" in expected) == (kind == "math")
    state = compiled.run(kind="other")
    with pytest.raises(sgl.ProgramError, match=r"no case 'other'.*math, text"):
        state["both"]


def test_types_survive_compiling(native):
    from typing import Literal

    native(lambda prompt: "small")

    @sgl.function
    def p(s):
        s += sgl.gen("size", dtype=Literal["small", "big"])

    state = p.compile().run()
    assert state.value("size") == "small"
    assert state.stream_executor.backend.requests[0]["sampling_params"]["regex"] == "(small)|(big)"


def test_a_graph_is_drawn_as_one_file():
    page = tips.compile().graph.render("html")
    assert page.startswith("<!doctype html>")
    assert "src=" not in page and "href=" not in page  # noqa: PT018
    assert page.count("<rect") == len(tips.compile().graph.nodes)


def test_code_stays_in_this_process(hosted):
    backend = hosted(lambda prompt: "12")

    @sgl.function
    def p(s):
        s += sgl.gen("n", check=lambda text: text == "12")

    compiled = p.compile(mode="graph")
    assert compiled.run()["n"] == "12"
    backend.requests.clear()
    told = r"node 0 \(gen\) runs gen\(check=<lambda>\).*test_compiler\.py:\d+"
    with pytest.raises(sgl.TraceError, match=told):
        compiled.run(remote=True)
    with pytest.raises(sgl.TraceError, match=told):
        compiled.register("p")
    again = sgl.ProgramGraph.from_json(compiled.graph.to_json())
    assert again.to_json() == compiled.graph.to_json()
    with pytest.raises(sgl.TraceError, match=told):
        again.run()
    assert backend.requests == []


def test_what_a_program_without_a_graph_begins_with_is_a_hint(native):
    backend = native(lambda prompt: "1")

    @sgl.function
    def p(s, q):
        s += "A beginning that all runs share and that is long enough to be worth a call. " * 2
        s += q + sgl.gen("a", max_tokens=3)
        if s["a"] == "1":
            s += "!"

    compiled = p.compile()
    assert compiled.graph is None
    assert [node.kind for node in compiled.prefix_graph.nodes] == ["arg", "text", "var", "gen"]
    states = compiled.run_batch([{"q": "x"}, {"q": "y"}])
    assert [s.text()[-3:] for s in states] == ["x1!", "y1!"]
    first = backend.requests[0]
    assert (first["sampling_params"]["max_new_tokens"], first["prompt_parts"][0][:11]) == (0, "A beginning")


def test_a_run_tells_ahead_what_its_later_streams_begin_with(native, until):
    backend = native(lambda prompt: "1")
    backend.keeps_paths = True
    released = []

    async def release(names):
        released.extend(names)

    backend.native_release = release
    backend.get_chat_template()  # as any run before this one did
    rules = "Rules of the house, which are long enough to be worth it. " * 2

    @sgl.function
    def critic(s, topic, text):
        s += sgl.system(rules) + sgl.user(topic + ": " + text) + sgl.assistant(sgl.gen("c", max_tokens=4))

    @sgl.function
    def flow(s, topic):
        s += "Say: " + sgl.gen("a", max_tokens=4)
        found = critic(topic=topic, text=s["a"])
        s += found["c"] + sgl.gen("b", max_tokens=4)

    flow.compile().run(topic="tea").sync()
    first, second, _ = backend.requests
    [expected] = first["expects"]
    [text] = expected["prompt_parts"]
    assert second["prompt_parts"][0].startswith(text)
    assert rules in text
    assert text.endswith("tea: ")
    assert expected["next_use"] == 2
    assert [("expects" in r, r.get("next_use")) for r in backend.requests] == [(True, 2), (False, None), (False, None)]
    until(lambda: expected["keep"] in released)


def test_a_run_that_fails_lets_go_of_what_it_expected(native, until):
    backend = native(lambda prompt: 1 // 0)
    backend.keeps_paths = True
    released = []

    async def release(names):
        released.extend(names)

    backend.native_release = release

    @sgl.function
    def later(s, text):
        s += "x" * 100 + text + sgl.gen("c", max_tokens=4)

    @sgl.function
    def flow(s):
        s += sgl.gen("a", max_tokens=4)
        s += later(text=s["a"])["c"]

    state = flow.compile().run()
    state.sync()
    assert state.error() is not None
    [expected] = backend.requests[0]["expects"]
    until(lambda: expected["keep"] in released)


def test_a_called_program_is_a_part_of_the_run_that_calls_it(native):
    backend = native(lambda prompt: "v")
    sgl.set_default_backend(None)

    @sgl.function
    def inner(s, word, n=0):
        s += word + sgl.gen("own") + sgl.gen("said", max_tokens=3)
        g = s.fork(1)
        g += sgl.gen("forked")
        g.join()

    @sgl.function
    def outer(s):
        s += inner(word="a", n=2)["own"] + inner(word="b", max_new_tokens=7, stop="!", temperature=0.5)["said"]
        s += sgl.gen("last")

    def sampled(run):
        backend.requests.clear()
        state = run(max_new_tokens=5, temperature=0, top_p=0.5, stop=["?"], backend=backend)
        assert state.text() == "vvv"
        names = ("max_new_tokens", "temperature", "top_p", "stop", "n")
        told = [
            (backend.text_of(r["prompt_parts"]), *(r["sampling_params"][n] for n in names)) for r in backend.requests
        ]
        return sorted(told, key=repr)

    whole = sampled(outer.run)
    assert whole == sampled(outer.compile(mode="graph").run)
    assert ("b", 7, 0.5, 0.5, ["!"], 1) in whole
    assert ("bvv", 7, 0.5, 0.5, ["!"], 1) in whole
    assert ("a", 5, 0, 0.5, ["?"], 1) in whole


def test_a_called_program_with_a_deadline_of_its_own_is_interpreted(native):
    native(lambda prompt: "v")

    @sgl.function
    def inner(s):
        s += "x" + sgl.gen("v", max_tokens=1)

    @sgl.function
    def outer(s):
        s += inner(timeout=9)["v"]

    with pytest.raises(sgl.TraceError, match="one timeout"):
        outer.compile(mode="graph")
    assert outer.compile().run().text() == "v"
