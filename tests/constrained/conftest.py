"""A small vocabulary with everything that goes wrong in large ones, and answers drawn at random under a mask."""

import random

import pytest

from radixlang.constrained import mask
from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.vocabulary import Vocabulary

EOS, SPECIAL, UNUSED = 0, 1, 2
PIECES = [
    "the",
    "and",
    "in",
    "er",
    "on",
    "true",
    "false",
    "null",
    "ab",
    "abc",
    "abab",
    "ba",
    "aa",
    "aaa",
    "bb",
    "cc",
    "12",
    "123",
    "00",
    "0.",
    "-1",
    ".5",
    "e+",
    '{"',
    '"}',
    '":',
    '",',
    "[]",
    "{}",
    "}}",
    "]]",
    '\\"',
    "\\n",
    'a"',
    '"a',
    '"',
    '"b',
    "xyz",
    "word",
    "hello",
    "END",
    "<f",
    "</f",
    ">",
    "f>",
    "<t>",
    "",
]
PIECES += ["  ", "    ", " a", " the", "\n", "\n\n", '": "', ", ", '", "', "中", "中文", "é", "日本", "😀", "人中"]
PARTIAL = [b"\xe4\xb8", b"\xc3", b"\xf0\x9f", b"\x98\x80", b"a\xe4", b"\xad\xe6\x96\x87"]  # halves of characters


def small_vocabulary() -> Vocabulary:
    """All bytes, pieces, halves of characters, two ids of the same bytes, special and unused ids, padded rows."""
    pieces = [b"</s>", b"<|special|>", b"", *(bytes([b]) for b in range(256))]
    pieces += [p.encode() for p in dict.fromkeys(PIECES) if len(p.encode()) > 1] + PARTIAL + [b"abc"]
    return Vocabulary(pieces, frozenset({EOS}), frozenset({EOS, SPECIAL}), len(pieces) + 37)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return small_vocabulary()


@pytest.fixture(scope="session")
def compiler(vocabulary):
    found = GrammarCompiler(vocabulary, timeout_s=20)  # correctness is tested here, not the speed of a busy machine
    yield found
    found.close()


@pytest.fixture(scope="session")
def accepts(vocabulary):
    """Whether a grammar accepts a whole text, token by token and with its end."""

    def check(grammar, text: str | bytes) -> bool:
        token_ids = vocabulary.tokenize(text.encode() if isinstance(text, str) else text)
        return grammar.matcher().would_accept([*token_ids, EOS]) == len(token_ids) + 1

    return check


@pytest.fixture(scope="session")
def draw(vocabulary):
    """An answer drawn at random under the masks: (text, whether it ended)."""

    def sample(grammar, seed: int, max_tokens: int = 80) -> tuple[bytes, bool]:
        rng = random.Random(seed)
        matcher = grammar.matcher()
        row = mask.allocate(1, vocabulary.words)[0]
        token_ids: list[int] = []
        for _ in range(max_tokens):
            matcher.fill(row)
            assert matcher.error is None, matcher.error
            allowed = mask.to_ids(row)
            assert allowed, "a dead end"
            assert (EOS in allowed) == matcher.is_accepting
            assert all(t == EOS or vocabulary.is_text(t) for t in allowed)
            if EOS in allowed and (len(allowed) == 1 or rng.random() < 0.3):
                return vocabulary.join(token_ids), True
            token_id = rng.choice([t for t in allowed if t != EOS])
            assert matcher.accept(token_id)
            token_ids.append(token_id)
        return vocabulary.join(token_ids), False

    return sample
