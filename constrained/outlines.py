"""outlines-core's index as a second opinion on small patterns: for tests and tools, never on a request's way.

It compiles with the interpreter's lock held and without limits (46 of 220 real schemas hang, 3 take more than 1 GiB),
so callers keep patterns small.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import GrammarTooLarge
from .vocabulary import Vocabulary

MAX_PATTERN = 400


class SecondOpinion:
    """What outlines-core says of one pattern over one vocabulary."""

    def __init__(self, pattern: str, vocabulary: Vocabulary) -> None:
        """Raises GrammarTooLarge for long patterns, ValueError for what outlines-core does not take, ImportError."""
        import outlines_core

        if len(pattern) > MAX_PATTERN:
            raise GrammarTooLarge(f"a second opinion takes patterns of at most {MAX_PATTERN} characters")
        self._eos = vocabulary.eos_token_ids
        ids: dict[bytes, list[int]] = {}
        for token_id in range(len(vocabulary.token_bytes)):
            if vocabulary.is_text(token_id):
                ids.setdefault(vocabulary.token_bytes[token_id], []).append(token_id)
        theirs = outlines_core.Vocabulary(min(vocabulary.eos_token_ids), ids)
        self._index = outlines_core.Index(pattern, theirs)

    def state(self, token_ids: Sequence[int] = ()) -> int | None:
        """The state after these tokens; None where they are not allowed."""
        state: int | None = self._index.get_initial_state()
        for token_id in token_ids:
            if state is None:
                return None
            state = self.next(state, token_id)
        return state

    def next(self, state: int, token_id: int) -> int | None:
        """The state after one more token."""
        after: int | None = self._index.get_next_state(state, token_id)
        return after

    def allowed(self, state: int) -> set[int]:
        """The text tokens that it allows there. Version 0.2.14 forgets some, most where the pattern already matches."""
        return set(self._index.get_allowed_tokens(state) or ()) - self._eos

    def is_accepting(self, state: int) -> bool:
        """Whether the pattern matches there."""
        return bool(self._index.is_final_state(state))


def schema_pattern(schema: str) -> str:
    """outlines-core's regular expression for a JSON schema. Raises what it raises for schemas that it does not take."""
    from outlines_core import json_schema

    pattern: str = json_schema.build_regex_from_schema(schema)
    return pattern
