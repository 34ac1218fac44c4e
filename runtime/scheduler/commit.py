"""Results of a step back into requests, cache and answers."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from ...constrained.prefix import PrefixMatcher
from ...constrained.sequence import SequenceMatcher
from ...radix_cache.node import Int32
from ..messages import Finish, TokenLogprobs
from ..model_runner.plan import Guessed, Logprobs, StepOutput
from ..request import Request, Status
from .batch import Batch
from .checkpoints import checkpoint
from .state import State
from .stops import StopTimeout
from .undo import take_back

logger = logging.getLogger(__name__)


class Committer:
    """Applies what the executor returned, or that it failed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.jump_forward = not state.config.disable_jump_forward
        """Forced tokens enter without being drawn; where log-probabilities are asked for, they alone may be drawn."""

    def commit(self, batch: Batch, output: StepOutput | None) -> None:
        """None: nothing was computed."""
        state = self._state
        state.cache.commit(batch.step)
        state.pool.release(batch.step)
        state.rows.release(batch.step)
        if output is None:
            return
        state.counters.computed_tokens_total += batch.num_tokens
        for request, _, start, count in batch.spans:
            if request.status is Status.RUNNING:
                state.rows.settled[request.row] = start + count
                if request.is_held and start + count == state.rows.known[request.row]:
                    request.held_since_s = state.clock()
        for request, hidden in zip(batch.hiding, output.hidden_RE, strict=True):
            if request.status is Status.RUNNING:
                request.hidden = hidden.tolist()
        for (request, position), scored in zip(batch.scoring, output.scores_N, strict=True):
            _take_score(request, position, batch, scored, state)
        tokens = output.token_ids_S
        num_drafted = sum(draft.size for draft in batch.drafts.values())
        state.counters.generation_tokens_total += len(batch.samples) - num_drafted
        if output.guessed is not None:
            self._count_guessed(batch, output.guessed)
        if len(batch.decoding):
            self._commit_decode(batch, [output, *output.further])
        seen: Request | None = None
        for place, request in enumerate(batch.sampling, len(batch.decoding)):
            if request.status is not Status.RUNNING or request is seen:  # it ended while the step ran
                continue
            if request.prefill_s == 0.0:
                request.prefill_s = state.clock() - request.admitted_s
            if batch.drafts and request in batch.drafts:
                seen = request  # its other draws are looked at with the first
                self._verify(batch, request, place, output)
                continue
            row, token = request.row, int(tokens[place])
            rows = state.rows
            rows.ids[row, rows.known[row]] = token
            rows.known[row] += 1
            self._took(batch, request, token, output.logprobs_S[place])
        for request in batch.complete:
            if request.status is Status.RUNNING:
                state.finish(request, Finish("length"))
        checkpoint(state)

    def look(self, batch: Batch, drawn_S: Int32) -> bool:
        """Between two steps of a burst: has the matchers accept what the first drew, and fill the masks of the second.

        False: one of them needs more than that; the commit sees to it.
        """
        if batch.mask_errors or batch.redo:
            return False
        tokens = drawn_S.tolist()
        for place in batch.bound:
            if not self._goes_on(batch.decoding[place], tokens[place]):
                return False
        assert batch.fill_masks is not None
        batch.looked.append(drawn_S)
        batch.fill_masks()
        return True

    def _goes_on(self, request: Request, token: int) -> bool:
        """Whether another draw simply follows a drawn token, which the matcher then has accepted, if it can."""
        matcher = request.matcher
        assert matcher is not None
        if request.owed or (isinstance(matcher, PrefixMatcher) and matcher.inner is None):
            return False
        try:
            if self._passes_on(request, token) or not matcher.accept(token):
                return False
            request.num_ahead += 1
            if matcher.is_finished or matcher.take_back or matcher.num_open or matcher.error is not None:
                return False
            return not (self.jump_forward and matcher.forced())
        except Exception:  # it fails again when the token is taken
            return False

    def fail(self, batch: Batch, finish: Finish) -> None:
        """Its results could not be taken: its requests end, their slots are freed, the rest goes on."""
        state = self._state
        for request in batch.members():
            state.finish(request, finish, insert=False)
        state.cache.discard(batch.step)
        state.pool.release(batch.step)
        state.rows.release(batch.step)
        state.counters.num_failed_steps += 1

    def _commit_decode(self, batch: Batch, outputs: list[StepOutput]) -> None:
        """What the decode rows drew, in several rounds of a burst: its last may end a request, no earlier one does, but
        for those whose every token is looked at."""
        state, rows, mine, ends = self._state, self._state.rows, batch.decode_rows, batch.decode_ends
        count = len(outputs)
        state.counters.computed_tokens_total += (count - 1) * batch.num_tokens
        valid = (rows.known[mine] == ends) & (rows.void_in[mine] != batch.step)
        careful = rows.careful[mine]
        plain = valid & ~careful  # without those that ended while the step ran, or for which it ran in vain
        if plain.any():
            self._commit_plain(batch, outputs, np.flatnonzero(plain))
        for place in np.flatnonzero(valid & careful).tolist():
            request, row, end = batch.decoding[place], int(mine[place]), int(ends[place])
            num_looked = len(batch.looked) if place in batch.bound else 0
            if batch.is_burst:  # fewer steps may have run than slots were found for
                rows.computed[row] = end + max(count, num_looked) - 1
            drawn = [*batch.looked[:num_looked], *(output.token_ids_S for output in outputs[num_looked:])]
            for ahead, drawn_S in enumerate(drawn):  # as they would come one step after the other
                token = int(drawn_S[place])
                rows.ids[row, end + ahead] = token
                rows.settled[row], rows.known[row] = end + ahead, end + ahead + 1
                state.counters.generation_tokens_total += ahead > 0
                if ahead < num_looked:
                    self._took_looked(request, token)
                else:
                    self._took(batch, request, token, outputs[ahead].logprobs_S[place])
                if request.status is not Status.RUNNING:
                    break

    def _count_guessed(self, batch: Batch, guessed: Guessed) -> None:
        """What the steps of a burst guessed; what came of it they have drawn."""
        counters, request, speculator = self._state.counters, batch.decoding[0], self._state.speculator
        if speculator is not None and speculator.predictions is not None and request.status is Status.RUNNING:
            speculator.predictions.guessed(request, guessed)
        request.num_verified += guessed.num_tries
        request.num_proposed += guessed.num_guessed
        request.num_correct += guessed.num_right
        counters.spec_verify_total += guessed.num_tries
        counters.spec_proposed_drafts_total += guessed.num_guessed
        counters.spec_correct_drafts_total += guessed.num_right

    def _commit_plain(self, batch: Batch, outputs: list[StepOutput], places: NDArray[np.intp]) -> None:
        """Of rows that have only their end to look for: no loop but for those that do end."""
        state, rows, count = self._state, self._state.rows, len(outputs)
        mine, ends = batch.decode_rows[places], batch.decode_ends[places]
        for ahead, output in enumerate(outputs):
            tokens = output.token_ids_S[places]
            rows.ids[mine, ends + ahead] = tokens
        known = ends + count
        rows.settled[mine] = known - 1
        rows.known[mine] = known
        if batch.is_burst:
            rows.computed[mine] = known - 1
        state.counters.generation_tokens_total += (count - 1) * mine.size
        look = (known >= rows.limit[mine]) | (state.is_eos[tokens] & rows.checks_eos[mine])
        for at in np.flatnonzero(look).tolist():
            self._took(batch, batch.decoding[places[at]], int(tokens[at]), None)

    def _verify(self, batch: Batch, request: Request, place: int, output: StepOutput) -> None:
        """Takes the draws one after the other, as long as what came of them is what was drafted.

        Each was made with the seed, counter, mask and penalties that it would have without a draft, so the tokens are
        the same as without. K and V of the drafted tokens that came are computed: where the draft branched, their
        slots change places with those of the way that did not come, which are overwritten later.
        """
        state, rows, row = self._state, self._state.rows, request.row
        draft = batch.drafts[request]
        drawn = output.token_ids_S[place : place + draft.size + 1]
        assert state.speculator is not None
        state.speculator.verified(request, draft.trial(draft.right(drawn)))
        request.num_verified += 1
        request.num_proposed += draft.size
        state.counters.spec_verify_total += 1
        state.counters.spec_proposed_drafts_total += draft.size
        at, num_sound, first = 0, batch.num_sound.get(request, drawn.size), int(rows.known[row])
        while at < num_sound:
            state.counters.generation_tokens_total += at > 0
            known, token = int(rows.known[row]), int(drawn[at])
            rows.ids[row, known] = token
            rows.known[row] = known + 1
            if self._passes_on(request, token):  # the other draws are masked as if the part went on
                num_sound = at + 1
            if self._take(batch, request, token, output.logprobs_S[place + at]):
                break  # the other draws know nothing of what it may not do again
            if request.status is not Status.RUNNING:
                return
            came = rows.ids[row, known : rows.known[row]]  # and what the grammar forces
            places = draft.follow(at - 1, came)
            if draft.parents is not None:
                for position, drafted in enumerate(places, known):
                    _swap(rows.page_table[row], position, first + drafted)
            num_same = len(places)
            rows.computed[row] += num_same
            rows.settled[row] += num_same
            request.num_correct += num_same
            state.counters.spec_correct_drafts_total += num_same
            at = places[-1] + 1 if num_same == came.size else at + came.size
            if request.submit.echo_steps:  # as it would be told without drafts: token by token
                state.report(request, None)
            if num_same < came.size:
                break
            if at >= num_sound:  # what follows is to be drawn again, from the row of the last token
                rows.computed[row] -= 1
                rows.settled[row] -= 1

    def _took(self, batch: Batch, request: Request, token: int, logprobs: Logprobs | None) -> None:
        """A drawn token, in the row already: takes it, and tells it."""
        self._take(batch, request, token, logprobs)
        if request.submit.echo_steps and request.status is Status.RUNNING and request not in batch.redo:
            self._state.report(request, None)

    def _took_looked(self, request: Request, token: int) -> None:
        """One that its matcher simply goes on from."""
        request.num_ahead -= 1
        if request.penalties is not None:
            request.penalties.add(token)
        finish = self._stopped(request, token)
        if finish is not None:
            self._state.finish(request, finish)
        elif request.submit.echo_steps:
            self._state.report(request, None)

    def _take(self, batch: Batch, request: Request, token: int, logprobs: Logprobs | None) -> bool:
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
                    if self.jump_forward and not request.asks_logprobs:
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

    def _passes_on(self, request: Request, token: int) -> bool:
        """Whether a token ends the open part of a sequence, without being of it."""
        matcher = request.matcher
        return isinstance(matcher, SequenceMatcher) and (token in self._state.eos_token_ids or matcher.is_cut_by(token))

    def _pass_on(self, request: Request, matcher: SequenceMatcher, token: int) -> int:
        """Where a token ends a part of a sequence, the first id of what comes next takes its place."""
        if not self._passes_on(request, token):
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


