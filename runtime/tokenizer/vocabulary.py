"""A tokenizer as constraints see it."""

from __future__ import annotations

from ...constrained.vocabulary import Vocabulary
from .interface import Tokenizer


def vocabulary_of(tokenizer: Tokenizer, eos_token_ids: frozenset[int], size: int) -> Vocabulary:
    """`eos_token_ids`: the model's, which may be more than the tokenizer's; `size`: rows of the logits."""
    return Vocabulary(
        token_bytes=[tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)],
        eos_token_ids=eos_token_ids,
        special_token_ids=tokenizer.special_token_ids,
        size=max(size, tokenizer.vocab_size),
        digest=tokenizer.digest,
        encode=tokenizer.encode_continuation,
    )
