"""What was tokenized lately is remembered, in a bounded room."""

from __future__ import annotations

import threading

import pytest

from radixlang.runtime.tokenizer.spans import SpanCache


@pytest.fixture
def asked():
    """Calls of the tokenizer."""
    return []


@pytest.fixture
def make_spans(asked):
    def make(**options):
        def encode(text, first, add_bos):
            asked.append((text, first, add_bos))
            return [int(first), int(add_bos), *text.encode()]

        return SpanCache(encode, **options)

    return make


def test_a_text_is_tokenized_once_for_each_place(make_spans, asked) -> None:
    spans = make_spans()
    for _ in range(3):
        assert spans("ab", True, True) == [1, 1, 97, 98]
        assert spans("ab", True, False) == [1, 0, 97, 98]
        assert spans("ab", False, False) == [0, 0, 97, 98]
    assert len(asked) == 3


def test_what_a_caller_does_to_its_list_is_its_own(make_spans) -> None:
    spans = make_spans()
    for _ in range(2):
        ids = spans("ab", True, True)
        ids += [5]
    assert spans("ab", True, True) == [1, 1, 97, 98]


def test_bytes_are_bounded_and_what_is_used_stays(make_spans, asked) -> None:
    spans = make_spans(max_bytes=20_000)
    for number in range(500):
        spans("often", True, True)
        spans(f"{number}" * 100, True, True)
        assert spans.num_bytes <= 20_000
    assert asked.count(("often", True, True)) == 1
    spans("0" * 100, True, True)
    assert asked.count(("0" * 100, True, True)) == 2


def test_a_text_larger_than_the_room_is_tokenized_and_forgotten(make_spans, asked) -> None:
    spans = make_spans(max_bytes=1000)
    for _ in range(2):
        assert len(spans("x" * 5000, False, False)) == 5002
    assert len(asked) == 2
    assert spans.num_bytes == 0


def test_threads_may_ask_for_one_text_at_once() -> None:
    both = threading.Barrier(2)

    def encode(text, first, add_bos):
        both.wait(20)
        return [1] * len(text)

    spans = SpanCache(encode)
    threads = [threading.Thread(target=spans, args=("ab", True, True)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    once = spans.num_bytes
    assert spans("ab", True, True) == [1, 1]
    assert spans.num_bytes == once < 1000
