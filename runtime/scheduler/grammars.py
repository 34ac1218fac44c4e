"""Grammars that are being compiled; masks while the model runs; tokens that a grammar forces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...constrained import mask
from ...constrained.constraint import Constraint, Healed
from ...constrained.matcher import CompiledGrammar
from ...errors import UnsupportedGrammar
from ..request import Request
from .batch import Batch

logger = logging.getLogger(__name__)

_ALL = np.uint32(0xFFFFFFFF)


class GrammarCompiler(Protocol):
    """constrained.compiler."""

    def submit(self, constraint: Constraint | Healed) -> Future[CompiledGrammar]: ...


class Grammars:
    """Compiles off the loop's path; `wake` is called from another thread when a grammar is ready."""

    def __init__(
        self, compiler: GrammarCompiler | None, vocab_size: int, num_rows: int, wake: Callable[[], None]
    ) -> None:
        self._compiler = compiler
        self._wake = wake
        self._futures: dict[Request, Future[CompiledGrammar]] = {}
        self._masks: NDArray[np.uint32] = np.zeros((0, -(-vocab_size // 32)), np.uint32)
        self._rows: list[NDArray[np.uint32]] = []
        """Those of the masks: the same objects in each step, whose places matchers then know."""
        self._num_rows = num_rows
        self.mask_seconds_total = 0.0

    def compile(self, request: Request) -> None:
        """Raises UnsupportedGrammar where this engine has no compiler, and what the compiler raises."""
        constraint = request.submit.constraint
        assert constraint is not None
        if self._compiler is None:
            raise UnsupportedGrammar("this engine compiles no constraints", code="constraints_disabled")
        future = self._futures[request] = self._compiler.submit(constraint)
        future.add_done_callback(lambda _: self._wake())

    def ready(self) -> list[tuple[Request, Future[CompiledGrammar]]]:
        """Those whose compilation ended, well or not, in order of arrival."""
        if not self._futures:
            return []
        done = [(request, future) for request, future in self._futures.items() if future.done()]
        for request, _ in done:
            del self._futures[request]
        return done

    def totals(self) -> dict[str, object]:
        """The compiler's counters, where it counts."""
        names = {"num_grammar_total": "num_compiles", "num_grammar_cache_hit_total": "num_cache_hits"}
        names["num_grammar_timeout_total"] = "num_timeouts"
        counts: dict[str, object] = {told: getattr(self._compiler, name, 0) for told, name in names.items()}
        return {**counts, "mask_seconds_total": self.mask_seconds_total}

    def forget(self, request: Request) -> None:
        future = self._futures.pop(request, None)
        if future is not None:
            future.cancel()

    def masks(self, batch: Batch) -> tuple[NDArray[np.uint32], Callable[[], None] | None]:
        """The batch's masks and what fills them; a matcher that fails ends its own request only."""
        if not batch.masked:
            return self._masks[:0], None
        num_rows = max(self._num_rows, len(batch.masked))
        if len(self._masks) < num_rows:  # drafts take one a token
            self._masks = np.zeros((num_rows, self._masks.shape[1]), np.uint32)
            self._rows = list(self._masks)
        masks, rows = self._masks[: len(batch.masked)], self._rows

        def fill() -> None:
            ahead = 0
            begun_s = time.perf_counter()
            for place, request in enumerate(batch.masked):
                if ahead:  # the masks behind a draft's tokens are filled with its first
                    ahead -= 1
                    continue
                _fill(batch, request, rows[place])
                if batch.drafts and request in batch.drafts:
                    ahead = batch.drafts[request].size
                    _fill_ahead(batch, request, rows[place + 1 : place + 1 + ahead])
                ended_s = time.perf_counter()
                request.mask_s += ended_s - begun_s
                self.mask_seconds_total += ended_s - begun_s
                begun_s = ended_s

        return masks, fill


def _fill(batch: Batch, request: Request, mask_W: NDArray[np.uint32]) -> None:
    matcher = request.matcher
    if matcher is None:  # it ended in the step before
        mask_W[:] = _ALL
        return
    try:
        if request.owed:
            _allow_only(mask_W, request.owed[0])
        else:
            matcher.fill(mask_W)
    except Exception:
        logger.exception("request %s: its grammar failed", request.rid)
        batch.mask_errors[request] = "the grammar failed"
        mask_W[:] = 0
    if mask.is_empty(mask_W):
        if matcher.take_back and request not in batch.mask_errors:
            batch.redo.add(request)
        else:
            batch.mask_errors.setdefault(request, matcher.error or "no token fits the constraint here")
        mask_W[:] = _ALL


def _fill_ahead(batch: Batch, request: Request, masks: list[NDArray[np.uint32]]) -> None:
    """The masks behind each token of its draft; where the grammar cannot go on, the draws from there do not count."""
    assert request.matcher is not None
    num_sound = 0
    try:
        matcher, owed = request.matcher.copy(), request.owed
        for token, mask_W in zip(batch.drafts[request].ids.tolist(), masks, strict=True):
            if not matcher.accept(token) or matcher.take_back or matcher.error is not None:
                break
            if request.draws_forced:
                owed = owed[1:] if owed and owed[0] == token else []
                owed = owed or matcher.forced()
            if owed:
                _allow_only(mask_W, owed[0])
            else:
                matcher.fill(mask_W)
            if mask.is_empty(mask_W):
                break
            num_sound += 1
    except Exception:
        logger.exception("request %s: its grammar failed on a draft", request.rid)
    if num_sound < len(masks):
        for mask_W in masks[num_sound:]:
            mask_W[:] = _ALL
        batch.num_sound[request] = 1 + num_sound


def _allow_only(mask_W: NDArray[np.uint32], token: int) -> None:
    mask_W[:] = 0
    mask_W[token // 32] = np.uint32(1 << (token % 32))
