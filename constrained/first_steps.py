"""What a grammar that compiled may still fail of: nothing to begin with, or an engine's limit behind a few tokens."""

from __future__ import annotations

import numpy as np

from ..errors import GrammarTooLarge, UnsatisfiableGrammar
from . import mask
from .guidance import error_of
from .matcher import CompiledGrammar, Matcher
from .vocabulary import Vocabulary

STEPS_TRIED = 3
"""Tokens that are taken on trial: an object's first name is open behind two."""


def check_first_steps(grammar: CompiledGrammar, vocabulary: Vocabulary) -> None:
    """Raises UnsatisfiableGrammar where nothing may begin an answer or go on from its first tokens, GrammarTooLarge
    where these are too much for the engine."""
    matcher = grammar.matcher()
    mask_W = np.zeros(vocabulary.words, np.uint32)
    matcher.fill(mask_W)
    _raise(matcher)
    if not mask_W.any():
        reason = matcher.error or "no token may begin it"
        raise UnsatisfiableGrammar(f"nothing can satisfy this constraint: {reason}")
    for _ in range(STEPS_TRIED):
        token_id = mask.first_id(mask_W & vocabulary.text_mask_W)
        if token_id is None or not matcher.accept(token_id):
            break
        matcher.fill(mask_W)
    _raise(matcher)


def _raise(matcher: Matcher) -> None:
    error = None if matcher.error is None else error_of(matcher.error)
    if isinstance(error, GrammarTooLarge | UnsatisfiableGrammar):
        raise error
