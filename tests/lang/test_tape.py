from __future__ import annotations

import pytest

import radixlang as sgl


@sgl.function
def p(s, q):
    s += sgl.user(q) + sgl.assistant(sgl.gen("a", max_tokens=5) + sgl.select("c", ["x", "y"]))
    g = s.fork(2)
    g += lambda i: f"{i}" + sgl.gen("v", dtype=int)
    g.join()


def same(state):
    return state.text(), state.messages(), state["a"], state["c"], list(state["v"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_replay_gives_what_was_recorded_without_a_backend(native, tmp_path, stream):
    native(lambda prompt: f"{len(prompt)}")
    with sgl.record(tmp_path / "tape"):
        first = same(p.run(q="hi", temperature=1.0))
    sgl.set_default_backend(None)
    with sgl.replay(tmp_path / "tape"):
        assert same(p.run(q="hi", temperature=1.0, stream=stream)) == first


def test_another_prompt_or_other_options_do_not_match(native, tmp_path):
    native(lambda prompt: "1")
    with sgl.record(tmp_path / "tape"):
        p.run(q="hi").text()
    with sgl.replay(tmp_path / "tape"):
        with pytest.raises(sgl.ReplayMismatch, match="new prompt"):
            p.run(q="ho").text()
        with pytest.raises(sgl.ReplayMismatch, match="other options"):
            p.run(q="hi", temperature=0.3).text()
        p.run(q="hi").text()
        with pytest.raises(sgl.ReplayMismatch, match="fewer times"):
            p.run(q="hi").text()


def test_a_batch_is_recorded_whole(native, tmp_path):
    native(lambda prompt: f"{len(prompt)}")
    entries = [{"q": "x" * i} for i in range(10)]
    with sgl.record(tmp_path / "tape"):
        first = [s.text() for s in p.run_batch(entries)]
    with sgl.replay(tmp_path / "tape"):
        assert [s.text() for s in p.run_batch(entries)] == first
