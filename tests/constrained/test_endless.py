"""Which grammars may be asked what they force: those that surely end."""

import random

import numpy as np
import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Grammar
from radixlang.constrained.endless import is_surely_finite, may_be_endless
from radixlang.constrained.fsm.fallback import to_engine
from radixlang.constrained.fsm.pattern import parse
from radixlang.constrained.translate import compile_constraint


@pytest.mark.parametrize(
    ("pattern", "endless"),
    [
        ("(ab)+", True),
        ("a*", True),
        ("(a|aa)*", True),
        ("x(a|b(cd)*)[ef]", True),
        ("(a(b){0,3})*", True),
        ("abc", False),
        ("(ab){1,9}", False),
        ("[ab]+", False),
        ("(a[bc])*", False),
        ("(a(x|[bc])?)*", False),
        (r"\d+(\.\d+)?", False),
        (".*end", False),
    ],
)
def test_a_loop_without_a_choice_may_be_endless(pattern, endless):
    assert may_be_endless(parse(pattern)) == endless
    written = f"%llguidance {{}}\nstart: (T0 j0 | r1)*\nr1: T0 r1\nT0: /{to_engine(parse(pattern))}/\nj0: %json {{}}\n"
    assert is_surely_finite(written) != endless


@pytest.mark.parametrize(
    "lark",
    [
        'start: /(ab)+/ "ax"',
        'start: A "abx"\nA: "ab"+',
        'start: A "abx"\nA: (/(?:[\\x{61}-\\x{61}])/ "b")*',
        'start: A "abx"\nA: "ab"~1..9',
        'start: A "abx"\nA: B{1,}\nB: "ab"',
        'start: A "abx"\nA: "b"\n  | "ab"+',
        'start: A "x"\nA: /[a[b]]+/',
        'start: A "x"\nA: /"(ab)+"/',
        'start: A "x"\nA: /a[ b]+/x',
        'start: "x" /"/ /(ab)+/ /"/',
        'start: A "x"\nA: /(?x:a b)+/',
        'start: A "x"\nA: /(?R)+/',
        'start[lazy]: /(ab)+/ "x"',
        'start: "x" /* no comment of Lark */',
        'start: A "x"\nA: /(?:[\\x{61}-\\x{62}&&\\x{61}-\\x{61}]){1,}/',
        'start: A "x"\nA: /[ab&&a]+/',
        'start: A "x"\n%import common.WS -> A',
        'start: A "x"\nA:\n  /a+/',
    ],
)
def test_what_is_not_in_the_plain_form_is_not_trusted(lark):
    assert not is_surely_finite(lark)


@pytest.mark.parametrize(
    "lark",
    [
        'start: "Name: " NAME "\\n" | /[0-9]+(,[0-9]+)*/ end\nNAME: /[A-Z][a-z]+/ | "no/one"\nend: ("." | "!")+',
        '// a comment\n\nstart: greeting WS name\n\ngreeting: "hello"i\n  | "good" WS "day"\n'
        'name: /[^\\n"]{1,20}/\nWS: / /\n',
        'start: "a/b" x*\nx: "(ab)+" | /\\d{3}-\\d{4}/i\n',
        'start: a\na: "(" a ")" | /[a-z]/',
    ],
)
def test_what_people_write_plainly_is_trusted_and_ends(vocabulary, lark):
    assert is_surely_finite(lark)
    matcher = compile_constraint(Grammar(lark, "lark"), vocabulary).matcher()
    rng = random.Random(7)
    mask_W = np.zeros(vocabulary.words, np.uint32)
    for _ in range(40):
        forced = matcher.forced()
        assert matcher.would_accept(forced) == len(forced)
        matcher.fill(mask_W)
        allowed = [t for t in mask.to_ids(mask_W) if vocabulary.is_text(t)]
        if not allowed:
            break
        assert not forced or forced[0] in allowed
        assert matcher.accept(rng.choice(allowed))


def test_what_a_users_lark_forces_is_told(vocabulary):
    grammar = compile_constraint(Grammar('start: "Temperature: " /[0-9]+/ " degrees"', "lark"), vocabulary)
    forced = grammar.matcher().forced()
    assert b"".join(vocabulary.token_bytes[token_id] for token_id in forced).startswith(b"Temperature:")


def test_what_a_program_wrote_is_forced(vocabulary):
    letters = to_engine(parse("City: "))
    written = f'%llguidance {{}}\nstart: (T0 j0)\nT0: /{letters}/\nj0: %json {{"type": "boolean"}}\n'
    forced = compile_constraint(Grammar(written, "lark"), vocabulary).matcher().forced()
    assert b"".join(vocabulary.token_bytes[token_id] for token_id in forced).startswith(b"City:")
