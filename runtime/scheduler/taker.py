"""A drawn token into its request: what it ends, and what its grammar forces behind it."""

from __future__ import annotations

import logging

from ...constrained.prefix import PrefixMatcher
from ...constrained.sequence import SequenceMatcher
from ..messages import Finish, TokenLogprobs
from ..model_runner.plan import Logprobs
from ..request import Request, Status
from .batch import Batch
from .state import State
from .stops import StopTimeout
from .undo import take_back

logger = logging.getLogger(__name__)


class Taker:
    """Takes tokens, one at a time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._jump_forward = not state.config.disable_jump_forward
        """Forced tokens enter without being drawn; where log-probabilities are asked for, they alone may be drawn."""

    def took(self, batch: Batch, request: Request, token: int, logprobs: Logprobs | None) -> None:
        """A drawn token, in the row already: takes it, and tells it."""
        self.take(batch, request, token, logprobs)
        if request.submit.echo_steps and request.status is Status.RUNNING and request not in batch.redo:
            self._state.report(request, None)

    def took_looked(self, request: Request, token: int) -> None:
        """One that its matcher simply goes on from."""
        request.num_ahead -= 1
        if request.penalties is not None:
            request.penalties.add(token)
        finish = self._stopped(request, token)
        if finish is not None:
            self._state.finish(request, finish)
        elif request.submit.echo_steps:
            self._state.report(request, None)

    def goes_on(self, request: Request, token: int) -> bool:
        """Whether another draw simply follows a drawn token, which the matcher then has accepted, if it can."""
        matcher = request.matcher
        assert matcher is not None
        if request.owed or (isinstance(matcher, PrefixMatcher) and matcher.inner is None):
            return False
        try:
            if self.passes_on(request, token) or not matcher.accept(token):
                return False
            request.num_ahead += 1
            if matcher.is_finished or matcher.take_back or matcher.num_open or matcher.error is not None:
                return False
            return not (self._jump_forward and matcher.forced())
        except Exception:  # it fails again when the token is taken
            return False

    def take(self, batch: Batch, request: Request, token: int, logprobs: Logprobs | None) -> bool:
        """A drawn token, in the row already: does it end the request, what does it force? True: it, or what it forces,
        was taken back."""
        state = self._state
        if batch.redo and request in batch.redo and request.matcher is not None:
            state.rows.known[request.row] -= 1  # what was drawn means nothing
            take_back(request, state, num_tokens=request.matcher.take_back)
            return True
        if request.owed:
            is_it = token == request.owed[0]
            request.owed = request.owed[1:] if is_it else []
            if is_it:
                self._count_forced(request)
        if request.asks_logprobs and logprobs is not None:
            request.logprobs.append(told(logprobs, token, request.submit.logprobs.num_top))  # type: ignore[union-attr]
        error = batch.mask_errors.get(request) if batch.mask_errors else None
        if error is not None:
            finish: Finish | None = _failed(request, error)
        else:
            known = int(state.rows.known[request.row])
            try:
                finish = self._judge(request, token)
                if finish is None and request.matcher is not None:
                    if self._jump_forward and not request.asks_logprobs:
                        finish = self._force(request)
                    elif request.draws_forced:
                        request.owed = [] if request.matcher.take_back else request.owed or request.matcher.forced()
                    if finish is None and request.matcher.take_back:
                        take_back(request, state, num_tokens=request.matcher.take_back)
                        return True
                    if finish is None:
                        self._check_next(request, token, known)
            except Exception:
                logger.exception("request %s: its token could not be taken", request.rid)
                finish = Finish(
                    "error", message="internal error: a bug in radixlang", status=500, code="internal_error"
                )
        if finish is not None:
            state.finish(request, finish)
        return False

    def passes_on(self, request: Request, token: int) -> bool:
        """Whether a token ends the open part of a sequence, without being of it."""
        matcher = request.matcher
        return isinstance(matcher, SequenceMatcher) and (token in self._state.eos_token_ids or matcher.is_cut_by(token))

    def _judge(self, request: Request, token: int) -> Finish | None:
        """Whether the last known token ends the request."""
        if request.penalties is not None:
            request.penalties.add(token)
        matcher = request.matcher
        if isinstance(matcher, SequenceMatcher):
            token = self._pass_on(request, matcher, token)
        if token in request.stop_ids or (matcher is not None and token in self._state.eos_token_ids):
            return Finish("stop", matched=token)
        if request.num_ahead:
            request.num_ahead -= 1
        elif matcher is not None and not matcher.accept(token):
            message = matcher.error or f"the constraint does not allow token {token}"
            return _failed(request, message)
        if matcher is not None and (matcher.take_back or matcher.error is not None):
            return _failed(request, matcher.error) if matcher.error is not None else None
        if isinstance(matcher, PrefixMatcher) and matcher.is_through and matcher.inner is None:
            matcher, request.matcher, request.is_free = None, None, True
        finish = self._stopped(request, token)
        if finish is not None:
            return finish
        if matcher is not None and matcher.is_finished:
            return Finish("stop")
        rows, row = self._state.rows, request.row
        if rows.known[row] >= rows.limit[row]:
            return Finish("length", length=int(rows.known[row]) - request.prompt_len)
        return None

    @staticmethod
    def _stopped(request: Request, token: int) -> Finish | None:
        """Whether a stop string or pattern ends with the token."""
        if request.stops is None:
            return None
        try:
            found = request.stops.push(token)
        except StopTimeout:
            return Finish("error", message="a stop_regex took too long on this text", status=400, param="stop_regex")
        return None if found is None else Finish("stop", matched=found)

    def _pass_on(self, request: Request, matcher: SequenceMatcher, token: int) -> int:
        """Where a token ends a part of a sequence, the first id of what comes next takes its place."""
        if not self.passes_on(request, token):
            return token
        instead = None
        if token in self._state.eos_token_ids:
            instead = matcher.end_part()
        else:
            instead = matcher.stop_part(token)
            if instead is None:
                instead = next(iter(self._state.eos_token_ids))  # the request ends without it
        if instead is None:
            return token
        rows, row = self._state.rows, request.row
        rows.ids[row, rows.known[row] - 1] = instead
        return instead

    def _check_next(self, request: Request, token: int, known: int) -> None:
        """A row that a step in flight computes goes on from `token` as its last one: is that so?"""
        state, rows, row = self._state, self._state.rows, request.row
        is_replaced = int(rows.ids[row, known - 1]) != token
        is_other = is_replaced or rows.known[row] != known
        weight = max(0.1, 1.0 / (1.0 + known - request.prompt_len))  # the first draws tell most
        request.force_rate += weight * (is_other - request.force_rate)
        if is_other and rows.computed[row] >= known:
            rows.void_in[row] = state.in_flight
            rows.drawn_in[row] = -1
            if is_replaced:
                rows.computed[row] = known - 1

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
            self._count_forced(request)
            self._state.counters.generation_tokens_total += 1
            finish = self._judge(request, token)
            if finish is not None or (request.matcher is not None and request.matcher.take_back):
                return finish
        return None

    def _count_forced(self, request: Request) -> None:
        request.forced_len += 1
        self._state.counters.forced_tokens_total += 1


def _failed(request: Request, message: str) -> Finish:
    """A constraint that cannot go on: our engine's fault, or no answer was found that passes its checks."""
    code = request.matcher.error_code if request.matcher is not None else "grammar_failed"
    return Finish("error", message=message, status=422 if code == "constraint_failed" else 500, code=code)


def told(logprobs: Logprobs, token: int, num_top: int) -> TokenLogprobs:
    """As a message tells it."""
    top = list(zip(logprobs.top_logprobs[:num_top], logprobs.top_ids[:num_top], strict=True))
    return TokenLogprobs(float(logprobs.logprob), token, top, list(logprobs.id_logprobs))
