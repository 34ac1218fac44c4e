"""Token healing on the prompt's side: which of its last tokens are given up, and the text they stood for.

The text is cut, not the ids, where the prompt ends in text: what is left is tokenized as if it had been sent so, and
whoever goes on from the answer meets the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from ..constrained.forced import heal
from ..constrained.pieces import Pieces
from .generate_request import PromptPart
from .tokenizer.interface import Tokenizer


class Cut(NamedTuple):
    """A prompt without its last tokens."""

    parts: list[PromptPart]
    num_tokens: int
    """How many were given up."""
    text: str
    """What they stood for."""


class Healer:
    """Of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _pieces(self) -> Pieces:
        tokenizer = self._tokenizer
        special = tokenizer.special_token_ids | tokenizer.eos_token_ids
        return Pieces((tokenizer.token_bytes(t), t) for t in range(tokenizer.vocab_size) if t not in special)

    def cut(self, parts: Sequence[PromptPart], encode: Callable[[str, bool], list[int]]) -> Cut | None:
        """None: nothing is to be healed. Only the last span is looked at; `encode(text, is_first)` tokenizes one."""
        place = next((i for i in reversed(range(len(parts))) if parts[i]), None)
        if place is None:
            return None
        part, before = parts[place], list(parts[:place])
        token_ids = encode(part, place == 0) if isinstance(part, str) else part
        num_tokens, text = heal(self._pieces, self._tokenizer.token_bytes, token_ids)
        if not num_tokens:
            return None
        if not isinstance(part, str):
            return Cut([*before, part[: len(part) - num_tokens]], num_tokens, text)
        if not part.endswith(text):  # a space that the tokenizer put in front
            return None
        return Cut([*before, part[: len(part) - len(text)]], num_tokens, text)
