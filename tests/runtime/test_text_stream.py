"""Text on its way to the reader: whatever the cut into tokens, the same text, and no stop in it."""

import regex
from hypothesis import given
from hypothesis import strategies as st

from radixlang.runtime.messages import Finish
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.text_stream import TextStream


class Letters:
    """A tokenizer whose ids are characters."""

    class Decoder:
        def push(self, ids):
            return "".join(map(chr, ids))

        def flush(self):
            return ""

    def detokenizer(self, *, skip_special_tokens=True):
        return self.Decoder()


def stream(text, cuts, **sampling):
    """Pieces of `text` pushed in spans; ends with the stop if one is found as soon as it is complete."""
    sampling = SamplingParams(**sampling)
    reader, pieces, seen = TextStream(Letters(), sampling), [], ""
    spans = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for index, span in enumerate(spans):
        seen += span
        matched = next((s for s in sampling.stop if s in seen), None)
        matched = matched or next((p for p in sampling.stop_regex if regex.search(p, seen)), None)
        last = index == len(spans) - 1
        finish = Finish(type="stop", matched=matched) if matched else Finish(type="length") if last else None
        pieces.append(reader.push([ord(c) for c in span], finish))
        if finish:
            break
    return pieces


def earliest_cut(text, stops):
    return min((text.index(s) for s in stops if s in text), default=len(text))


@given(st.text("ab\n", max_size=24), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_the_text_ends_before_the_earliest_stop_however_it_is_cut(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    got = "".join(stream(text, cuts, stop=tuple(stops)))
    # the engine stops at the first token that completes a stop; what came before it is all there is
    assert text.startswith(got)
    assert not any(s in got for s in stops)
    if not any(s in text for s in stops):
        assert got == text


def test_the_earliest_of_two_stops_in_one_token_wins():
    assert "".join(stream("one, two; three", [], stop=(";", ","))) == "one"


def test_a_stop_across_two_tokens_never_leaks_its_first_half():
    pieces = stream("hello END", [7], stop=("END",))
    assert pieces == ["hello ", ""]


def test_kept_stops_end_the_text():
    assert "".join(stream("a,b", [], stop=(",",), no_stop_trim=True)) == "a,"


def test_what_only_looked_like_a_stop_is_given_back():
    assert "".join(stream("EN route", [2], stop=("END",))) == "EN route"


def test_a_pattern_is_cut_where_its_match_begins():
    assert "".join(stream("Count: a 12 b", [3, 9], stop_regex=(r"\d+ b",))) == "Count: a "


def test_a_token_id_that_ended_it_is_no_text(byte_tokenizer):
    reader = TextStream(byte_tokenizer, SamplingParams())
    assert reader.push([104, 105, 46], Finish(type="stop", matched=46)) == "hi"


def test_half_a_character_at_the_end_is_dropped_and_never_shown(byte_tokenizer):
    reader = TextStream(byte_tokenizer, SamplingParams())
    euro = list("€".encode())
    assert reader.push([97, *euro[:2]]) == "a"
    assert reader.push([], Finish(type="length")) == ""


def test_what_is_left_before_a_stop_is_told_in_ids(byte_tokenizer):
    reader = TextStream(byte_tokenizer, SamplingParams(stop=("; ",)))
    ids = byte_tokenizer.encode("this; that")
    finish = Finish(type="stop", matched="; ")
    assert reader.push(ids, finish) == "this"
    assert reader.kept(ids, finish) == (3, 4)  # t, h, "is"
    assert reader.kept(ids, Finish(type="length")) is None


def test_a_token_that_a_stop_cuts_in_two_is_not_kept(byte_tokenizer):
    reader = TextStream(byte_tokenizer, SamplingParams(stop=("s",)))
    ids, finish = byte_tokenizer.encode("this"), Finish(type="stop", matched="s")
    assert reader.push(ids, finish) == "thi"
    assert reader.kept(ids, finish) == (2, 2)
