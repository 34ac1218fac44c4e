"""Requests that take the engine down with them: whoever was running at two of its deaths is refused for a while."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

import msgspec

from ..errors import RequestError
from .messages import Submit

REFUSED_FOR_S = 600.0
_DEATHS = 2
_MAX_SUSPECTS = 4096
_encode = msgspec.msgpack.Encoder().encode


class Suspects:
    """What ran when the engine died, by fingerprint. Innocents that ran beside a culprit are remembered as well, and
    refused only if they run beside it again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: dict[bytes, tuple[int, float]] = {}
        """Fingerprint to how many deaths it ran at, and when the last one was; the latest come last."""

    def note_death(self, running: Iterable[Submit]) -> None:
        """The engine died while these ran."""
        now = self._clock()
        self._deaths = {print_: found for print_, found in self._deaths.items() if now - found[1] < REFUSED_FOR_S}
        for print_ in {fingerprint(submit) for submit in running}:
            deaths, _ = self._deaths.pop(print_, (0, now))
            self._deaths[print_] = (deaths + 1, now)
        while len(self._deaths) > _MAX_SUSPECTS:
            del self._deaths[next(iter(self._deaths))]

    def check(self, submit: Submit) -> None:
        """Raises RequestError (code poison_pill) for a request that was running at two deaths. Costs nothing while
        there are no suspects."""
        if not self._deaths:
            return
        deaths, last = self._deaths.get(fingerprint(submit), (0, 0.0))
        left = REFUSED_FOR_S - (self._clock() - last)
        if deaths >= _DEATHS and left > 0:
            raise RequestError(
                f"this request was running when the engine died, {deaths} times; it is refused for {left:.0f} s more. "
                "Change it, or report it with the server's log",
                code="poison_pill",
            )


def fingerprint(submit: Submit) -> bytes:
    """Of what is computed, not of who asks or what it is called."""
    told = (submit.token_ids, submit.parent_len, submit.sampling, submit.constraint, submit.logprobs)
    return hashlib.blake2b(_encode((*told, submit.want_hidden)), digest_size=16).digest()
