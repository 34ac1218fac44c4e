"""Stop strings and stop patterns, looked for in the text as it grows: a match may span tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...errors import InvalidSampling
from ..tokenizer.interface import Detokenizer

if TYPE_CHECKING:
    import regex

_REGEX_WINDOW = 4096  # characters before the new text in which a match may begin
_REGEX_TIMEOUT_S = 0.05  # one search; a pattern that needs longer ends its request, not the batch


class StopTimeout(Exception):
    """A stop pattern took too long."""


class StopChecker:
    """Of one request."""

    def __init__(
        self,
        stop: Sequence[str],
        stop_regex: Sequence[str],
        new_detokenizer: Callable[[], Detokenizer],
        *,
        skip: int = 0,
    ) -> None:
        """`skip`: characters at the beginning that are the prompt's. Raises InvalidSampling for a bad pattern."""
        self._skip = self._skipped_first = skip
        self._stop = stop
        self._longest = max((len(string) for string in stop), default=0)
        self._patterns = [_compiled(pattern) for pattern in stop_regex]
        self._new_detokenizer = new_detokenizer
        self._detokenizer = new_detokenizer()
        self._text = ""

    def push(self, token_id: int) -> str | None:
        """The stop string or pattern that the text with this token contains, the one that begins first.

        Raises StopTimeout.
        """
        old_len = len(self._text)
        if not self._append((token_id,)):
            return None
        found: list[tuple[int, int, str]] = []
        low = max(0, old_len - self._longest + 1)
        for order, string in enumerate(self._stop):
            at = self._text.find(string, low)
            if at >= 0:
                found.append((at, order, string))
        if self._patterns:
            found.extend(self._search(old_len))
        elif len(self._text) > 4 * self._longest + 1024:
            self._text = self._text[-self._longest :]
        return min(found)[2] if found else None

    def begin_again(self, token_ids: Sequence[int]) -> None:
        """As if only these had been pushed: what came behind them was taken back, none of them ended the text."""
        self._detokenizer = self._new_detokenizer()
        self._text, self._skip = "", self._skipped_first
        self._append(token_ids)

    def _append(self, token_ids: Sequence[int]) -> bool:
        """The new text of the tokens; False: there is none."""
        new = self._detokenizer.push(token_ids)
        if self._skip:
            skipped = min(self._skip, len(new))
            self._skip -= skipped
            new = new[skipped:]
        self._text += new
        return bool(new)

    def _search(self, old_len: int) -> list[tuple[int, int, str]]:
        low = max(0, old_len - _REGEX_WINDOW)
        found = []
        for order, pattern in enumerate(self._patterns):
            try:
                match = pattern.search(self._text, low, timeout=_REGEX_TIMEOUT_S)
            except TimeoutError:
                raise StopTimeout from None
            if match is not None and match.end() > match.start():
                found.append((match.start(), len(self._stop) + order, pattern.pattern))
        return found


def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex  # few requests have patterns, and no start waits for the library

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise InvalidSampling(f"stop_regex {pattern!r} is not a pattern: {error}", param="stop_regex") from None
