import pytest

from radixlang.constrained.fsm.fallback import from_engine, to_engine
from radixlang.constrained.fsm.pattern import parse


@pytest.mark.parametrize("pattern", ["a", "[^a-c]*x{2,3}", r"\w+|é?", r"\\x[{]41[}]", "[^\\s\\S]", "(?:ab|)c"])
def test_what_is_written_for_the_engine_is_read_back(pattern: str) -> None:
    written = to_engine(parse(pattern))
    assert to_engine(from_engine(written)) == written


def test_a_code_is_a_character_and_an_escaped_backslash_is_none() -> None:
    assert from_engine(r"\x{e9}") == parse("é")
    assert from_engine(r"\\x{2}") == parse(r"[\\]x{2}")
