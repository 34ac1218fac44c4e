from __future__ import annotations

import radixlang as sgl
from radixlang.lang.passes.plan import plan


def hints(program, **arguments) -> dict[str, int | None]:
    """By the name of each gen."""
    nodes = plan(program.trace(**arguments).graph).nodes
    return {node.params["name"]: node.params.get("next_use") for node in nodes if node.kind == "gen"}


def test_a_chain_goes_on_at_once_and_its_end_not_at_all() -> None:
    @sgl.function
    def p(s):
        s += "a" + sgl.gen("x") + "b" + sgl.gen("y") + "c" + sgl.gen("z") + "d"

    assert hints(p) == {"x": 1, "y": 1, "z": None}


def test_a_parent_is_needed_by_its_branches_first() -> None:
    @sgl.function
    def p(s):
        s += "a" + sgl.gen("x")
        branches = s.fork(2)
        for branch in branches:
            branch += "b" + sgl.gen("y")
        branches.join("concate_and_append")
        s += "c" + sgl.gen("z")

    assert hints(p) == {"x": 1, "y": None, "z": None}


def test_what_waits_for_another_stream_is_needed_later() -> None:
    @sgl.function
    def helper(s):
        s += "h" + sgl.gen("h1") + "." + sgl.gen("h2") + "." + sgl.gen("h3")

    @sgl.function
    def p(s):
        s += "a" + sgl.gen("x")
        found = helper()
        s += "b" + found["h3"] + sgl.gen("y")

    assert hints(p) == {"x": 3, "h1": 1, "h2": 1, "h3": None, "y": None}
