"""Ids to text, incrementally: bytes go through one UTF-8 decoder, so a character appears with its last byte."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class ByteDetokenizer:
    """See `Detokenizer`. `bytes_of` gives a token's bytes, b"" for tokens that are skipped.

    Bytes that can no longer become a character are U+FFFD at once; an unfinished one waits for `flush`.
    """

    def __init__(self, bytes_of: Callable[[Sequence[int]], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_ids: Sequence[int]) -> str:
        return self._decoder.decode(self._bytes_of(token_ids))

    @property
    def holds(self) -> bool:
        return bool(self._decoder.getstate()[0])

    def flush(self) -> str:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
