from __future__ import annotations

import radixlang as sgl


def prefills(backend):
    return [r for r in backend.requests if r["sampling_params"]["max_new_tokens"] == 0]


def test_a_fork_of_which_one_branch_asks_is_not_computed_ahead(native):
    backend = native()

    @sgl.function
    def p(s, asking):
        s += "A long prefix"
        g = s.fork(3)
        for i, branch in enumerate(g):
            branch += f"{i}" + (sgl.gen("x", max_tokens=2) if i < asking else "-")
        g.join("concate_and_append")

    for asking, expected in ((1, 0), (2, 1), (3, 1)):
        backend.requests.clear()
        p.compile(asking=asking).run().sync()
        assert len(prefills(backend)) == expected
