"""What a constraint knows of a tokenizer: the bytes of every token, and which ids are not text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .name_tokens import NameTokens
from .pieces import Pieces
from .token_trie import TokenTrie

_ENDINGS = frozenset(map(chr, range(32))).union('"\\<>{}[]\x7f')
"""Characters that end a string, or begin something else in it or in a text."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Token ids and their bytes. Shared by all grammars of a model; thread-safe.

    Special tokens and ids without bytes are never allowed by a mask unless a constraint names them; rows from
    `len(token_bytes)` to `size` (an embedding padded beyond its tokenizer) never.
    """

    token_bytes: Sequence[bytes]
    """The bytes that each id stands for; b"" for unused ids."""
    eos_token_ids: frozenset[int]
    """Ids that end an answer: allowed exactly when the constraint accepts."""
    special_token_ids: frozenset[int]
    """Ids that are not text, whatever their bytes say."""
    size: int
    """Rows of the logits."""
    digest: str = ""
    """Key for caches; computed from the content when not given."""
    encode: Callable[[str], list[int]] | None = field(default=None, repr=False)
    """Canonical ids of text that follows other tokens (no BOS); None: longest token first."""

    def __post_init__(self) -> None:
        if len(self.token_bytes) > self.size:
            raise ConfigError(
                f"the tokenizer has {len(self.token_bytes)} ids, the model only {self.size}", param="size"
            )
        if not self.eos_token_ids:
            raise ConfigError("constrained decoding needs an end-of-sequence token", param="eos_token_ids")
        for token_id in self.eos_token_ids:
            if not 0 <= token_id < self.size:
                raise ConfigError(f"end-of-sequence id {token_id} is not below {self.size}", param="eos_token_ids")
        if not self.digest:
            object.__setattr__(self, "digest", self._content_digest())

    def _content_digest(self) -> str:
        digest = hashlib.sha256(repr((self.size, sorted(self.eos_token_ids), sorted(self.special_token_ids))).encode())
        for piece in self.token_bytes:
            digest.update(len(piece).to_bytes(4, "little") + piece)
        return digest.hexdigest()

    @property
    def words(self) -> int:
        """uint32 words of one mask row."""
        return (self.size + 31) // 32

    def is_text(self, token_id: int) -> bool:
        """Whether the id stands for bytes of text: within the tokenizer, not special, not unused."""
        return 0 <= token_id < self.size and self.text_table[token_id] == 1

    @cached_property
    def text_table(self) -> bytes:
        """By id below `size`: 1 where it is text, else 0."""
        table = bytearray(self.size)
        for token_id, piece in enumerate(self.token_bytes):
            table[token_id] = bool(piece)
        for token_id in self.special_token_ids | self.eos_token_ids:
            if 0 <= token_id < self.size:
                table[token_id] = 0
        return bytes(table)

    @cached_property
    def text_mask_W(self) -> NDArray[np.uint32]:
        """One bit for every id that is text."""
        bits = np.zeros(self.words * 32, np.uint8)
        bits[: self.size] = np.frombuffer(self.text_table, np.uint8)
        return np.packbits(bits, bitorder="little").view(np.uint32)

    @cached_property
    def eos_mask_W(self) -> NDArray[np.uint32]:
        """One bit for every end-of-sequence id."""
        bits = np.zeros(self.words * 32, np.uint8)
        bits[list(self.eos_token_ids)] = 1
        return np.packbits(bits, bitorder="little").view(np.uint32)

    @cached_property
    def trie(self) -> TokenTrie:
        """The text tokens by their bytes."""
        return TokenTrie([(self.token_bytes[t], t) for t in range(len(self.token_bytes)) if self.is_text(t)])

    @cached_property
    def pieces(self) -> Pieces:
        """The text tokens in the order of their bytes."""
        return Pieces((self.token_bytes[t], t) for t in range(len(self.token_bytes)) if self.is_text(t))

    @cached_property
    def plain_table(self) -> bytes:
        """By id below `size`: 1 where it is text of whole characters that hardly ends anything, as inside a string."""
        table = bytearray(self.text_table)
        for token_id, piece in enumerate(self.token_bytes):
            if table[token_id]:
                text = piece.decode(errors="replace")
                table[token_id] = "\ufffd" not in text and not _ENDINGS.intersection(text)
        return bytes(table)

    @cached_property
    def longest_plain_id(self) -> int:
        """The first of the plain tokens with the most characters."""
        plain = [t for t in range(len(self.token_bytes)) if self.plain_table[t]]
        return max(plain, key=lambda t: len(self.token_bytes[t].decode()), default=min(self.eos_token_ids))

    @cached_property
    def name_tokens(self) -> NameTokens:
        """The text tokens that matter where names of a JSON text must not repeat."""
        return NameTokens(self.pieces)

    @cached_property
    def special_names(self) -> dict[str, int]:
        """Special tokens that do not end an answer, by their text; longer ones first."""
        ids = [t for t in self.special_token_ids - self.eos_token_ids if t < len(self.token_bytes)]
        named = {self.token_bytes[t].decode(errors="replace"): t for t in ids if len(self.token_bytes[t]) > 1}
        return dict(sorted(named.items(), key=lambda item: -len(item[0])))

    @cached_property
    def single_bytes(self) -> frozenset[int]:
        """Bytes that are a token by themselves."""
        return frozenset(piece[0] for t, piece in enumerate(self.token_bytes) if len(piece) == 1 and self.is_text(t))

    @cached_property
    def absent_bytes(self) -> frozenset[int]:
        """Bytes that no text token holds: no answer can."""
        return frozenset(range(256)) - frozenset(self.trie.edge_byte_N[1:].tolist())

    def tokenize(self, text: bytes) -> list[int]:
        """Ids whose bytes join to `text`: canonical where `encode` and UTF-8 permit, else longest token first.

        Bytes that no token begins with end the list early.
        """
        if self.encode is not None:
            try:
                token_ids = self.encode(text.decode())
            except UnicodeDecodeError:
                pass
            else:
                # A special token written out in the text is text here, and is never what `encode` makes of it.
                if all(self.is_text(t) for t in token_ids) and self.join(token_ids) == text:
                    return token_ids
        return self.trie.tokenize(text)

    def join(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of the ids together."""
        return b"".join(self.token_bytes[t] for t in token_ids)
