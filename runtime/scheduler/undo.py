"""Tokens taken back: what a matcher accepted and then found wrong is dropped, and its place is drawn again."""

from __future__ import annotations

from ..request import Request
from .state import State


def take_back(request: Request, state: State, *, num_tokens: int) -> None:
    """Drops the last `num_tokens` known tokens, which nobody was told of, and what depends on them.

    The token before them is computed once more, into the place that it has: its row is drawn from again. A step in
    flight that goes on from what is dropped runs in vain.
    """
    rows, row, matcher = state.rows, request.row, request.matcher
    assert matcher is not None
    known = int(rows.known[row]) - num_tokens
    assert known >= request.prompt_len
    if request.penalties is not None:
        for token in rows.ids[row, known : known + num_tokens].tolist():
            request.penalties.remove(token)
    matcher.rollback(matcher.take_back)
    rows.known[row] = known
    if request.stops is not None:
        request.stops.begin_again(rows.ids[row, request.prompt_len : known].tolist())
    if rows.computed[row] >= known:
        rows.computed[row] = known - 1
        rows.void_in[row] = state.in_flight
        rows.drawn_in[row] = -1
    rows.settled[row] = min(int(rows.settled[row]), known - 1)
    del request.logprobs[max(0, known - request.prompt_len - request.reported_len) :]
    state.counters.retaken_tokens_total += num_tokens
