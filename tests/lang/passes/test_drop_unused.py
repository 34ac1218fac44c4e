from __future__ import annotations

import pytest

import radixlang as sgl


@sgl.function
def essay(s, topic):
    s += "Essay on " + topic + ":\n"
    g = s.fork(3)
    for name, branch in zip(["clarity", "depth", "style"], g, strict=True):
        branch += f"Judge the {name}: " + sgl.select("grade", ["A", "B", "C"]) + sgl.gen("note", max_tokens=3)
    s["grade"] = g.vote("grade")
    s += "Grade " + s["grade"] + " because" + sgl.gen("why", max_tokens=3)


def test_what_the_outputs_do_not_need_is_not_run(native):
    backend = native()
    c = essay.compile(outputs=["grade"])
    assert c.graph.stats()["gens"] == 7, "the graph is what the program says"
    assert (c.plan().stats()["gens"], c.plan().stats()["depth"]) == (3, 1)
    state = c.run(topic="tea", temperature=0)
    assert state["grade"] == essay.run(topic="tea", temperature=0)["grade"]
    assert "why" not in state
    assert not any("Grade" in backend.text_of(r.get("prompt_parts", [])) for r in backend.requests[:4])
    assert essay.compile(outputs=["why"]).plan().stats()["gens"] == 4


def test_an_unknown_output_is_told_with_those_that_there_are():
    with pytest.raises(sgl.UndefinedVariable, match=r"nope.*grade, why"):
        essay.compile(outputs=["nope"])
