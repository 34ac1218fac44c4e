"""Capturing, as far as it can be seen without a device: what is called, in which order, and with which arguments."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from radixlang.runtime.model_runner.cuda.graphs import Bucket, DecodeGraphs, sizes
from radixlang.runtime.model_runner.cuda.page_mirror import PageMirror

CPU = torch.device("cpu")


class Recorded:
    """What was done, in order; stands in for the graphs of torch.cuda."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, object]] = []
        self.pools: list[object] = []
        self.is_capturing = False
        recorded, real = self, torch.cuda.graph

        class Graph:
            def pool(self) -> object:
                return "the pool"

            def replay(self) -> None:
                recorded.events.append(("replay", self))

        @contextmanager
        def graph(*args: Any, **options: Any) -> Iterator[None]:
            bound = inspect.signature(real.__init__).bind(None, *args, **options)  # as torch takes them
            assert bound.arguments["capture_error_mode"] == "thread_local"
            recorded.pools.append(bound.arguments["pool"])
            recorded.is_capturing = True
            yield
            recorded.is_capturing = False

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: self.events.append(("synchronize", None)))

    def forward(self, bucket: Bucket) -> None:
        self.events.append(("captured" if self.is_capturing else "ran", bucket.size))


def graphs(recorded: Recorded, largest: int) -> DecodeGraphs:
    mirror = PageMirror(largest, 16, 9, CPU)
    return DecodeGraphs(largest, mirror, 9, torch.empty(largest, 5), recorded.forward, captures=True)


def test_each_runs_before_it_is_captured_the_largest_first_in_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch)
    graphs(recorded, 9)
    expected = [
        event for size in reversed(sizes(9)) for event in (("ran", size), ("synchronize", None), ("captured", size))
    ]
    assert recorded.events == expected
    assert recorded.pools == [None, *["the pool"] * (len(sizes(9)) - 1)]


def test_a_captured_step_is_replayed_over_the_same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch)
    bucket = graphs(recorded, 4).bucket(3)
    assert bucket.size == 4
    recorded.events.clear()
    logits = bucket.run(recorded.forward)
    assert [event for event, _ in recorded.events] == ["replay"]
    assert logits.data_ptr() == bucket.logits_RV.data_ptr()


def test_a_graph_is_chosen_for_every_batch() -> None:
    for largest in (1, 5, 32, 256, 300):
        found = sizes(largest)
        assert found == sorted(set(found))
        assert found[-1] == largest
        assert all(b - a <= max(8, a // 3) for a, b in itertools.pairwise(found))
