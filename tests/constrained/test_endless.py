"""Which grammars may be asked what they force: those that surely end."""

import pytest

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
        'start: A "abx"\nA: /(?:[\\x{61}-\\x{61}])/ "b"',
        'start: A "x"\nA: /(?:[\\x{61}-\\x{62}&&\\x{61}-\\x{61}]){1,}/',
        'start: A "x"\nA: /[ab&&a]+/',
        'start: A "x"\n%import common.WS -> A',
        'start: A "x"\nA:\n  /a+/',
    ],
)
def test_what_is_not_in_the_plain_form_is_not_trusted(lark):
    assert not is_surely_finite(lark)


def test_what_a_program_wrote_is_forced(vocabulary):
    letters = to_engine(parse("City: "))
    written = f'%llguidance {{}}\nstart: (T0 j0)\nT0: /{letters}/\nj0: %json {{"type": "boolean"}}\n'
    forced = compile_constraint(Grammar(written, "lark"), vocabulary).matcher().forced()
    assert b"".join(vocabulary.token_bytes[token_id] for token_id in forced).startswith(b"City:")