def _swap(slots: Int32, one: int, other: int) -> None:
    slots[one], slots[other] = int(slots[other]), int(slots[one])


def _failed(request: Request, message: str) -> Finish:
    """A constraint that cannot go on: our engine's fault, or no answer was found that passes its checks."""
    code = request.matcher.error_code if request.matcher is not None else "grammar_failed"
    return Finish("error", message=message, status=422 if code == "constraint_failed" else 500, code=code)


def told(logprobs: Logprobs, token: int, num_top: int) -> TokenLogprobs:
    """As a message tells it."""
    top = list(zip(logprobs.top_logprobs[:num_top], logprobs.top_ids[:num_top], strict=True))
    return TokenLogprobs(float(logprobs.logprob), token, top, list(logprobs.id_logprobs))


def _take_score(request: Request, position: int, batch: Batch, scored: Logprobs, state: State) -> None:
    asked = request.submit.logprobs
    if asked is None or request.status is not Status.RUNNING:
        if request.status is Status.WAITING and position >= 0:  # it was put back: it computes this once more
            request.scored_len = min(request.scored_len, position)
        return
    if position >= 0:
        token = int(state.rows.ids[request.row, position])
        request.prompt_logprobs.append(told(scored, token, asked.num_top))
    elif scored.top_ids:
        logprob = scored.logprob if math.isfinite(scored.logprob) else scored.top_logprobs[0]
        request.logprobs.append(told(scored._replace(logprob=logprob), scored.top_ids[0], asked.num_top))
