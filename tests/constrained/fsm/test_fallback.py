import re

import llguidance
import pytest

from radixlang.constrained.fsm.fallback import from_engine, to_engine
from radixlang.constrained.fsm.pattern import parse


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "[^a-c]*x{2,3}",
        r"\w+|é?",
        r"\\x[{]41[}]",
        "[^\\s\\S]",
        "(?:ab|)c",
        "(?s:.){2}",
        "(){3}b{1,}",
        "[]^-]+[+?*]",
    ],
)
def test_what_is_written_for_the_engine_is_read_back(pattern: str) -> None:
    written = to_engine(parse(pattern))
    assert to_engine(from_engine(written)) == written


def test_a_code_is_a_character_and_an_escaped_backslash_is_none() -> None:
    assert from_engine(r"\x{e9}") == parse("é")
    assert from_engine(r"\\x{2}") == parse(r"[\\]x{2}")


@pytest.mark.parametrize(
    "pattern",
    ["[^a]", "[]^-]+", "(?s:.)", "[&~-]{2}", "(){3}b{1,}", "(?:a|b{2}){0,1}c", r"[\x00-\x20_/]+", "[^\uffff]?"],
)
def test_the_engine_reads_it_as_python_reads_the_pattern(pattern: str) -> None:
    tokenizer = llguidance.LLTokenizer("byte")
    grammar = llguidance.LLMatcher.grammar_from_regex(to_engine(parse(pattern)))
    for text in ["", "a", "b", "bb", "bbc", "c", "&&", "--", "~~", "]^-", "_/ ", "\n", "é", "\uffff", "\U0001f600"]:
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        tokens = tokenizer.tokenize_str(text)
        is_taken = matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens)
        assert (is_taken and matcher.is_accepting()) == (re.fullmatch(pattern, text) is not None), text
