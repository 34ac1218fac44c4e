"""Reading a constraint, before anything is compiled."""

import pytest

from radixlang.constrained.constraint import Grammar, Regex
from radixlang.constrained.translate import check_constraint
from radixlang.errors import GrammarTooLarge


@pytest.mark.parametrize(
    "constraint",
    [
        Grammar("root ::= 'a'" + "{0,1000}" * 5000),
        Grammar("root ::= " + "('b' " * 150 + "'a'" + "){0,1000}{0,1000}" * 150 + "{0,1000}" * 1500),
        Regex("(?:" * 2000 + "a" + ")*" * 2000),
    ],
)
def test_what_is_nested_too_deeply_is_refused_when_it_is_read(constraint):
    with pytest.raises(GrammarTooLarge):
        check_constraint(constraint)
