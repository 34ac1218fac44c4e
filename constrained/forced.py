"""Text that must come next, as tokens: canonical, and never past the point where another token could begin.

A forced text that goes on into a choice may be tokenized otherwise once the choice is known: its last tokens merge
with what follows. So only those tokens are forced that every continuation leaves in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .pieces import Pieces

if TYPE_CHECKING:
    from .vocabulary import Vocabulary  # a server's process heals prompts, without numpy

MAX_CONTINUATIONS = 8  # tried for merges; beyond that the last token is given up unseen


def canonical_prefix(vocabulary: Vocabulary, text: bytes, following: Sequence[bytes]) -> list[int]:
    """The ids with which every tokenization of `text` and what follows it begins.

    `following`: the bytes that may come after it; none: the text is the end. Half a character at the end is left out.
    """
    whole = len(text) - _partial_character(text)
    if whole < len(text):
        following = [text[whole:]]
        text = text[:whole]
    if not text:
        return []
    token_ids = vocabulary.tokenize(text)
    if vocabulary.join(token_ids) != text:
        return []
    if not following:
        return token_ids
    kept = len(token_ids) - 1
    for more in following[:MAX_CONTINUATIONS]:
        if _partial_character(more) or not more.isascii():
            continue
        other = vocabulary.tokenize(text + more)
        kept = min(kept, _num_shared(token_ids, other))
    return token_ids[:kept]


def heal(
    pieces: Pieces, token_bytes: Callable[[int], bytes], prompt_ids: Sequence[int], *, max_tokens: int = 4
) -> tuple[int, str]:
    """How many tokens at the prompt's end to decide again, and their text, which the answer must then begin with.

    A token is given up when longer tokens begin with its bytes: the model would have merged it with what follows.
    `pieces` are the tokens that are text: others are never given up. Whole characters only: (0, "") where that is
    nothing.
    """
    found, told, text = 0, "", b""
    for num_tokens, token_id in enumerate(reversed(prompt_ids[-max_tokens:]), 1):
        own = token_bytes(token_id)
        text = own + text
        if not own or pieces.id_of(own) is None or not pieces.has_longer(text):
            break
        try:
            found, told = num_tokens, text.decode()
        except UnicodeDecodeError:
            continue
    return found, told


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    return shared


def _partial_character(text: bytes) -> int:
    """Bytes at the end that begin a character without ending it."""
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0
