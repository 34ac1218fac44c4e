"""What a constraint means, for people: is it valid, what does it cost, an example, and where a text fails it.

Behind `POST /v1/grammar/check` and `radixlang grammar`. Nothing here runs while tokens are generated.
"""

from __future__ import annotations

import json
import random
import time
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from ..errors import GrammarError
from .closing import completion
from .compiler import GrammarCompiler
from .constraint import Constraint, Grammar, JsonSchema, StructuralTag, Xml
from .fsm.index import FsmGrammar
from .grammar.lexemes import as_pattern, productive, to_lark
from .grammar.reader import read
from .grammar.writer import write
from .grammar.xml import rules_of
from .json_schema.normalise import normalise
from .matcher import CompiledGrammar, Matcher
from .tags.reader import to_lark as tags_to_lark
from .vocabulary import Vocabulary

EXAMPLE_TOKENS = 200
EXAMPLE_S = 1.0  # of computing, after which an example is given up
ENDING_TOKENS = 64  # from here on an example is ended, where an end is found
LOOK_EVERY = 32  # tokens between two looks for one
MAX_TRIED = 256  # pieces that could stand where a text fails
TRIES = 4  # drawings for each of several examples


class Acceptance(msgspec.Struct, frozen=True):
    """Whether a grammar accepts a text."""

    is_accepted: bool
    num_bytes: int
    """How much of the text, in bytes of UTF-8, can begin an answer."""
    expected: tuple[str, ...]
    """Some tokens that could stand there instead; empty when the text is accepted."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What checking a constraint finds."""

    is_valid: bool
    error: dict[str, Any] | None = None
    """code, message, keyword, pointer, line and column, where known."""
    engine: str | None = None
    """automaton: ours; llguidance."""
    compile_ms: float = 0.0
    num_bytes: int = 0
    num_states: int | None = None
    is_finite: bool | None = None
    """Whether there are only finitely many answers; None: not known."""
    example: str | None = None
    ignored: tuple[str, ...] = ()
    """JSON pointers of what nothing enforces."""
    text: Acceptance | None = None


def check(constraint: Constraint, compiler: GrammarCompiler, *, text: str | None = None) -> Report:
    """Compiles the constraint and reports; with `text`, whether it is accepted and where it fails."""
    started = time.perf_counter()
    try:
        grammar = compiler.compile(constraint)
    except GrammarError as error:
        return Report(False, error=describe(error), compile_ms=1e3 * (time.perf_counter() - started))
    milliseconds = 1e3 * (time.perf_counter() - started)
    dfa = grammar.dfa if isinstance(grammar, FsmGrammar) else None
    return Report(
        True,
        engine="automaton" if dfa is not None else "llguidance",
        compile_ms=milliseconds,
        num_bytes=grammar.num_bytes,
        num_states=dfa.num_states - 1 if dfa is not None else None,
        is_finite=dfa.is_finite if dfa is not None else None,
        example=sample(grammar, compiler.vocabulary),
        ignored=grammar.ignored,
        text=accepts(grammar, compiler.vocabulary, text) if text is not None else None,
    )


def describe(error: GrammarError) -> dict[str, Any]:
    """An error's fields for a report."""
    names = ("code", "message", "param", "keyword", "pointer", "line", "column")
    return {name: value for name in names if (value := getattr(error, name, None)) is not None}


