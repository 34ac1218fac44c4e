"""Results of a step back into requests, cache and answers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import Int32
from ..messages import Finish
from ..model_runner.plan import Guessed, Logprobs, StepOutput
from ..request import Request, Status
from .batch import Batch
from .checkpoints import checkpoint
from .looks import Looks
from .state import State
from .taker import Taker, told


class Committer:
    """Applies what the executor returned, or that it failed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._taker = Taker(state)
        self.looks = Looks(self._taker)
        """What the bursts call whose rows have masks."""

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
            outputs = [output, *output.further]
            if batch.bound:
                del outputs[self.looks.settle(batch, len(outputs)) :]
            self._commit_decode(batch, outputs)
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
            self._taker.took(batch, request, token, output.logprobs_S[place])
        for request in batch.complete:
            if request.status is Status.RUNNING:
                state.finish(request, Finish("length"))
        checkpoint(state)

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
                    self._taker.took_looked(request, token)
                else:
                    self._taker.took(batch, request, token, outputs[ahead].logprobs_S[place])
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
            self._taker.took(batch, batch.decoding[places[at]], int(tokens[at]), None)

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
            if self._taker.passes_on(request, token):  # the other draws are masked as if the part went on
                num_sound = at + 1
            if self._taker.take(batch, request, token, output.logprobs_S[place + at]):
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


def _swap(slots: Int32, one: int, other: int) -> None:
    slots[one], slots[other] = int(slots[other]), int(slots[one])


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
