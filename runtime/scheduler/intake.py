"""From a Submit to a waiting request, or to the error that says why not. Every path answers."""

from __future__ import annotations

import logging

import numpy as np

from ...constrained.constraint import Healed
from ...constrained.matcher import CompiledGrammar
from ...constrained.sequence import SequenceMatcher
from ...errors import InternalError, OverloadedError, PromptTooLong, RadixlangError, RequestError
from ...radix_cache.node import Int32
from ..lora.names import namespace_of
from ..messages import Finish, Output, Submit, TokenLogprobs
from ..request import Request, Status
from ..tokenizer.interface import Tokenizer
from .grammars import Grammars
from .sampling import prepare
from .state import State
from .stops import StopChecker

logger = logging.getLogger(__name__)


def error_finish(error: BaseException) -> Finish:
    """What a client is told; an exception that is no RadixlangError is our bug, and only the log has its details."""
    if isinstance(error, RadixlangError):
        param = error.param or getattr(error, "pointer", None)  # where in a constraint: the front knows its field
        return Finish("error", message=error.message, status=error.status, code=error.code, param=param)
    return Finish("error", message="internal error: a bug in radixlang", status=500, code=InternalError.code)


class Intake:
    """Validates and enters requests."""

    def __init__(self, state: State, tokenizer: Tokenizer, grammars: Grammars) -> None:
        self._state = state
        self._tokenizer = tokenizer
        self._grammars = grammars

    def submit(self, submit: Submit) -> None:
        state = self._state
        state.counters.num_requests_total += 1
        try:
            request = self._request(submit)
            if submit.constraint is not None:
                state.counters.num_so_requests_total += 1
                self._grammars.compile(request)
        except RadixlangError as error:
            self._refuse(submit, error)
            return
        except Exception as error:
            logger.exception("request %s: could not be taken in", submit.rid)
            self._refuse(submit, error)
            return
        state.requests[request.rid] = request
        if submit.constraint is not None:
            state.compiling[request] = None
        for expected in submit.expects:
            state.leases.expect(expected, request.namespace, state.now_s, state.step)
        request.benefit = state.look_up(request)
        state.queue.add(request)

    def accept(self, request: Request, grammar: CompiledGrammar) -> None:
        """Its grammar is ready: it may go beyond its prompt."""
        state = self._state
        request.matcher = grammar.matcher(request.max_new_tokens)
        prompt_len = request.ids.size
        self._force_first(request)
        if request.status is Status.RUNNING:
            if request.held_since_s >= 0:
                request.admitted_s += state.clock() - request.held_since_s  # that wait is told as the grammar's
            rows, row = state.rows, request.row
            rows.ids[row, prompt_len : request.ids.size] = request.ids[prompt_len:]
            rows.known[row] = request.ids.size
        elif request.ids.size > prompt_len:
            state.queue.update(request, state.look_up(request))

    def _force_first(self, request: Request) -> None:
        """What the grammar forces before anything is drawn is computed with the prompt."""
        state, matcher = self._state, request.matcher
        assert matcher is not None
        if request.draws_forced:
            request.owed = matcher.forced()
            return
        if state.config.disable_jump_forward or isinstance(matcher, SequenceMatcher):
            return
        if request.stops is not None or request.penalties is not None:  # those look at each token as it comes
            return
        forced = matcher.forced()[: max(0, request.max_new_tokens - 1)]
        if not forced:
            return
        taken, ahead = [], matcher.copy()
        for token in forced:
            if token in request.stop_ids or not ahead.accept(token) or ahead.take_back or ahead.error is not None:
                break
            if ahead.is_finished:  # something must be drawn, or nothing ends the answer
                request.owed = [token]
                break
            matcher.accept(token)
            taken.append(token)
        if taken:
            request.ids = np.concatenate((request.ids, np.array(taken, np.int32)))
            request.forced_len += len(taken)
            state.counters.forced_tokens_total += len(taken)
            state.counters.generation_tokens_total += len(taken)

    def _refuse(self, submit: Submit, error: Exception) -> None:
        self._state.counters.num_failed_requests_total += 1
        output = Output(submit.rid, [], len(submit.token_ids))
        output.finish = error_finish(error)
        self._state.outputs.append(output)

    def _request(self, submit: Submit) -> Request:
        state = self._state
        if submit.rid in state.requests:
            raise RequestError(f"a request {submit.rid!r} is running already", param="rid", code="duplicate_request_id")
        if state.queue.is_full(submit.call or submit.rid, state.config.max_queued_requests):
            raise OverloadedError(
                f"the queue is full ({state.config.max_queued_requests} requests wait); try again",
                status=429,
                code="queue_full",
            )
        adapter = state.adapters.of(submit.adapter)
        namespace = namespace_of(submit.namespace, adapter)
        ids = self._ids(submit, namespace)
        state.num_seen += 1
        request = Request(submit, ids, seq=state.num_seen, now_s=state.now_s)
        request.adapter, request.namespace = adapter, namespace
        request.max_new_tokens = self._room(ids.size, submit.sampling.max_new_tokens)
        sampling = submit.sampling
        prepare(request, state, index=submit.index)
        request.draws_forced = request.asks_logprobs and not state.config.disable_jump_forward
        if sampling.stop or sampling.stop_regex:
            skips = sampling.skip_special_tokens
            healed = len(submit.constraint.prefix) if isinstance(submit.constraint, Healed) else 0
            request.stops = StopChecker(
                sampling.stop,
                sampling.stop_regex,
                lambda: self._tokenizer.detokenizer(skip_special_tokens=skips),
                skip=healed,
            )
        if submit.logprobs is not None and submit.logprobs.prompt_start >= 0:
            request.scored_len = submit.logprobs.prompt_start
            if request.scored_len == 0:
                request.prompt_logprobs.append(TokenLogprobs(None, int(ids[0])))
                request.scored_len = 1
        return request

    def _ids(self, submit: Submit, namespace: str) -> Int32:
        ids = np.array(submit.token_ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self._state.vocab_size):
            raise RequestError(
                f"token ids must be in [0, {self._state.vocab_size - 1}], found {int(ids.max())}", param="input_ids"
            )
        whole: Int32 = ids.astype(np.int32)
        if submit.parent is not None:
            lease = self._state.leases.use(submit.parent, self._state.now_s)
            if lease is None or lease.namespace != namespace:
                error = RequestError(
                    f"no path is kept under {submit.parent!r}: send the whole prompt",
                    param="parent",
                    code="unknown_stream",
                )
                error.status = 404
                raise error
            if not 0 <= submit.parent_len <= lease.ids.size:
                raise RequestError(
                    f"parent_len must be in [0, {lease.ids.size}], found {submit.parent_len}", param="parent_len"
                )
            whole = np.concatenate((lease.ids[: submit.parent_len], whole))
        if not whole.size:
            raise RequestError("the prompt is empty", param="input_ids", code="empty_prompt")
        return whole

    def _room(self, prompt_len: int, max_new_tokens: int) -> int:
        """max_new_tokens, capped at the room that the prompt leaves; PromptTooLong where it leaves none."""
        state = self._state
        limit = min(state.max_context, state.pool.num_slots)
        if prompt_len + min(1, max_new_tokens) > limit:
            raise PromptTooLong(prompt_len + max_new_tokens, limit, param="input_ids")
        return min(max_new_tokens, limit - prompt_len)
