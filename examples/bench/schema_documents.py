"""Documents of a schema, drawn from its grammar and changed at random, judged by the grammar and by a validator.

Byte for byte, over a vocabulary of bytes: the grammar is the same, and a mask takes microseconds.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from grammar_answers import is_valid, number

from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.matcher import CompiledGrammar
from radixlang.constrained.vocabulary import Vocabulary

CHANGES = 4  # of one document, each by itself
OTHERS: tuple[Any, ...] = (None, True, 0, -1, 7.5, "", "a", "2020-02-02", [], {}, {"a": 1}, [1, 1])
MOST_BYTES = 600  # of a document
ENDING_BYTES = 150  # from here on it prefers what ends
CLOSING = b'"]}'
MOST_CHARS = 100_000  # of a schema: a validator takes seconds for each document of a larger one


def is_accepted(grammar: CompiledGrammar, vocabulary: Vocabulary, document: Any) -> bool:
    """Whether the document, its keys in this order, is an answer."""
    token_ids = vocabulary.tokenize(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    end = next(iter(vocabulary.eos_token_ids))
    return grammar.matcher().would_accept([*token_ids, end]) == len(token_ids) + 1


def byte_compiler() -> GrammarCompiler:
    """One whose tokens are the bytes; token 0 ends."""
    pieces = [b"</s>", *(bytes([byte]) for byte in range(256))]
    return GrammarCompiler(Vocabulary(pieces, frozenset({0}), frozenset({0}), len(pieces)), timeout_s=20)


def compare(schema: str, compiler: GrammarCompiler, count: int) -> tuple[Counter[str], list[Any]]:
    """How grammar and validator judge `count` drawn documents and changed ones; those that only the grammar takes."""
    verdicts: Counter[str] = Counter()
    wrong: list[Any] = []
    if len(schema) > MOST_CHARS or not count:
        return verdicts, wrong
    grammar = compiler.compile(JsonSchema(schema))
    for place in range(count):
        drawn = _drawn(grammar, compiler.vocabulary, random.Random(place))
        if drawn is None:
            verdicts["not ended"] += 1
            continue
        changed = [_changed(drawn, random.Random(f"{place} {i}")) for i in range(CHANGES)]
        for document, is_drawn in ((drawn, True), *((document, False) for document in changed)):
            try:
                valid = is_valid(json.loads(schema, parse_float=number), json.dumps(document))
            except Exception:  # of many kinds: patterns that Python does not read, references it does not follow
                verdicts["not judged"] += 1
                continue
            accepted = is_drawn or is_accepted(grammar, compiler.vocabulary, document)
            verdicts["right" if accepted == valid else "false accepts" if accepted else "not accepted"] += 1
            if accepted and not valid:
                wrong.append(document)
    return verdicts, wrong


def _drawn(grammar: CompiledGrammar, vocabulary: Vocabulary, rng: random.Random) -> Any:
    """A document; None if it did not end in time."""
    matcher = grammar.matcher()
    mask_W = np.zeros(vocabulary.words, np.uint32)
    text = bytearray()
    for _ in range(4 * MOST_BYTES):
        if matcher.take_back:
            del text[len(text) - matcher.take_back :]
            matcher.rollback(matcher.take_back)
        matcher.fill(mask_W)
        if matcher.is_accepting and (len(text) >= ENDING_BYTES or matcher.is_finished or rng.random() < 0.3):
            document = json.loads(text)
            return None if "Infinity" in json.dumps(document) else document  # 1e999 is more than a float holds
        allowed = [
            token - 1 for token in np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little")) if token
        ]
        if not allowed or len(text) >= MOST_BYTES:
            return None
        ending = [byte for byte in allowed if byte in CLOSING] if len(text) >= ENDING_BYTES else []
        plain = [byte for byte in allowed if chr(byte).isascii() and chr(byte).isprintable() and byte != 0x5C]
        byte = rng.choice(ending or plain or allowed)
        if not matcher.accept(byte + 1):
            return None
        text.append(byte)
    return None


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(document, dict | list):
        steps = document.items() if isinstance(document, dict) else enumerate(document)
        for step, inner in steps:
            yield from _places(inner, (*path, step))


def _changed(document: Any, rng: random.Random) -> Any:
    """The document with one value replaced, removed, added or repeated."""
    copy: Any = json.loads(json.dumps(document))
    path = rng.choice(list(_places(copy)))
    if not path:
        return rng.choice(OTHERS)
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    value = holder[path[-1]]
    match rng.randrange(4):
        case 0:
            holder[path[-1]] = rng.choice(OTHERS)
        case 1:
            del holder[path[-1]]
        case 2 if isinstance(holder, list):
            holder.append(value)
        case 2:
            holder["added"] = rng.choice(OTHERS)
        case _ if isinstance(value, str):
            holder[path[-1]] = value + rng.choice("aZ0 -./\u00e9")
        case _ if isinstance(value, int | float):
            holder[path[-1]] = -value * 1000
        case _:
            holder[path[-1]] = rng.choice(OTHERS)
    return copy
