"""The matcher protocol on llguidance: limits set, sticky errors contained, special tokens kept out.

llguidance reports every failure by a state that a matcher never leaves, one illegal token included. So tokens are
validated before they are consumed, and a matcher that fails for another reason (its limits) says so in `error`.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence

import llguidance
import numpy as np
from numpy.typing import NDArray

from ..errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsatisfiableGrammar
from . import mask
from .matcher import Steady
from .vocabulary import Vocabulary

LIMITS = llguidance.LLParserLimits(
    initial_lexer_fuel=1_000_000,  # ~50k a ms
    step_lexer_fuel=200_000,  # ~14k a ms
    step_max_items=50_000,
    max_items_in_row=5_000,  # four for each property that may come next: masks of 20 ms
    max_lexer_states=100_000,  # 1 to 2 kB each
    max_grammar_size=500_000,
    verbose_errors=False,
)
UNFORCED = '%llguidance {"no_forcing": true}'
"""A line at the end of a Lark grammar that holds a user's lexemes: where one goes on with what the next begins with, as
`/(ab)+/` before `"ax"`, the engine would look for the end of what is forced for ever. The last such line counts."""
BYTES_PER_SOURCE_CHAR = 40  # process growth over large compiled schemas, measured
FIXED_BYTES = 64 * 1024
MAX_FORCED_TOKENS = 256  # at once; the rest is forced after these
MAX_KNOWN = 8192  # texts whose ids are remembered, of a vocabulary
MAX_KNOWN_BYTES = 256  # of one of them

_tokenizers: weakref.WeakKeyDictionary[Vocabulary, llguidance.LLTokenizer] = weakref.WeakKeyDictionary()
_tokenizers_lock = threading.Lock()


class _TokenizerFace:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[bytes, list[int]] = {}
        self.eos_token_id = min(vocabulary.eos_token_ids)
        self.special_token_ids = sorted(
            t for t in vocabulary.special_token_ids | vocabulary.eos_token_ids if t < len(vocabulary.token_bytes)
        )
        padding = [b""] * (vocabulary.size - len(vocabulary.token_bytes))
        self.tokens = [*vocabulary.token_bytes, *padding]

    def __call__(self, text: bytes | str) -> list[int]:
        """The ids of a forced text: the same few stand between the values of every document, and before each mask."""
        data = text.encode() if isinstance(text, str) else text
        known = self._known.get(data)
        if known is None:
            known = self._vocabulary.tokenize(data)
            if len(data) <= MAX_KNOWN_BYTES:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[data] = known
        return known


def tokenizer_for(vocabulary: Vocabulary) -> llguidance.LLTokenizer:
    """llguidance's view of the vocabulary, built once (about 0.2 s for 49,152 tokens)."""
    with _tokenizers_lock:
        tokenizer = _tokenizers.get(vocabulary)
        if tokenizer is None:
            wrapper = llguidance.TokenizerWrapper(_TokenizerFace(vocabulary))
            eos_token_ids = sorted(vocabulary.eos_token_ids)
            tokenizer = llguidance.LLTokenizer(wrapper, eos_token=eos_token_ids, slices=_slices())
            _tokenizers[vocabulary] = tokenizer
        return tokenizer


def _slices() -> list[str]:
    """Sets of tokens that the engine allows at once where a lexeme takes all of a set's texts.

    Words, which serve names and the like, then texts in JSON strings by their length, for strings that are nearly full.
    With them the masks of our sample's documents take a quarter less than with the engine's own. They are written as a
    character and more of it: the engine then finds their room in one of several alternatives too, as in the host of a
    URI, whose masks take a seventh of what they do with `[a-z]{1,10}`.
    """
    space, *_ = llguidance.LLTokenizer.general_slices()
    words = [("[a-z]", 10), ("[a-z]", None), ("[a-zA-Z]", 10), ("[a-zA-Z0-9]", 10)]
    texts = [(r'[^"\\\x00-\x1F\x7F]', most) for most in (4, 7, 10, 14, 19, None)]
    return [space, *(f"{one}{one}{'*' if most is None else f'{{0,{most - 1}}}'}" for one, most in words + texts)]


