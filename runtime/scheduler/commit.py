"""Results of a step back into requests, cache and answers."""

from __future__ import annotations

import logging
import math

import numpy as np

from ...constrained.prefix import PrefixMatcher
from ...constrained.sequence import SequenceMatcher
from ...radix_cache.node import Int32
from ..messages import Finish, TokenLogprobs
from ..model_runner.plan import Logprobs, StepOutput
from ..request import Request, Status
from .batch import Batch
from .state import State
from .stops import StopTimeout

logger = logging.getLogger(__name__)


class Committer:
    """Applies what the executor returned, or that it failed."""

    def __init__(self, state: State, *, jump_forward: bool = True) -> None:
        self._state = state
        self.jump_forward = jump_forward
        """Forced tokens enter without being drawn; off in tests that show that nothing else changes."""

    def commit(self, batch: Batch, output: StepOutput | None) -> None:
        """None: nothing was computed."""
        state = self._state
        state.cache.commit(batch.step)
        state.pool.release(batch.step)
        if output is None:
            return
        state.counters.computed_tokens_total += batch.num_tokens
        for request, hidden in zip(batch.hiding, output.hidden_RE, strict=True):
            request.hidden = hidden.tolist()
        for (request, position), scored in zip(batch.scoring, output.scores_N, strict=True):
            _take_score(request, position, batch, scored, state)
        tokens = output.token_ids_S
        state.counters.generation_tokens_total += len(batch.samples)
        if len(batch.decoding):
            self._commit_decode(batch, tokens[: len(batch.decoding)], output.logprobs_S)
        for place, request in enumerate(batch.sampling, len(batch.decoding)):
            row, token = request.row, int(tokens[place])
            rows = state.rows
            rows.ids[row, rows.known[row]] = token
            rows.known[row] += 1
            if request.prefill_s == 0.0:
                request.prefill_s = state.clock() - request.admitted_s
            self._took(batch, request, token, output.logprobs_S[place])
        for request in batch.complete:
            state.finish(request, Finish("length"))

    def fail(self, batch: Batch, finish: Finish) -> None:
        """The step raised: its requests end, their slots are freed, the rest goes on."""
        state = self._state
        for request in batch.members():
            state.finish(request, finish, insert=False)
        state.cache.discard(batch.step)
        state.pool.release(batch.step)
        state.counters.num_failed_steps += 1

    def _commit_decode(self, batch: Batch, tokens: Int32, logprobs: list[Logprobs | None]) -> None:
        state, rows, mine = self._state, self._state.rows, batch.decode_rows
        known = rows.known[mine]
        rows.ids[mine, known] = tokens
        known += 1
        rows.known[mine] = known
        look = rows.careful[mine] | (known >= rows.limit[mine]) | (state.is_eos[tokens] & rows.checks_eos[mine])
        for place in np.flatnonzero(look).tolist():
            self._took(batch, batch.decoding[place], int(tokens[place]), logprobs[place] if logprobs else None)

    def _took(self, batch: Batch, request: Request, token: int, logprobs: Logprobs | None) -> None:
        """A drawn token, in the row already: does it end the request, what does it force?"""
        state = self._state
        if request.asks_logprobs and logprobs is not None:
            request.logprobs.append(told(logprobs, token, request.submit.logprobs.num_top))  # type: ignore[union-attr]
        error = batch.mask_errors.get(request) if batch.mask_errors else None
        if error is not None:
            finish: Finish | None = Finish("error", message=error, status=500, code="grammar_failed")
        else:
            try:
                finish = self._judge(request, token)
                if finish is None and request.matcher is not None and self.jump_forward and not request.asks_logprobs:
                    finish = self._force(request)
            except Exception:
                logger.exception("request %s: its token could not be taken", request.rid)
                finish = Finish(
                    "error", message="internal error: a bug in radixlang", status=500, code="internal_error"
                )
        if finish is not None:
            state.finish(request, finish)
        elif request.submit.echo_steps:
            state.report(request, None)

    def _judge(self, request: Request, token: int) -> Finish | None:
        """Whether the last known token ends the request."""
        if request.penalties is not None:
            request.penalties.add(token)
        matcher = request.matcher
        if isinstance(matcher, SequenceMatcher):
            token = self._pass_on(request, matcher, token)
        if token in request.stop_ids or (matcher is not None and token in self._state.eos_token_ids):
            return Finish("stop", matched=token)
        if matcher is not None and not matcher.accept(token):
            message = matcher.error or f"the constraint does not allow token {token}"
            return Finish("error", message=message, status=500, code="grammar_failed")
        if isinstance(matcher, PrefixMatcher) and matcher.is_through and matcher.inner is None:
            matcher, request.matcher, request.is_free = None, None, True
        if request.stops is not None:
            try:
                found = request.stops.push(token)
            except StopTimeout:
                return Finish(
                    "error", message="a stop_regex took too long on this text", status=400, param="stop_regex"
                )
            if found is not None:
                return Finish("stop", matched=found)
        if matcher is not None and matcher.is_finished:
            return Finish("stop")
        rows, row = self._state.rows, request.row
        if rows.known[row] >= rows.limit[row]:
            return Finish("length", length=int(rows.known[row]) - request.prompt_len)
        return None

    def _pass_on(self, request: Request, matcher: SequenceMatcher, token: int) -> int:
        """Where a token ends a part of a sequence, the first id of what comes next takes its place."""
        instead = None
        if token in self._state.eos_token_ids:
            instead = matcher.end_part()
        elif matcher.is_cut_by(token):
            instead = matcher.stop_part(token)
            if instead is None:
                instead = next(iter(self._state.eos_token_ids))  # the request ends without it
        if instead is None:
            return token
        rows, row = self._state.rows, request.row
        rows.ids[row, rows.known[row] - 1] = instead
        return instead

    def _force(self, request: Request) -> Finish | None:
        """Appends what the grammar forces next; it is computed as an extend in the next step."""
        matcher = request.matcher
        assert matcher is not None
        forced = matcher.forced()
        finish = self._append(request, forced)
        if forced and finish is None and isinstance(matcher, SequenceMatcher):
            return self._force(request)  # behind the end of a part comes the text before the next one
        return finish

    def _append(self, request: Request, forced: list[int]) -> Finish | None:
        rows, row = self._state.rows, request.row
        for token in forced:
            rows.ids[row, rows.known[row]] = token
            rows.known[row] += 1
            request.forced_len += 1
            self._state.counters.forced_tokens_total += 1
            self._state.counters.generation_tokens_total += 1
            finish = self._judge(request, token)
            if finish is not None:
                return finish
        return None


def told(logprobs: Logprobs, token: int, num_top: int) -> TokenLogprobs:
    """As a message tells it."""
    top = list(zip(logprobs.top_logprobs[:num_top], logprobs.top_ids[:num_top], strict=True))
    return TokenLogprobs(float(logprobs.logprob), token, top, list(logprobs.id_logprobs))


def _take_score(request: Request, position: int, batch: Batch, scored: Logprobs, state: State) -> None:
    asked = request.submit.logprobs
    if asked is None or request.status is not Status.RUNNING:
        return
    if position >= 0:
        token = int(state.rows.ids[request.row, position])
        request.prompt_logprobs.append(told(scored, token, asked.num_top))
    elif scored.top_ids:
        logprob = scored.logprob if math.isfinite(scored.logprob) else scored.top_logprobs[0]
        request.logprobs.append(told(scored._replace(logprob=logprob), scored.top_ids[0], asked.num_top))
