from __future__ import annotations

import json

import radixlang as sgl


@sgl.function
def p(s):
    s += "a <b> " + sgl.gen("x", max_tokens=3)
    g = s.fork(2)
    g += lambda i: f" <{i}>" + sgl.gen("y", max_tokens=2) + sgl.select("z", ["m", "n"])
    g.join()
    s += " end"


def test_the_page_holds_every_stream_and_is_escaped(native):
    native(lambda prompt: "<&>")
    state = p.run()
    page = state.to_html()
    assert page.count("<h2>") == 3
    assert "a &lt;b&gt; </span><mark" in page
    assert page.count("<mark") == 5
    assert page.count("&lt;&amp;&gt;</mark>") == 1
    assert "src=" not in page


def test_json_says_what_happened_and_when(native):
    native()
    told = json.loads(p.run().to_json())
    assert told["text"] == "a <b> [6] end"
    assert told["variables"]["y"] == ["[1", "[1"]
    kinds = [(event["event"], event["name"]) for event in told["events"]]
    assert kinds[:2] == [("gen", "x"), ("value", "x")]
    assert kinds.count(("value", "y")) == 2
    times = [event["time_s"] for event in told["events"]]
    assert times == sorted(times)


def test_a_failed_run_has_a_page(scripted):
    scripted(lambda text, params: 1 / 0)
    assert "failed: division by zero" in p.run().to_html()


def test_the_page_colours_what_the_cache_held_and_what_was_computed(native):
    backend = native(lambda prompt: "v")
    one = backend._one

    async def cached(request, prompt, index):
        async for chunk in one(request, prompt, index):
            chunk["meta_info"]["cached_tokens"] = len(prompt) - 4
            yield chunk

    backend._one = cached

    @sgl.function
    def p(s):
        s += "0123456789" + sgl.gen("a", max_tokens=1) + "<end>" + sgl.gen("b", max_tokens=1)

    page = p.run().to_html()
    assert "<span class='text-cached'>012345</span><span class='text-computed'>6789</span>" in page
    assert "<span class='text-cached'>&lt;</span><span class='text-computed'>end&gt;</span>" in page
