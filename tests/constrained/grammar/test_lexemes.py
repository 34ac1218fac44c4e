"""Grammars are served exactly, whatever their tokens do to a greedy lexer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.constraint import Grammar
from radixlang.constrained.fsm.index import FsmGrammar
from radixlang.constrained.fsm.pattern import Alt, Chars, Repeat, Seq
from radixlang.constrained.grammar.lexemes import as_pattern, productive
from radixlang.constrained.grammar.reader import Ref, read
from radixlang.constrained.guidance import GuidanceGrammar
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import GrammarError, UnsatisfiableGrammar

CASES = [
    ('root ::= "(" root ")" | [a-z]+ "x"', ["abx", "(abx)", "xx"], ["x", "ab", "(abx"]),
    ('root ::= "[" root "]" | ("a" | "ab") "b"', ["ab", "abb", "[ab]"], ["a", "b", "[abb"]),
    ('root ::= id | id root | "<" root ">"\nid ::= [a-z]+', ["abc", "<ab>", "a<b>"], ["", "<a>b"]),
    ('root ::= "if" " " root | [a-z]+ | "(" root ")"', ["if if abc", "if", "iff", "(if x)"], ["if ", "("]),
    ('root ::= root "," [0-9]+ | [0-9]+', ["1,2,33", "1"], ["1,", ",1"]),
    ('root ::= "「" root "」" | [一-龥]+ "中"', ["人中", "「人中」", "中中"], ["中", "人"]),
    ('root ::= "(" ws root ws ")" ws | "x" ws\nws ::= [ \\n]*', ["( x )", "x  ", "((x))"], ["(x", " x"]),
    (
        'root ::= expr\nexpr ::= term (("+"|"-") term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+',
        ["1+(2-3)", "12"],
        ["1+", "(1", "+"],
    ),
    ('root ::= "" | "a" root "b"', ["", "ab", "aabb"], ["aab", "ba"]),
    ('root ::= a b?\na ::= "x" | "y"{2,3}\nb ::= [0-9]', ["x1", "yy", "yyy9"], ["y", "x12"]),
    ('root ::= "é" root "中" | "é"', ["é", "éé中"], ["中", "é中"]),
]


@pytest.mark.parametrize(("text", "valid", "invalid"), CASES)
@pytest.mark.parametrize("syntax", ["ebnf", "gbnf"])
def test_grammars_are_served_exactly(compiler, accepts, draw, text, valid, invalid, syntax) -> None:
    grammar = compiler.compile(Grammar(text, syntax))
    for answer in valid:
        assert accepts(grammar, answer), answer
    for answer in invalid:
        assert not accepts(grammar, answer), answer
    for seed in range(4):
        answer, is_complete = draw(grammar, seed, 40)
        assert not is_complete or accepts(grammar, answer)


def test_a_grammar_without_recursion_is_an_automaton(vocabulary) -> None:
    assert isinstance(compile_constraint(Grammar('root ::= x x\nx ::= "a" | "b"'), vocabulary), FsmGrammar)
    assert isinstance(compile_constraint(Grammar('root ::= "(" root ")" | "b"'), vocabulary), GuidanceGrammar)


def test_a_grammar_too_large_to_be_written_out_keeps_its_rules(compiler, accepts) -> None:
    rules = "\n".join(f"r{i} ::= r{i - 1} r{i - 1}" for i in range(1, 13))
    grammar = compiler.compile(Grammar(f'root ::= r12\nr0 ::= "a" | "b"\n{rules}'))
    assert accepts(grammar, "ab" * 2048)
    assert not accepts(grammar, "ab" * 2047)


def derives(rules, part, text: str, memo) -> set[int]:
    """The ends of all prefixes of `text` that the part derives, by brute force."""
    match part:
        case Chars(ranges):
            return {1} if text and any(low <= ord(text[0]) <= high for low, high in ranges) else set()
        case Seq(parts):
            ends = {0}
            for inner in parts:
                ends = {end + more for end in ends for more in derives(rules, inner, text[end:], memo)}
            return ends
        case Alt(options):
            return set().union(*(derives(rules, option, text, memo) for option in options))
        case Repeat(inner, low, high):
            ends, found = {0}, set()
            for count in range((high if high is not None else len(text) + low) + 1):
                if count >= low:
                    found |= ends
                ends = {end + more for end in ends for more in derives(rules, inner, text[end:], memo)}
            return found
        case Ref(name):
            key = (name, text)
            if key not in memo:
                memo[key] = set()
                while True:  # left recursion: to the fixed point
                    grown = derives(rules, rules[name], text, memo)
                    if grown <= memo[key]:
                        break
                    memo[key] |= grown
            return memo[key]
    raise AssertionError(part)


BODIES = st.recursive(
    st.sampled_from(['"a"', '"b"', '"ab"', '"ba"', "[ab]", "[ab]+", "x", "root", '""', '"aab"']),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(" ".join),
        st.tuples(inner, inner).map(lambda p: f"({p[0]} | {p[1]})"),
        st.tuples(inner, st.sampled_from(["*", "?", "{1,2}"])).map(lambda p: f"({p[0]}){p[1]}"),
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(BODIES, BODIES)
def test_random_grammars_accept_what_they_derive(accepts, vocabulary, root: str, x: str) -> None:
    text = f'root ::= "b" | {root}\nx ::= "a" | {x}'
    try:
        grammar = compile_constraint(Grammar(text), vocabulary)
    except GrammarError:
        return
    rules = read(text)
    for length in range(5):
        for letters in itertools.product("ab", repeat=length):
            answer = "".join(letters)
            # The fixed point of nested left recursion needs a memo that is thrown away until nothing grows.
            memo: dict = {}
            size = -1
            while size != sum(map(len, memo.values())):
                size = sum(map(len, memo.values()))
                ends = derives(rules, Ref("root"), answer, memo)
                memo = {key: set(value) for key, value in memo.items()}
                for key in list(memo):
                    memo[key] |= derives(rules, rules[key[0]], key[1], memo)
            assert accepts(grammar, answer) == (length in ends), (text, answer)


def test_a_chain_of_many_rules_costs_a_pass_a_circle_of_them_no_more() -> None:
    count = 5_000
    chain = "root ::= r0\n" + "".join(f'r{i} ::= "a"? r{i + 1}\n' for i in range(count)) + f'r{count} ::= "b"'
    productive(read(chain))
    with pytest.raises(UnsatisfiableGrammar, match="without end"):
        productive(read(chain.replace(f'r{count} ::= "b"', f"r{count} ::= r0")))
    assert as_pattern(read('root ::= a a\na ::= b\nb ::= "x"')) is not None
    assert as_pattern(read('root ::= a\na ::= "x" b | "y"\nb ::= a')) is None


@pytest.mark.parametrize(
    ("text", "endless", "whole"),
    [
        ('root ::= "x" b | "(" root ")" | "y"\nb ::= "z" b', ["x", "(x"], ["y", "((y))"]),
        ('root ::= "x" b? "(" root? ")"\nb ::= "z" b | c\nc ::= b "q"', ["xz"], ["x()", "x(x())"]),
        ('root ::= "a" | "b" [] | root "c" ("d" b)*\nb ::= "e" [^\\x00-\\U0010FFFF]', ["b", "acd"], ["a", "acc"]),
    ],
)
def test_nothing_goes_where_there_is_no_end(compiler, accepts, text: str, endless: list[str], whole: list[str]) -> None:
    grammar = compiler.compile(Grammar(text))
    for answer in whole:
        assert accepts(grammar, answer)
    for begun in endless:
        token_ids = compiler.vocabulary.tokenize(begun.encode())
        assert grammar.matcher().would_accept(token_ids) < len(token_ids), begun
