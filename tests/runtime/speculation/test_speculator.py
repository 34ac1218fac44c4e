"""The speculator tries what pays, learns from what came, and forgets who left."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.scheduler.rows import Rows
from radixlang.runtime.speculation.drafter import Draft
from radixlang.runtime.speculation.speculator import Speculator
from radixlang.runtime.speculation.token_tree import Trial


class Says:
    """Always drafts the same tokens."""

    def __init__(self, name, ids, *, is_free=True, strength=0):
        self.name, self.ids, self.is_free, self.strength = name, ids, is_free, strength
        self.num_asked, self.forgotten, self.seen = 0, [], []

    def propose(self, tracks, num_tokens):
        self.num_asked += len(tracks)
        ids = np.array(self.ids[:num_tokens], np.int32)
        return [Draft(ids, self.name, self.strength) if ids.size else None for _ in tracks]

    def step_seconds(self, num_tracks):
        return 0.01

    def observe(self, request, ids):
        self.seen.append(ids.tolist())

    def forget(self, track):
        self.forgotten.append((track.request, track.known))

    def flush(self):
        self.seen.clear()


class Bench:
    """A speculator over rows, without a scheduler."""

    def __init__(self, make_track, *drafters, max_draft_len=8, max_rows=32, row_s=0.05):
        self.make_track = make_track
        self.rows = Rows(64, 512, 1)
        self.speculator = Speculator(drafters, self.rows, max_draft_len=max_draft_len, max_rows=max_rows)
        for n in range(1, 64):
            for _ in range(30):
                self.speculator.costs.add(n, 10, 1.0 + row_s * n)

    def start(self, ids, *, limit=500, **fields):
        request = self.make_track(ids, **fields).request
        row = request.row = self.rows.take()
        self.rows.ids[row, : len(ids)] = ids
        self.rows.known[row], self.rows.limit[row] = len(ids), limit
        return request

    def append(self, request, tokens):
        row = request.row
        known = int(self.rows.known[row])
        self.rows.ids[row, known : known + len(tokens)] = tokens
        self.rows.known[row] += len(tokens)

    def plan(self, *requests, max_tokens=100):
        drafts = self.speculator.plan(list(requests), len(requests), max_tokens)
        return [drafts[r].ids.tolist() if r in drafts else [] for r in requests]


@pytest.fixture
def make_bench(make_track):
    return lambda *drafters, **options: Bench(make_track, *drafters, **options)


def test_a_draft_that_pays_is_tried_and_one_that_does_not_is_not(make_bench) -> None:
    cheap, dear = make_bench(Says("tree", [7, 8, 9])), make_bench(Says("tree", [7, 8, 9]), row_s=50.0)
    assert cheap.plan(cheap.start([1, 2])) == [[7, 8, 9]]
    assert dear.plan(dear.start([1, 2])) == [[]]


def test_what_is_never_right_is_soon_tried_no_more_and_what_became_right_is_again(make_bench) -> None:
    bench = make_bench(Says("tree", [7, 8, 9]))
    request = bench.start([1, 2])
    num_tried = 0
    for _ in range(60):
        (draft,) = bench.plan(request)
        num_tried += bool(draft)
        if draft:
            bench.speculator.verified(request, Trial(len(draft), 0, None))
        bench.append(request, [3])
    assert num_tried < 30
    assert bench.plan(request) == [[]]
    for _ in range(60):
        bench.plan(request)
        bench.append(request, [7])  # seen without a try
    assert bench.plan(request)[0][:1] == [7]


def test_a_look_learns_without_any_try(make_bench) -> None:
    bench = make_bench(Says("tree", [7, 8, 9]))
    request = bench.start([1, 2])
    for _ in range(100):
        bench.speculator.look([request])
        bench.append(request, [3])
    assert not bench.speculator.look([request])
    for _ in range(100):
        bench.speculator.look([request])
        bench.append(request, [7])
    assert bench.speculator.look([request])


def test_a_draft_ends_before_the_end_of_the_text_and_leaves_the_last_token_to_be_drawn(make_bench) -> None:
    bench = make_bench(Says("tree", [7, 8, 9, 10]))
    stopping = bench.start([1, 2])
    stopping.stop_ids = frozenset({9})
    short = bench.start([1, 2], limit=4)
    last = bench.start([1, 2], limit=3)
    assert bench.plan(stopping, short, last) == [[7, 8], [7], []]


def test_no_more_tokens_are_tried_than_the_step_has_room_for(make_bench) -> None:
    bench = make_bench(Says("tree", list(range(10, 30))), max_draft_len=6)
    requests = [bench.start([1, 2]) for _ in range(3)]
    drafts = bench.plan(*requests, max_tokens=8)
    assert sum(map(len, drafts)) == 8
    assert max(map(len, drafts)) <= 6
    assert bench.plan(*requests, max_tokens=0) == [[], [], []]


def test_large_steps_are_left_alone(make_bench) -> None:
    drafter = Says("tree", [7])
    bench = make_bench(drafter, max_rows=4, row_s=0.0)
    requests = [bench.start([1, 2]) for _ in range(5)]
    assert bench.plan(*requests) == [[]] * 5
    assert drafter.num_asked == 0
    assert bench.plan(*requests[:4]) == [[7]] * 4


def test_the_surer_drafter_is_believed_and_the_second_not_asked_where_the_first_is_sure(make_bench) -> None:
    weak, strong = Says("ngram", [5, 5], strength=2), Says("ngram", [6, 6], strength=32)
    bench = make_bench(weak, strong)
    assert bench.plan(bench.start([1, 2])) == [[6, 6]]
    first, second = Says("ngram", [6, 6], strength=32), Says("tree", [5, 5])
    bench = make_bench(first, second)
    assert bench.plan(bench.start([1, 2])) == [[6, 6]]
    assert second.num_asked == 0


def test_a_model_is_asked_for_who_got_no_draft_and_only_while_it_pays(make_bench) -> None:
    tree, model = Says("tree", []), Says("draft", [5, 5, 5], is_free=False)
    bench = make_bench(tree, model)
    request = bench.start([1, 2])
    assert bench.plan(request) == [[5, 5, 5]]
    num_tried = 0
    for _ in range(200):
        (draft,) = bench.plan(request)
        num_tried += bool(draft)
        if draft:
            bench.speculator.verified(request, Trial(len(draft), 0, None))
        bench.append(request, [3])
    assert num_tried < 50
    before = model.num_asked
    for _ in range(128):
        bench.plan(request)
        bench.append(request, [3])
    assert 1 <= model.num_asked - before <= 4  # now and then it may show that it got better


def test_a_model_that_is_too_slow_to_pay_is_not_asked_at_all(make_bench) -> None:
    slow = Says("draft", [5, 5, 5], is_free=False)
    slow.step_seconds = lambda num_tracks: 2.0
    bench = make_bench(slow)
    request = bench.start([1, 2])
    for _ in range(200):
        assert not bench.speculator.look([request])
        assert bench.plan(request) == [[]]
        bench.append(request, [5])
    assert slow.num_asked == 0


def test_who_left_is_forgotten_by_everyone(make_bench) -> None:
    drafter = Says("tree", [7])
    bench = make_bench(drafter)
    twins = [bench.start([1, 2], group="g") for _ in range(2)]
    bench.plan(*twins)
    for request in twins:
        bench.speculator.forget(request)
        bench.speculator.forget(request)
    assert drafter.forgotten == [(request, 2) for request in twins]
    speculator = bench.speculator
    assert not speculator._tracks
    assert not speculator._guesses
    assert not speculator._groups
    speculator.observe(twins[0], np.array([1, 2, 3], np.int32))
    assert drafter.seen == [[1, 2, 3]]
    speculator.flush()
    assert not drafter.seen