class GuidanceGrammar:
    """A grammar compiled by llguidance. `source`: its JSON form (`LLMatcher.grammar_from_…`)."""

    def __init__(
        self,
        source: str,
        vocabulary: Vocabulary,
        *,
        special_token_ids: frozenset[int] = frozenset(),
        may_name_tokens: bool = False,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """Raises a GrammarError where llguidance refuses. `may_name_tokens`: the source can ask for special tokens, and
        gets `special_token_ids`; a schema or a regex is of text alone, and so are the engine's masks for it."""
        self.ignored = ignored
        self.vocabulary = vocabulary
        self.eos_token_ids = vocabulary.eos_token_ids
        self.eos_mask_W = vocabulary.eos_mask_W
        self.may_name_tokens = may_name_tokens
        # Built here, not when a mask is wanted.
        self.plain_table, self.longest_plain_id = vocabulary.plain_table, vocabulary.longest_plain_id
        self.allowed, self.allowed_W = _with(vocabulary, special_token_ids)
        self.first = llguidance.LLMatcher(tokenizer_for(vocabulary), source, log_level=0, limits=LIMITS)
        if self.first.is_error():
            raise error_of(self.first.get_error())
        self.num_bytes = FIXED_BYTES + BYTES_PER_SOURCE_CHAR * len(source)

    def matcher(self, max_tokens: int | None = None) -> GuidanceMatcher:
        return GuidanceMatcher(self, self.first.deep_copy())


def _with(vocabulary: Vocabulary, named: frozenset[int]) -> tuple[bytes, NDArray[np.uint32]]:
    """The ids that a mask may ever hold, end of sequence aside, as a table and as a row: text, and the `named` ones."""
    if not named:
        return vocabulary.text_table, vocabulary.text_mask_W
    table = bytearray(vocabulary.text_table)
    for token_id in named:
        table[token_id] = 1
    return bytes(table), vocabulary.text_mask_W | mask.from_ids(named, vocabulary.words)


class GuidanceMatcher(Steady):
    """One request's place in a grammar."""

    __slots__ = ("_ends", "_error", "_grammar", "_raw", "_row", "_row_W")  # between two steps it has left the caches

    def __init__(self, grammar: GuidanceGrammar, raw: llguidance.LLMatcher) -> None:
        self._grammar = grammar
        self._raw = raw
        self._error: str | None = None
        self._ends = 0  # end-of-sequence tokens accepted: kept here, llguidance never sees them
        self._row_W: NDArray[np.uint32] | None = None
        """The row filled last, mostly the same: to find its address takes as long as a mask."""
        self._row = 0, 0  # its address and bytes

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        if self._error is not None:
            mask_W.fill(0)
        elif self._ends:
            mask_W[:] = self._grammar.eos_mask_W
        else:
            if mask_W is not self._row_W:
                address = ctypes.addressof(ctypes.c_char.from_buffer(mask_W.data))  # raises where it is not contiguous
                self._row_W, self._row = mask_W, (address, mask_W.nbytes)
            raw = self._raw
            raw.unsafe_compute_mask_ptr(*self._row)
            if raw.is_error():
                self._fail(mask_W)
            elif self._grammar.may_name_tokens:
                self._keep_named(mask_W)

    def _keep_named(self, mask_W: NDArray[np.uint32]) -> None:
        """Turns llguidance's own row into ours: named ids only, end of sequence exactly when accepting."""
        np.bitwise_and(mask_W, self._grammar.allowed_W, mask_W)
        if self._raw.is_accepting():
            np.bitwise_or(mask_W, self._grammar.eos_mask_W, mask_W)
        elif mask.is_empty(mask_W):
            self._error = "no token of this vocabulary can continue the answer"

    def _fail(self, mask_W: NDArray[np.uint32]) -> None:
        self._error = self._raw.get_error() or "the grammar engine failed"
        mask_W.fill(0)

    def accept(self, token_id: int) -> bool:
        grammar = self._grammar
        if token_id in grammar.eos_token_ids:
            is_end = self.is_accepting
            self._ends += is_end
            return is_end
        if self._error is not None or self._ends or not self._is_nameable(token_id):
            return False
        if self._raw.try_consume_tokens([token_id]):
            return True
        if self._raw.is_error():  # its limits: an illegal token leaves no error
            self._error = self._raw.get_error() or "the grammar engine failed"
        return False

    def may_keep(self, token_id: int) -> bool:
        """Where the row that it filled last, and nobody else has since, allows the longest of plain tokens: there text
        goes on, as in a string."""
        grammar, row_W = self._grammar, self._row_W
        if row_W is None or self._error is not None or self._ends or grammar.plain_table[token_id] != 1:
            return False
        return mask.allows(row_W, grammar.longest_plain_id)

    def rollback(self, num_tokens: int) -> None:
        ends = min(num_tokens, self._ends)
        self._ends -= ends
        if num_tokens > ends and not self._raw.rollback(num_tokens - ends):
            self._error = self._raw.get_error() or "cannot roll back"

    def would_accept(self, token_ids: Sequence[int]) -> int:
        if self._error is not None:
            return 0
        eos_token_ids = self._grammar.eos_token_ids
        text = list(token_ids)
        if self._ends:
            text = []
        for i, token_id in enumerate(text):
            if not self._is_nameable(token_id):
                text = text[:i]
                break
        accepted = self._raw.validate_tokens(text) if text else 0
        if accepted < len(text) and self._raw.is_error():  # its limits: an illegal token leaves no error here
            self._error = self._raw.get_error() or "the grammar engine failed"
            return 0
        if accepted < len(text) or accepted == len(token_ids) or token_ids[accepted] not in eos_token_ids:
            return accepted
        if not self._accepts_after(text):
            return accepted
        while accepted < len(token_ids) and token_ids[accepted] in eos_token_ids:
            accepted += 1
        return accepted

    def _is_nameable(self, token_id: int) -> bool:
        allowed = self._grammar.allowed
        return 0 <= token_id < len(allowed) and allowed[token_id] == 1

    def _accepts_after(self, token_ids: list[int]) -> bool:
        if self._ends or not token_ids:
            return self.is_accepting
        ahead = self._raw.deep_copy()
        return bool(ahead.consume_tokens(token_ids)) and ahead.is_accepting()

    def forced(self) -> list[int]:
        if self._error is not None or self._ends:
            return []
        token_ids = self._raw.compute_ff_tokens()[:MAX_FORCED_TOKENS]
        return token_ids[: self.would_accept(token_ids)] if token_ids else []

    def copy(self) -> GuidanceMatcher:
        other = GuidanceMatcher(self._grammar, self._raw.deep_copy())
        other._error, other._ends = self._error, self._ends
        return other

    @property
    def is_accepting(self) -> bool:
        return self._error is None and (self._ends > 0 or self._raw.is_accepting())

    @property
    def is_finished(self) -> bool:
        return self._error is None and (self._ends > 0 or (self._raw.is_stopped() and self._raw.is_accepting()))

    @property
    def error(self) -> str | None:
        return self._error


_TOO_LARGE = ("too large", "too big", "fuel", "limit", "too many", "too complex", "; max is ", "too deeply")


def error_of(message: str) -> GrammarError:
    """llguidance's message as one of our errors."""
    text = message.splitlines()[0][:500] if message else "the grammar engine failed"
    lowered = message.lower()
    if "unable to determine if regex is empty" in lowered:
        return GrammarTooLarge("whether a pattern and what is said beside it exclude each other cannot be told")
    if "regex is empty" in lowered:
        return UnsatisfiableGrammar("no text satisfies a pattern together with what is said beside it")
    if "unsatisfiable" in lowered:
        return UnsatisfiableGrammar(text)
    if "noextensionbias" in lowered:
        return UnsatisfiableGrammar("an answer could begin so that nothing may follow: a part of it matches no text")
    if "ff_tokens" in lowered:
        return GrammarTooLarge("more is forced at one place than is served, as in a rule that contains itself for ever")
    if "too many expressions" in lowered:
        return GrammarTooLarge("repetitions within repetitions, or choices in them, multiply beyond what is served")
    if "symbols.len()" in lowered:  # it counts to 65,535
        return GrammarTooLarge("the grammar has too many parts; ask for fewer or smaller schemas at once")
    if "current row has" in lowered:
        return GrammarTooLarge(
            "too much may come next at one place, as where an object has more than 1,250 optional properties; "
            "require some of them, or put them into objects of their own"
        )
    if any(word in lowered for word in _TOO_LARGE):
        return GrammarTooLarge(text)
    return GrammarSyntaxError(text)
