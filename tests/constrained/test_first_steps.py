import json

import numpy as np
import pytest

from radixlang.constrained.constraint import Grammar, JsonSchema, Regex
from radixlang.constrained.first_steps import check_first_steps
from radixlang.constrained.matcher import Steady
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import GrammarTooLarge, UnsatisfiableGrammar


class Failing(Steady):
    """A grammar and its matcher, that fails with `message` after a number of tokens; what it allows is `row`."""

    error = None

    def __init__(self, row, fails_after: int, message: str = "") -> None:
        self.row, self.left, self.message = row, fails_after, message

    def matcher(self, max_tokens=None):
        return self

    def fill(self, mask_W) -> None:
        mask_W[:] = self.row
        if not self.left:
            self.error = self.message

    def accept(self, token_id: int) -> bool:
        self.left -= 1
        return True


def test_what_nothing_may_begin_is_unsatisfiable(vocabulary) -> None:
    with pytest.raises(UnsatisfiableGrammar):
        check_first_steps(Failing(np.zeros(vocabulary.words, np.uint32), 9), vocabulary)


@pytest.mark.parametrize("fails_after", [0, 1, 2, 3])
def test_limits_are_found_within_a_few_tokens(vocabulary, fails_after) -> None:
    with pytest.raises(GrammarTooLarge):
        check_first_steps(Failing(vocabulary.text_mask_W, fails_after, "too many items"), vocabulary)


def test_a_terminal_that_matches_nothing_is_no_way_on(vocabulary) -> None:
    grammar = compile_constraint(Grammar('start: "x" B | "y"\nB: /[^\\s\\S]/', "lark"), vocabulary)
    with pytest.raises(UnsatisfiableGrammar, match="nothing may follow"):
        check_first_steps(grammar, vocabulary)


def test_a_way_that_leads_nowhere_is_no_reason_to_refuse(vocabulary) -> None:
    check_first_steps(Failing(vocabulary.text_mask_W, 2, "every name that may stand here is taken"), vocabulary)


@pytest.mark.parametrize("constraint", [Regex("a"), Regex("a?"), JsonSchema(json.dumps({"const": ""}))])
def test_short_answers_pass(vocabulary, constraint) -> None:
    check_first_steps(compile_constraint(constraint, vocabulary), vocabulary)
