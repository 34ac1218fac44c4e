from __future__ import annotations

import radixlang as sgl


@sgl.function
def p(s, q):
    s += q + sgl.gen("a", max_tokens=5) + "." + sgl.select("c", ["x", "y"])


def test_the_same_call_is_asked_once(native, tmp_path):
    backend = native(lambda prompt: "abc")
    cache = sgl.ResponseCache(tmp_path)
    first = p.run(q="1", cache=cache)
    text = first.text()
    assert (len(backend.requests), cache.num_misses, first.usage.round_trips) == (2, 2, 2)
    again = p.run(q="1", cache=sgl.ResponseCache(tmp_path))
    assert again.text() == text
    assert again.get_meta_info("a")["from_cache"]
    assert (len(backend.requests), again.usage.round_trips, again.usage.requests) == (2, 0, 2)
    assert list(p.run(q="1", cache=cache, stream=True).text_iter("a")) == ["abc"]
    p.run(q="2", cache=cache).text()
    p.run(q="1", cache=cache, temperature=0.3).text()
    assert len(backend.requests) == 2 + 2 + 1  # a select does not sample: the run's temperature is not part of it


def test_a_refused_answer_is_not_taken_from_the_cache_again(native, tmp_path):
    answers = iter(["bad", "good"])
    native(lambda prompt: next(answers))

    @sgl.function
    def checked(s):
        s += sgl.gen("a", max_tokens=9, check=lambda text: text == "good", repair=1)

    assert checked.run(cache=sgl.ResponseCache(tmp_path))["a"] == "good"


def test_a_broken_file_counts_as_none(native, tmp_path):
    native(lambda prompt: "abc")
    p.run(q="1", cache=sgl.ResponseCache(tmp_path)).text()
    for file in tmp_path.iterdir():
        file.write_text("{broken")
    assert p.run(q="1", cache=sgl.ResponseCache(tmp_path))["a"] == "abc"
