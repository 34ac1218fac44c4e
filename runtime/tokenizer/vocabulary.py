"""A tokenizer as constraints see it."""

from __future__ import annotations

from ...constrained.vocabulary import Vocabulary
from ...errors import UnsupportedGrammar
from .interface import Tokenizer


def vocabulary_of(tokenizer: Tokenizer, eos_token_ids: frozenset[int], size: int) -> Vocabulary:
    """`eos_token_ids`: the model's, which may be more than the tokenizer's; `size`: rows of the logits.

    Raises UnsupportedGrammar where the tokens' bytes are not known.
    """
    if not tokenizer.is_byte_exact:
        raise UnsupportedGrammar(
            "this model's tokenizer does not tell which bytes its tokens stand for, so no constraint can be obeyed; "
            "ask without one, or serve a model with a byte-level or SentencePiece tokenizer",
            code="constraints_unsupported",
        )
    return Vocabulary(
        token_bytes=[tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)],
        eos_token_ids=eos_token_ids,
        special_token_ids=tokenizer.special_token_ids,
        size=size,
        digest=tokenizer.digest,
        encode=tokenizer.encode_continuation,
    )
