"""One step in the making: which rows compute what, and who reads which result."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import EMPTY, Int32, Node
from ..model_runner.plan import SamplePlan, ScorePlan, SharedPrefix
from ..request import Request
from ..speculation.token_tree import TokenTree


class Span(NamedTuple):
    """A request that computes positions [start, start + length) in packed rows [first_row, first_row + length)."""

    request: Request
    first_row: int
    start: int
    length: int


class Score(NamedTuple):
    """Who gets the result of one ScorePlan. position -1: the distribution after the prompt."""

    request: Request
    position: int


class Batch:
    """The step's members in the order of its arrays: decode rows first, then spans."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.decode_rows: Int32 = EMPTY
        self.decode_ends: Int32 = EMPTY
        """Where each decode row's draw belongs: the number of its tokens before it."""
        self.decoding: list[Request] = []
        self.groups: list[SharedPrefix] = []
        """Decode rows that share a prefix."""
        self.spans: list[Span] = []
        self.touching: list[Request] = []
        """Requests that hold what this step is to compute, though they may compute nothing themselves."""
        self.num_tokens = 0
        self.samples: list[SamplePlan] = []
        self.readers: list[tuple[Request, int]] = []
        """Who draws from which packed row, beside the decode rows."""
        self.sampling: list[Request] = []
        """Who gets samples[len(decoding) + i]; with a draft it is there once a draw, one after the other."""
        self.scores: list[ScorePlan] = []
        self.scoring: list[Score] = []
        self.hidden_rows: list[int] = []
        self.hiding: list[Request] = []
        """Who gets hidden row i."""
        self.masked: list[Request] = []
        """Who fills mask row i."""
        self.masks_MW: NDArray[np.uint32] | None = None
        """The rows of their masks."""
        self.fill_masks: Callable[[], None] | None = None
        """For the next draw of each of these; None: there are none."""
        self.mask_errors: dict[Request, str] = {}
        self.redo: set[Request] = set()
        """Whose matcher takes tokens back instead of drawing one."""
        self.late: list[tuple[int, Request, int, int, int]] = []
        """Samples whose penalties count the draw of the step before: the arguments of their sample_plan."""
        self.must_settle = False
        """What it draws decides the shape of the next step, which is planned only when this one is committed."""
        self.is_burst = False
        """More steps of its decode rows follow in the same call:"""
        self.burst_len = 1
        """so many at most, the first included."""
        self.bound: list[int] = []
        """Of a burst: the decode rows that draw under a mask."""
        self.looked: list[Int32] = []
        """What its steps drew behind which each of these simply goes on: their matchers have accepted it."""
        self.waiting: list[Int32] = []
        """What they drew then, which nobody has looked at yet."""
        self.num_sound_rounds: int | None = None
        """How many of its rounds count; None: all."""
        self.drafts: dict[Request, TokenTree] = {}
        """Tokens that a request guesses: they follow its span, and the rows of all of them are drawn from."""
        self.num_sound: dict[Request, int] = {}
        """How many of those draws have a sound mask, where not all have."""
        self.complete: list[Request] = []
        """Requests that ask for no token and whose prompt ends in this step."""
        self.ends: dict[Node, int] = {}
        """Where prompts end that this step computes, and the packed row of their last token."""

    @property
    def is_empty(self) -> bool:
        return self.num_tokens == 0

    def members(self) -> list[Request]:
        """Every request that ends if this step fails."""
        return list(dict.fromkeys([*self.decoding, *self.touching, *(span.request for span in self.spans)]))


NO_HIDDEN: Int32 = np.zeros(0, np.int32)
