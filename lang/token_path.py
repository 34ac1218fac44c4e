"""A stream as the engine sees it: spans of text and spans of generated token ids, in order.

Text that the program wrote stays text and merges with its neighbours, so that the engine tokenizes it as one; tokens
that the model generated stay ids, so that the next call meets exactly what the cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Part = str | list[int]


class Kept(NamedTuple):
    """How a generation's text continues a path: ids first, then text that no id boundary spells."""

    token_ids: list[int]
    rest: str


class TokenPath:
    """The parts so far. Forking copies the list; the id spans are shared and never change."""

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._parts: list[Part] = list(parts)

    def fork(self) -> TokenPath:
        return TokenPath(self._parts)

    def append_text(self, text: str) -> None:
        if not text:
            return
        if self._parts and isinstance(self._parts[-1], str):
            self._parts[-1] += text
        else:
            self._parts.append(text)

    def append_generated(self, kept: Kept) -> None:
        if kept.token_ids:
            self._parts.append(list(kept.token_ids))
        self.append_text(kept.rest)

    def mark(self) -> int:
        """A place to return to: before the next generation."""
        return len(self._parts)

    def restore(self, mark: int, pending: Part | None) -> None:
        """Drops what came after `mark`; `pending`: the span that ended there."""
        del self._parts[mark:]
        if pending is not None and self._parts:
            self._parts[-1] = pending

    def last(self) -> Part | None:
        """The span at the end."""
        return self._parts[-1] if self._parts else None

    def give_up(self, num_tokens: int, text: str) -> None:
        """Drops the end of the last span that is not empty: `num_tokens` ids that spell `text`."""
        place = next(i for i in reversed(range(len(self._parts))) if self._parts[i])
        part = self._parts[place]
        self._parts[place] = part[: len(part) - (len(text) if isinstance(part, str) else num_tokens)]

    def parts(self) -> list[Part]:
        """As `prompt_parts` of a request; one empty span for an empty path. The id spans are the path's own."""
        return list(self._parts) or [""]

    def __len__(self) -> int:
        return len(self._parts)


def kept_of(
    token_ids: Sequence[int], text: str, meta: dict[str, Any], end_token_ids: frozenset[int] = frozenset()
) -> Kept:
    """The longest prefix of `token_ids` that spells a prefix of `text`, and the text behind it.

    What the ids spell is known where nothing was cut (the text is theirs), where a token ended the generation (it is
    not in the text), and where the meta information says it, as `text_token_ids_len` with `text_token_ids_chars`, or as
    token texts in output_token_logprobs. Elsewhere the text alone goes on.
    """
    ids = list(token_ids)
    if not text:
        return Kept([], "")
    finish = meta.get("finish_reason") or {}
    kind, matched = finish.get("type"), finish.get("matched")
    known = meta.get("text_token_ids_len")
    if known is not None:
        return Kept(ids[: int(known)], text[int(meta.get("text_token_ids_chars", len(text))) :])
    if kind in ("length", "abort", None):
        return Kept(ids, "")
    if isinstance(matched, int):
        while ids and ids[-1] == matched:
            ids.pop()
        return Kept(ids, "")
    if matched is None and end_token_ids:
        while ids and ids[-1] in end_token_ids:
            ids.pop()
        return Kept(ids, "")
    return _by_token_texts(ids, text, meta.get("output_token_logprobs"))


def _by_token_texts(ids: list[int], text: str, logprobs: Sequence[Sequence[Any]] | None) -> Kept:
    num_chars = num_ids = 0
    if logprobs is not None and len(logprobs) == len(ids):
        for entry in logprobs:
            piece = entry[2] if len(entry) > 2 else None
            if not piece or not text.startswith(piece, num_chars):
                break
            num_chars += len(piece)
            num_ids += 1
    return Kept(ids[:num_ids], text[num_chars:])
