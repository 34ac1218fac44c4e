from __future__ import annotations

import radixlang as sgl
from radixlang.lang.passes.fold_text import fold_text


def test_texts_merge_and_what_follows_stays_linked(native):
    @sgl.function
    def p(s):
        s += "a"
        s += "b"
        with s.var_scope("w"):
            s += "c"
            s += "d"
        g = s.fork(2)
        g += lambda i: f"{i}"
        g += "e"
        s += "f"
        s += "g"
        g.join("concate_and_append")

    graph = fold_text(p.trace().graph)
    texts = [node.params["text"] for node in graph.nodes if node.kind == "text"]
    assert texts == ["ab", "cd", "0e", "1e", "fg"]
    native()
    assert p.compile().run().text() == p.run().text() == "abcdfg0e1e"


def test_folding_loses_no_text_where_a_stream_is_left_and_come_back_to():
    @sgl.function
    def p(s):
        s += "a"
        s.fork(1)
        s += "b"

    graph = fold_text(p.trace().graph)
    assert [node.params.get("text") for node in graph.nodes] == ["a", None, "b"]
