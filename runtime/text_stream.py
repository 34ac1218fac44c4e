"""One generation's text on its way to the reader: decoded incrementally, stop strings held back and cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .messages import Finish
from .sampling_params import SamplingParams
from .tokenizer.interface import Detokenizer, Tokenizer

if TYPE_CHECKING:
    import regex

REGEX_TIMEOUT_S = 0.1


class TextStream:
    """Ids in, certain text out. What might become a stop is held back until it is decided."""

    def __init__(self, tokenizer: Tokenizer, sampling: SamplingParams, *, skip: int = 0) -> None:
        """`skip`: characters at the beginning that the reader has already, the healed end of the prompt."""
        self._skip = self._skip_left = skip
        self._tokenizer = tokenizer
        self._skip_special_tokens = sampling.skip_special_tokens
        self._detokenizer = self._new_detokenizer()
        self._stop = sampling.stop
        self._patterns = _compiled(sampling.stop_regex)
        self._keep_stop = sampling.no_stop_trim
        self._text = ""
        """Everything decoded; empty and unused without stops."""
        self._given = 0
        """Characters of it already handed out."""

    def _new_detokenizer(self) -> Detokenizer:
        return self._tokenizer.detokenizer(skip_special_tokens=self._skip_special_tokens)

    @property
    def _has_stops(self) -> bool:
        return bool(self._stop or self._patterns)

    def push(self, token_ids: Sequence[int], finish: Finish | None = None) -> str:
        """The new text that is certain. With `finish` the rest, cut at the stop that ended it.

        A token id that ended the generation (finish.matched an int) is not text, unless no_stop_trim.
        """
        ids = list(token_ids)
        if finish is not None and finish.type == "stop" and isinstance(finish.matched, int) and not self._keep_stop:
            ids = ids[:-1]
        text = self._detokenizer.push(ids) if ids else ""
        if finish is not None:
            text += self._detokenizer.flush().rstrip("\ufffd")  # half a character at the end is nothing
        if self._skip_left:
            skipped = min(self._skip_left, len(text))
            self._skip_left -= skipped
            text = text[skipped:]
        if not self._has_stops:
            return text
        self._text += text
        if finish is not None and finish.type == "stop" and isinstance(finish.matched, str):
            end = self._stop_at()
        else:
            end = len(self._text) if finish is not None else self._certain()
        piece = self._text[self._given : end] if end > self._given else ""
        self._given = max(self._given, end)
        return piece

    def decoded(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` alone."""
        detokenizer = self._new_detokenizer()
        return detokenizer.push(list(token_ids)) + detokenizer.flush().rstrip("\ufffd")

    def kept(self, token_ids: Sequence[int], finish: Finish | None) -> tuple[int, int] | None:
        """Where a stop cut the text: how many of all `token_ids` spell a prefix of what is left, and its characters."""
        if finish is None or finish.type != "stop" or not isinstance(finish.matched, str) or not self._has_stops:
            return None
        detokenizer, num_ids, num_chars, held = self._new_detokenizer(), 0, 0, 0
        for count, token_id in enumerate(token_ids, 1):
            held += len(detokenizer.push([token_id]))
            if held > self._given + self._skip:
                break
            if not detokenizer.holds and held >= self._skip:
                num_ids, num_chars = count, held - self._skip
        return num_ids, num_chars

    def _stop_at(self) -> int:
        """Where the text ends: at the earliest stop (behind it, if stops are kept)."""
        found = [(at, at + len(s)) for s in self._stop if (at := self._text.find(s)) >= 0]
        for pattern in self._patterns:
            match = _search(pattern, self._text, partial=False)
            if match is not None:
                found.append(match)
        if not found:
            return len(self._text)
        start, end = min(found)
        return end if self._keep_stop else start

    def _certain(self) -> int:
        """Characters that no continuation can turn into a stop's part."""
        text, certain = self._text, len(self._text)
        for stop in self._stop:
            for held in range(min(len(stop) - 1, len(text) - self._given), 0, -1):
                if text.endswith(stop[:held]):
                    certain = min(certain, len(text) - held)
                    break
        for pattern in self._patterns:
            match = _search(pattern, text, partial=True)
            if match is not None:
                certain = min(certain, match[0])
        return certain


def _compiled(patterns: Sequence[str]) -> list[regex.Pattern[str]]:
    if not patterns:
        return []
    import regex  # few requests have patterns, and no start waits for the library

    return [regex.compile(pattern) for pattern in patterns]


def _search(pattern: regex.Pattern[str], text: str, *, partial: bool) -> tuple[int, int] | None:
    try:
        match = pattern.search(text, partial=partial, timeout=REGEX_TIMEOUT_S)
    except TimeoutError:
        return None
    return None if match is None or (match.start() == len(text) and match.start() == match.end()) else match.span()
