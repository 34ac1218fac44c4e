"""What the runtime asks of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Detokenizer(Protocol):
    """Ids to text, one request, incrementally."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that became certain; never half a character (held back until complete or `flush`)."""
        ...

    @property
    def holds(self) -> bool:
        """Whether half a character is held back."""
        ...

    def flush(self) -> str:
        """What is still held back, broken bytes as U+FFFD."""
        ...


class Tokenizer(Protocol):
    """Thread-safe."""

    vocab_size: int
    """Ids the tokenizer knows; the model's embedding may have more rows."""
    eos_token_ids: frozenset[int]
    bos_token_id: int | None
    adds_bos: bool
    """Whether `encode(…, add_bos=True)` begins with `bos_token_id`."""

    @property
    def special_token_ids(self) -> frozenset[int]: ...

    chat_template: str | None
    tool_template: str | None
    """The chat template for requests with tools, where the checkpoint has another one for them."""
    """The checkpoint's Jinja source."""
    digest: str
    """Of the vocabulary: a key for compiled grammars."""

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        """Token ids; special tokens written in `text` are recognised."""
        ...

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of text that follows other tokens: no BOS, no dummy prefix space (SentencePiece)."""
        ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str: ...

    def detokenizer(self, *, skip_special_tokens: bool = True) -> Detokenizer:
        """A new incremental decoder."""
        ...

    @property
    def is_byte_exact(self) -> bool:
        """A text is the bytes of its tokens one after the other; where it is not, no constraint can be obeyed."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that the token stands for (special tokens: their name in UTF-8); b"" for unused ids."""
        ...

    def token_text(self, token_id: int) -> str:
        """`token_bytes` as text, broken UTF-8 as U+FFFD."""
        ...
