"""Bodies take every field that asks for a constraint."""

import msgspec
import pytest

from radixlang.constrained.constraint import Grammar, Regex
from radixlang.constrained.fields import FIELD_NAMES
from radixlang.constrained.wire import ConstraintFields, asked_in, constraint_in
from radixlang.errors import GrammarError


class Body(ConstraintFields, kw_only=True, forbid_unknown_fields=True):
    text: str = ""


def test_all_fields_but_the_one_of_another_meaning_are_there():
    assert set(ConstraintFields.__struct_fields__) == FIELD_NAMES - {"format"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"regex": "a"}, Regex("a")),
        ({"gbnf": 'root ::= "a"'}, Grammar('root ::= "a"', "gbnf")),
        ({"lark": 'start: "a"'}, Grammar('start: "a"', "lark")),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Grammar('start: "a"', "lark")),
    ],
)
def test_a_body_is_read_as_its_fields_are(asked, expected):
    body = msgspec.convert({"text": "x", **asked}, Body)
    assert asked_in(body) == asked
    assert constraint_in(body).constraint == expected


def test_two_are_refused():
    with pytest.raises(GrammarError) as refused:
        constraint_in(Body(regex="a", choices=["a"]))
    assert refused.value.code == "conflicting_constraints"


def test_none_is_none():
    assert constraint_in(Body()) is None
