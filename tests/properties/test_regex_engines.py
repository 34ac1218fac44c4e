"""The same pattern on three engines: our automata, llguidance, and outlines-core's index."""

import outlines_core
import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Regex
from radixlang.constrained.fsm.index import FsmGrammar
from radixlang.constrained.fsm.pattern import parse
from radixlang.constrained.translate import compile_constraint, engine_regex
from radixlang.constrained.vocabulary import Vocabulary

PIECES = ["ab", "abc", "12", "123", "-1", "a1", ": ", "20", "true", "fal", "se", '"a', '"}', "@b", ".c", "éa", "中"]
VOCABULARY = Vocabulary(
    [b"</s>", *(bytes([b]) for b in range(256)), *(p.encode() for p in PIECES)], frozenset({0}), frozenset({0}), 280
)
PATTERNS = [
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"(true|false|null)",
    r"[a-z]+@[a-z]+\.[a-z]{2,3}",
    r'"[^"\\]{0,8}"',
    r"-?(0|[1-9][0-9]{0,5})(\.[0-9]+)?",
    r"((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])",
    r"(ab|abc|a1)*c?",
    r"[é中]{1,3}",
    r"(a|b)*abb",
]


def outlines_allowed(index: outlines_core.Index, state: int) -> set[int]:
    return {t for t in index.get_allowed_tokens(state) or [] if t != 0}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_three_engines_allow_the_same_tokens(pattern: str) -> None:
    theirs = outlines_core.Vocabulary(
        0, {VOCABULARY.token_bytes[t]: [t] for t in range(1, len(VOCABULARY.token_bytes))}
    )
    index = outlines_core.Index(pattern, theirs)
    ours = compile_constraint(Regex(pattern), VOCABULARY)
    assert isinstance(ours, FsmGrammar)
    row = mask.allocate(1, VOCABULARY.words)[0]
    waiting = [(ours.matcher(), engine_regex(parse(pattern), VOCABULARY).matcher(), index.get_initial_state())]
    seen = set()
    while waiting and len(seen) < 60:
        one, other, state = waiting.pop()
        one.fill(row)
        allowed = set(mask.to_ids(row))
        other.fill(row)
        # Where the text is forced, llguidance's mask holds the canonical token alone.
        assert allowed == set(mask.to_ids(row)) or set(mask.to_ids(row)) == set(other.forced()[:1]) <= allowed
        if one.is_accepting:  # outlines-core 0.2.14 forgets bytes there: after "abb" of (a|b)*abb it allows "ab" only
            assert allowed - {0} >= outlines_allowed(index, state)
        else:
            assert allowed - {0} == outlines_allowed(index, state)
        assert (0 in allowed) == index.is_final_state(state) == one.is_accepting == other.is_accepting
        for token_id in sorted(allowed - {0})[:: max(1, len(allowed) // 5)]:
            after = index.get_next_state(state, token_id)
            if after is not None and after not in seen:
                seen.add(after)
                further, other_further = one.copy(), other.copy()
                assert further.accept(token_id)
                assert other_further.accept(token_id)
                waiting.append((further, other_further, after))