def sample(grammar: CompiledGrammar, vocabulary: Vocabulary, seed: int = 0) -> str | None:
    """An answer that the grammar accepts, drawn at random among short tokens; None if none ended in time."""
    rng = random.Random(seed)
    matcher = grammar.matcher()
    mask_W = np.zeros(vocabulary.words, np.uint32)
    token_ids: list[int] = []
    look_at = ENDING_TOKENS
    deadline_s = time.thread_time() + EXAMPLE_S
    for _ in range(2 * EXAMPLE_TOKENS):
        if taken := matcher.take_back:
            matcher.rollback(taken)
            del token_ids[len(token_ids) - taken :]
        matcher.fill(mask_W)
        is_late = len(token_ids) >= EXAMPLE_TOKENS or time.thread_time() > deadline_s
        if matcher.error is not None or is_late:
            return None
        if matcher.is_accepting and (len(token_ids) >= ENDING_TOKENS or matcher.is_finished or rng.random() < 0.3):
            return vocabulary.join(token_ids).decode(errors="replace")
        if len(token_ids) >= look_at:
            look_at = len(token_ids) + LOOK_EVERY
            ending = completion(matcher, vocabulary, EXAMPLE_TOKENS)
            if ending is not None:
                return vocabulary.join([*token_ids, *ending]).decode(errors="replace")
        bits = np.unpackbits((mask_W & vocabulary.text_mask_W).view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits).tolist()
        # Letters and digits read best; now and then something else, or no word and no number would end.
        plain = [t for t in allowed if vocabulary.token_bytes[t].isascii() and vocabulary.token_bytes[t].isalnum()]
        if plain and rng.random() < 0.2:
            rest = set(allowed).difference(plain)
            plain = [t for t in rest if b" " <= vocabulary.token_bytes[t] <= b"~"] or plain
        if not allowed or not matcher.accept(token_id := rng.choice(plain or allowed)):
            return None
        token_ids.append(token_id)
    return None


def samples(grammar: CompiledGrammar, vocabulary: Vocabulary, count: int, seed: int = 0) -> list[str]:
    """Up to `count` answers, the same for the same seed; fewer where many did not end in time."""
    drawn = (sample(grammar, vocabulary, seed * 1_000_003 + place) for place in range(TRIES * count))
    return list(islice((text for text in drawn if text is not None), count))


def accepts(grammar: CompiledGrammar, vocabulary: Vocabulary, text: str) -> Acceptance:
    """Whether the whole text is an answer, and if not, how far it could be one."""
    data = text.encode()
    matcher = grammar.matcher()
    position = 0
    is_watched = False
    while position < len(data):
        before = matcher.copy()
        for token_id in reversed(vocabulary.trie.tokens_along(data[position : position + vocabulary.trie.max_len])):
            if matcher.accept(token_id):
                if not matcher.take_back:
                    break
                matcher, is_watched = before.copy(), True
        else:
            break
        position += len(vocabulary.token_bytes[token_id])
    if position == len(data) and matcher.is_accepting:
        return Acceptance(True, position, ())
    mask_W = np.zeros(vocabulary.words, np.uint32)
    matcher.fill(mask_W)
    bits = np.unpackbits((mask_W & vocabulary.text_mask_W).view(np.uint8), bitorder="little")
    pieces = sorted((vocabulary.token_bytes[t] for t in np.flatnonzero(bits)[:4096].tolist()), key=len)
    if is_watched:  # the mask says what is well formed, the judge what else may be
        pieces = [piece for piece in pieces[:MAX_TRIED] if _goes_on(matcher, vocabulary, piece)]
    expected = tuple(dict.fromkeys(piece.decode(errors="replace") for piece in pieces[:20]))
    return Acceptance(False, position, expected)


def _goes_on(matcher: Matcher, vocabulary: Vocabulary, piece: bytes) -> bool:
    ahead = matcher.copy()
    return all(ahead.accept(token_id) for token_id in vocabulary.tokenize(piece)) and not ahead.take_back


def explain(constraint: Constraint) -> str:
    """The constraint in the words in which it is enforced: the normalised schema, the Lark grammar, or itself."""
    match constraint:
        case JsonSchema(schema, _, strict):
            return json.dumps(normalise(schema, strict=strict).schema, indent=2, ensure_ascii=False)
        case Grammar(source, syntax) if syntax != "lark":
            rules = productive(read(source))
            return source if as_pattern(rules) is not None else to_lark(rules)
        case Xml(spec, whitespace):
            return write(rules_of(spec, whitespace))
        case StructuralTag(spec):
            return tags_to_lark(spec).lark
    return json.dumps(msgspec.to_builtins(constraint), indent=2, ensure_ascii=False)
