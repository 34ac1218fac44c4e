import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from radixlang.constrained.fsm.pattern import Alt, Chars, Repeat, Seq
from radixlang.constrained.grammar.captures import Marked, find, unmarked
from radixlang.constrained.grammar.reader import Json, Ref, read
from radixlang.errors import UnsupportedGrammar


def char(c: str) -> Chars:
    return Chars(((ord(c), ord(c)),))


PARTS = st.recursive(
    st.sampled_from("ab").map(char),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: Seq(tuple(parts)))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: Alt(tuple(parts)))
        | st.builds(Repeat, inner, st.integers(0, 2), st.sampled_from([None, 2, 3]))
        | st.builds(Marked, st.sampled_from("xyz"), inner)
    ),
    max_leaves=6,
)


def as_regex(part) -> str:
    match part:
        case Chars(((low, _),)):
            return chr(low)
        case Seq(parts):
            return "(?:" + "".join(map(as_regex, parts)) + ")"
        case Alt(options):
            return "(?:" + "|".join(map(as_regex, options)) + ")"
        case Repeat(inner, low, high):
            return f"(?:{as_regex(inner)}){{{low},{'' if high is None else high}}}"
        case Marked(_, inner):
            return as_regex(inner)
    raise AssertionError(part)


def marked(part, name: str):
    match part:
        case Marked(own, inner):
            return ([inner] if own == name else []) + marked(inner, name)
        case Seq(parts) | Alt(parts):
            return [found for p in parts for found in marked(p, name)]
        case Repeat(inner, _, _):
            return marked(inner, name)
    return []


@given(PARTS, st.text("ab", max_size=6))
def test_a_text_is_read_exactly_if_it_matches_and_each_capture_matches_its_part(part, text: str) -> None:
    found = find({"root": part}, text)
    assert (found is not None) == (re.fullmatch(as_regex(part), text) is not None)
    for place in found or ():
        assert any(re.fullmatch(as_regex(p), text[place.begin : place.end]) for p in marked(part, place.name))


def test_captures_of_rules_that_contain_themselves_come_in_the_order_of_their_ends() -> None:
    rules = dict(read('root ::= "(" root ")" | [0-9]+'))
    rules["root"] = Alt((Seq((char("("), Marked("inner", Ref("root")), char(")"))), rules["root"].options[1]))
    assert [(f.begin, f.end) for f in find(rules, "((12))")] == [(2, 4), (1, 5)]
    assert find(rules, "((12)") is None
    assert unmarked(rules)["root"].options[0].parts[1] == Ref("root")


def test_json_ends_where_it_ends() -> None:
    rules = {"root": Seq((Marked("x", Json("{}")), char(" "), Marked("y", Json("true"))))}
    assert [(f.name, f.begin, f.end) for f in find(rules, '{"a": "}"} [1]')] == [("x", 0, 10), ("y", 11, 14)]
    assert find(rules, "{} ") is None


def test_a_long_text_is_no_trouble() -> None:
    rules = {"root": Seq((Repeat(Alt((char("a"), char("b"))), 0, None), Marked("end", Repeat(char("b"), 1, None))))}
    found = find(rules, "ab" * 1000)
    assert [(f.begin, f.end) for f in found] == [(1999, 2000)]


def test_a_rule_that_begins_with_itself_is_refused_through_others_too() -> None:
    with pytest.raises(UnsupportedGrammar, match="begins with itself"):
        unmarked(dict(read('root ::= a "x"\na ::= "y"? root | "z"')))
