"""Speculator: asks the drafters, decides how much of what they say is worth a try, and learns from what came of it.

The scheduler calls `look` while a step runs (that costs microseconds and no step: it learns how often drafts would have
been right, and sees whether one is worth a try), `plan` when it builds a step behind everything that is committed,
`verified` when a draft was compared with what the model drew, `forget` when a request leaves its row, `observe` when it
ended well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...radix_cache.node import Int32
from ..request import Request
from .acceptance import Acceptance, Float64
from .choose import choose_depth, choose_lengths, may_pay
from .costs import StepCosts
from .drafter import NO_IDS, Draft, Drafter, Track
from .predictions import Predictions
from .token_tree import TokenTree, Trial

if TYPE_CHECKING:
    from ..scheduler.rows import Rows

_LOOKS = 8  # requests that free drafters are asked about in one step; more take turns
_SURE = 0.8  # chance of the next token above which no other drafter is asked
_PROBE_EVERY = 64  # tokens of a request after which a model that does not pay may draft one again
_WORTH_EVERY = 32  # steps after which it is asked again whether drafts can pay at all beside so many rows


class _Guess(NamedTuple):
    """What a drafter said when `known` tokens were known."""

    known: int
    draft: Draft


class _Offer(NamedTuple):
    track: Track
    draft: Draft
    chances: Float64


class Speculator:
    """One an engine; everything on the scheduler's thread."""

    def __init__(
        self,
        drafters: Sequence[Drafter],
        rows: Rows,
        *,
        max_draft_len: int,
        max_rows: int,
        predictions: Predictions | None = None,
    ) -> None:
        """max_rows: steps of more rows than that are left alone."""
        self._drafters = drafters
        self._free = [drafter for drafter in drafters if drafter.is_free]
        self._models = [drafter for drafter in drafters if not drafter.is_free]
        self._rows = rows
        self._max_draft_len = max_draft_len
        self._max_rows = max_rows
        self._tracks: dict[Request, Track] = {}
        self._guesses: dict[Track, _Guess] = {}
        self._groups: dict[str, dict[Track, None]] = {}
        self._acceptance = Acceptance()
        self._worth: dict[int, tuple[int, bool]] = {}
        self._num_asked = self._turn = 0
        self.costs = StepCosts()
        self.predictions = predictions
        """None: bursts guess nothing."""
        self.num_right = 0
        """Drafts of which a token was right."""

    # ---- deciding

    def look(self, requests: Sequence[Request]) -> bool:
        """Whether a draft is worth a try, so that the next step should be planned when all is committed."""
        num_rows = len(requests)
        if not self._pays(num_rows, requests):
            return False
        if any(self._lengths(self._offers(requests), num_rows, requests)):
            return True
        return any(self._ask(drafter, requests, num_rows, num_rows * self._max_draft_len) for drafter in self._models)

    def plan(self, requests: Sequence[Request], num_rows: int, max_tokens: int) -> dict[Request, TokenTree]:
        """Drafts worth a try, of `requests` whose every token is known, in a step of `num_rows` rows without them;
        `max_tokens` at most in all."""
        if max_tokens < 1 or not self._pays(num_rows, requests):
            return {}
        offers = self._offers(requests)
        drafts: dict[Request, TokenTree] = {}
        for offer, length in zip(offers, self._lengths(offers, num_rows, requests), strict=True):
            if length and max_tokens:
                max_tokens -= self._take(offer.track, offer.draft, min(length, max_tokens), drafts)
        for drafter in self._models:
            left = [request for request in requests if request not in drafts]
            num_drafted = sum(draft.size for draft in drafts.values())
            tracks, depth = self._ask(drafter, left, num_rows + num_drafted, max_tokens) or ([], 0)
            for track, draft in zip(tracks, drafter.propose(tracks, depth), strict=True):
                track.asked_at[drafter.name] = track.known
                if draft is not None and (draft := self._cut(track, draft)) is not None:
                    max_tokens -= self._take(track, draft, draft.ids.size, drafts)
        return drafts

    def verified(self, request: Request, trial: Trial) -> None:
        """What a step told that tried the draft which `plan` gave last."""
        track = self._tracks.get(request)
        guess = None if track is None else self._guesses.pop(track, None)
        if track is not None and guess is not None:
            self._acceptance.add(track, guess.draft, trial)
        self.num_right += trial.right > 0

    def forget(self, request: Request) -> None:
        """It leaves its row."""
        if self.predictions is not None:
            self.predictions.forget(request)
        track = self._tracks.pop(request, None)
        if track is None:
            return
        self._guesses.pop(track, None)
        if request.group is not None:
            del track.group[track]
            if not track.group:
                del self._groups[request.group]
        for drafter in self._drafters:
            drafter.forget(track)
        track.ids, track.known = NO_IDS, 0

    def observe(self, request: Request, ids: Int32) -> None:
        """It ended well with these ids, prompt and output."""
        for drafter in self._drafters:
            drafter.observe(request, ids)
        if self.predictions is not None:
            self.predictions.observe(request, ids)

    def flush(self) -> None:
        """Forgets what ended requests said."""
        for drafter in self._drafters:
            drafter.flush()
        if self.predictions is not None:
            self.predictions.flush()

    # ---- inside

    def _pays(self, num_rows: int, requests: Sequence[Request]) -> bool:
        """Whether drafts can pay at all beside so many rows."""
        if not requests or num_rows > self._max_rows:
            return False
        self._num_asked += 1
        until, worth = self._worth.get(num_rows, (0, False))
        if self._num_asked > until:
            worth = may_pay(num_rows, self._curve(requests), self._max_draft_len * len(requests))
            self._worth[num_rows] = self._num_asked + _WORTH_EVERY, worth
        return worth

    def _curve(self, requests: Sequence[Request]) -> Float64:
        known = self._rows.known
        return self.costs.curve(sum(int(known[request.row]) for request in requests) // len(requests))

    def _lengths(self, offers: list[_Offer], num_rows: int, requests: Sequence[Request]) -> list[int]:
        return choose_lengths([offer.chances for offer in offers], num_rows, self._curve(requests)) if offers else []

    def _offers(self, requests: Sequence[Request]) -> list[_Offer]:
        """The best draft of each request that has one."""
        if len(requests) > _LOOKS:
            turn = {(self._turn + i) % len(requests) for i in range(_LOOKS)}
            self._turn = (self._turn + _LOOKS) % len(requests)
            requests = [r for i, r in enumerate(requests) if i in turn or self._tracks.get(r) in self._guesses]
        tracks = [self._track(request) for request in requests]
        best: dict[Track, _Offer] = {}
        asked = tracks
        for drafter in self._free:
            for track, draft in zip(asked, drafter.propose(asked, self._max_draft_len), strict=True):
                if draft is not None and (draft := self._cut(track, draft)) is not None:
                    chances = self._acceptance.chances(track, draft)
                    if draft.parents is not None:  # the likelier ones first: what is tried of it is the beginning
                        order = np.argsort(-chances, kind="stable")
                        draft, chances = draft.of(draft.tokens.only(order.tolist())), chances[order]
                    if track not in best or chances[0] > best[track].chances[0]:
                        best[track] = _Offer(track, draft, chances)
            asked = [track for track in asked if track not in best or best[track].chances[0] < _SURE]
            if not asked:
                break
        for offer in best.values():
            self._guesses[offer.track] = _Guess(offer.track.known, offer.draft)
        return list(best.values())

    def _track(self, request: Request) -> Track:
        """Up to date; what came since the last look says how good the last guess was."""
        known = int(self._rows.known[request.row])
        track = self._tracks.get(request)
        if track is None:
            track = self._tracks[request] = Track(request, self._rows.ids[request.row], known)
            if request.group is not None:
                track.group = self._groups.setdefault(request.group, {})
                track.group[track] = None
            return track
        guess = self._guesses.get(track)
        if guess is not None and known != guess.known:
            del self._guesses[track]
            if known > guess.known:
                tokens = guess.draft.tokens
                came = tokens.follow(-1, track.ids[guess.known : known])
                self._acceptance.add(track, guess.draft, tokens.trial(came, known - guess.known))
        track.known = known
        return track

    def _cut(self, track: Track, draft: Draft) -> Draft | None:
        """Without what can never be accepted: an end of the text is drawn, never computed, and so is the last token."""
        request = track.request
        tokens, room = draft.tokens, int(self._rows.limit[request.row]) - track.known - 1
        if request.matcher is not None:
            tokens = tokens.chain()  # masks are filled along one way
        if tokens.size > room or not request.stop_ids.isdisjoint(tokens.ids.tolist()):
            kept, depths = list[int](), tokens.depths().tolist()
            for place, token in enumerate(tokens.ids.tolist()):
                above = tokens.parent(place)
                if token not in request.stop_ids and depths[place] < room and (above < 0 or above in kept):
                    kept.append(place)
            tokens = tokens.only(kept).first(self._rows.width - track.known)
        return draft.of(tokens) if tokens.size else None

    def _take(self, track: Track, draft: Draft, length: int, drafts: dict[Request, TokenTree]) -> int:
        tokens = drafts[track.request] = draft.tokens.first(length)
        self._guesses[track] = _Guess(track.known, draft.of(tokens))
        return tokens.size

    def _ask(
        self, drafter: Drafter, requests: Sequence[Request], num_rows: int, max_tokens: int
    ) -> tuple[list[Track], int] | None:
        """Whom a model shall draft for, and how many tokens each; None where its steps would not pay."""
        tracks = [self._track(request) for request in requests[:max_tokens]]
        if not tracks:
            return None
        chance = sum(self._acceptance.chance(track, drafter.name) for track in tracks) / len(tracks)
        max_depth = min(self._max_draft_len, max_tokens // len(tracks))
        step_s = drafter.step_seconds(len(tracks))
        depth = choose_depth(chance, len(tracks), num_rows, self._curve(requests), step_s, max_depth)
        if depth:
            return tracks, depth
        if not choose_depth(1.0, len(tracks), num_rows, self._curve(requests), step_s, max_depth):
            return None  # too slow, however often it is right
        due = [track for track in tracks if track.known - track.asked_at.get(drafter.name, 0) >= _PROBE_EVERY]
        return (due, 1) if due else None
