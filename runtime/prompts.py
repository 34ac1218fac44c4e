"""Prompts as token ids: texts span by span; what cannot be one is refused; the end may be decided again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from .. import errors
from .generate_request import PromptPart
from .healing import Healer
from .tokenizer.interface import Tokenizer
from .tokenizer.spans import SpanCache

LONG_TEXT = 8192
"""Characters above which text is tokenized in a thread (the library releases the GIL)."""
TOKEN_LEN = 256
"""Characters that no usual token exceeds: a text of more than this for each place of the context does not fit."""


class Prompts:
    """Of one engine."""

    def __init__(self, tokenizer: Tokenizer, info: dict[str, Any]) -> None:
        """info: as Front's."""
        self._tokenizer = tokenizer
        self._info = info
        self._healer = Healer(tokenizer)
        self._span = SpanCache(self._encode_span)

    @property
    def empty(self) -> int:
        """The token that stands before everything, for prompts without any."""
        bos = self._tokenizer.bos_token_id
        return bos if bos is not None else min(self._tokenizer.eos_token_ids, default=0)

    async def tokenize(self, parts: Sequence[PromptPart], *, add_bos: bool = True) -> list[int]:
        """Ids of a prompt. Raises RequestError for ids that the model does not know, PromptTooLong for a text that
        cannot fit, before it is read.
        """
        ids: list[int] = []
        max_context: int = self._info.get("max_context", 0)
        for index, part in enumerate(parts):
            if isinstance(part, str):
                first = index == 0
                if len(part) > max_context * TOKEN_LEN > 0:
                    raise errors.PromptTooLong(len(part) // TOKEN_LEN, max_context)
                if len(part) > LONG_TEXT:
                    ids += await asyncio.to_thread(self._encode_span, part, first, add_bos)
                else:
                    ids += self._span(part, first, add_bos)
            else:
                ids += part
        vocab_size: int = self._info["vocab_size"]
        for token in ids:
            if not 0 <= token < vocab_size:
                raise errors.RequestError(
                    f"token id {token} is outside of the vocabulary (0 … {vocab_size - 1})", param="input_ids"
                )
        return ids

    async def heal(
        self, parts: Sequence[PromptPart], ids: list[int], *, add_bos: bool, may_be_empty: bool
    ) -> tuple[list[int], tuple[int, str]]:
        """The ids of a prompt without the tokens that are to be decided again: how many, and their text.

        ids: those of `parts`. Without `may_be_empty` something is left to go on from.
        """
        encode: Callable[[str, bool], list[int]] = lambda text, first: self._span(text, first, add_bos)  # noqa: E731
        cut = await asyncio.to_thread(self._healer.cut, parts, encode)
        if cut is None:
            return ids, (0, "")
        shorter = await self.tokenize(cut.parts, add_bos=add_bos)
        if not shorter and not may_be_empty:
            return ids, (0, "")
        return shorter, (cut.num_tokens, cut.text)

    def _encode_span(self, text: str, first: bool, add_bos: bool) -> list[int]:
        tokenizer = self._tokenizer
        try:
            ids = tokenizer.encode(text, add_bos=add_bos) if first else tokenizer.encode_continuation(text)
        except UnicodeEncodeError:
            raise errors.RequestError("the text holds a lone surrogate, which is no character", param="text") from None
        if first and tokenizer.adds_bos and len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            ids = ids[1:]  # the text (a rendered chat template) began with it already
        return ids
