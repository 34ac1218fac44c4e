import json
import random
from pathlib import Path

import jsonschema
import pytest

from radixlang.constrained import mask
from radixlang.constrained.closing import ClosingMatcher, completion
from radixlang.constrained.constraint import Choice, Closing, Grammar, JsonObject, JsonSchema, Regex

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "vip"]}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SUMS = r"""root ::= (expr "=" ws term "\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \t\n]*"""
CASES = [
    (JsonSchema(json.dumps(PERSON)), 48),
    (JsonSchema(json.dumps({"type": "array", "items": PERSON})), 24),
    (JsonSchema(json.dumps({"type": "string", "format": "email"})), 20),
    (JsonObject(), 20),
    (Regex(r"[a-z]{3,200}, [0-9]+\."), 12),
    (Choice(("yes", "no, " + "never " * 20 + "!")), 60),
    (Grammar('root ::= expr\nexpr ::= [0-9]+ | "(" expr ("+" | "-") expr ")"'), 40),
    (Grammar(SUMS), 24),
]


def drive(matcher, vocabulary, seed: int, max_tokens: int, *, takes_forced: bool) -> tuple[bytes, bool]:
    rng = random.Random(seed)
    row = mask.allocate(1, vocabulary.words)[0]
    written: list[int] = []
    told, at_least = 0, written
    while len(written) < max_tokens:
        step = matcher.forced() if takes_forced else []
        if not step:
            matcher.fill(row)
            allowed = mask.to_ids(row)
            assert allowed
            if set(allowed) <= vocabulary.eos_token_ids:
                return vocabulary.join(written), True
            step = [rng.choice([t for t in allowed if t not in vocabulary.eos_token_ids])]
        assert matcher.would_accept(step) == len(step)
        for token_id in step:
            assert matcher.accept(token_id)
            written.append(token_id)
            if matcher.take_back:
                assert matcher.forced() == []  # first what is wrong goes
                assert not matcher.is_finished
                del written[-matcher.take_back :]
                assert written[:told] == at_least[:told]  # what was told stays
                matcher.rollback(matcher.take_back)
                break
            told, at_least = len(written) - matcher.num_open, written.copy()
            if matcher.is_finished:
                return vocabulary.join(written), True
    return vocabulary.join(written), matcher.is_accepting


@pytest.mark.parametrize("takes_forced", [True, False])
@pytest.mark.parametrize(("constraint", "shortest"), CASES, ids=lambda value: str(value)[:50])
def test_an_answer_is_complete_when_its_tokens_run_out(
    compiler, vocabulary, accepts, constraint, shortest: int, takes_forced: bool
) -> None:
    grammar = compiler.compile(Closing(constraint))
    for seed in range(8):
        for max_tokens in (shortest, shortest + 1, shortest + 40):
            text, is_whole = drive(grammar.matcher(max_tokens), vocabulary, seed, max_tokens, takes_forced=takes_forced)
            assert is_whole, text
            assert accepts(compiler.compile(constraint), text)


def test_without_a_limit_nothing_is_steered(compiler, vocabulary) -> None:
    assert not isinstance(compiler.compile(Closing(Regex("a+"))).matcher(), ClosingMatcher)


def test_with_tokens_in_plenty_the_masks_are_those_of_the_constraint(compiler, vocabulary) -> None:
    one, other = mask.allocate(2, vocabulary.words)
    closing, plain = compiler.compile(Closing(CASES[0][0])).matcher(1000), compiler.compile(CASES[0][0]).matcher()
    for token_id in vocabulary.tokenize(b'{"name": "Ada", "age": 36'):
        closing.fill(one)
        plain.fill(other)
        assert (one == other).all()
        assert closing.accept(token_id)
        assert plain.accept(token_id)


def test_taking_back_gives_the_tokens_back(compiler, vocabulary) -> None:
    matcher = compiler.compile(Closing(Regex("[a-z]{1,60}x"))).matcher(12)
    row = mask.allocate(1, vocabulary.words)[0]
    matcher.fill(row)
    first = mask.to_ids(row)
    for _ in range(6):
        matcher.fill(row)
        assert matcher.accept(mask.to_ids(row)[0])
    copy = matcher.copy()
    matcher.rollback(6)
    matcher.fill(row)
    assert mask.to_ids(row) == first
    copy.fill(row)
    assert copy.accept(mask.to_ids(row)[0])


def test_a_completion_is_the_shortest_on_an_automaton(compiler, vocabulary) -> None:
    matcher = compiler.compile(Regex("(?:ab|abcabc|[0-9]{9})")).matcher()
    found = completion(matcher, vocabulary, 20)
    assert found is not None
    assert vocabulary.join(found) == b"ab"
    assert completion(compiler.compile(Regex("[0-9]{9}")).matcher(), vocabulary, 3) is None


def test_a_completion_is_valid(compiler, vocabulary) -> None:
    matcher = compiler.compile(CASES[0][0]).matcher()
    found = completion(matcher, vocabulary, 60)
    assert found is not None
    jsonschema.validate(json.loads(vocabulary.join(found)), PERSON)


def test_what_cannot_end_in_time_is_not_stopped_from_going_on(compiler, vocabulary) -> None:
    matcher = compiler.compile(Closing(Choice(("a long sentence that takes its time", "b" * 200)))).matcher(4)
    row = mask.allocate(1, vocabulary.words)[0]
    for _ in range(4):
        matcher.fill(row)
        assert matcher.accept(mask.to_ids(row)[0])
    assert not matcher.is_accepting


SAMPLE = json.loads((Path(__file__).parent / "data/schemas.json").read_text())


@pytest.mark.parametrize("case", SAMPLE[::8], ids=lambda case: case["name"])
def test_no_answer_stays_open_once_a_completion_is_known(compiler, vocabulary, case) -> None:
    constraint = JsonSchema(json.dumps(case["schema"]))
    shortest = completion(compiler.compile(constraint).matcher(), vocabulary, 256)
    if shortest is None:
        return
    grammar = compiler.compile(Closing(constraint))
    for seed, more in enumerate((1, 5, 20)):
        max_tokens = len(shortest) + more
        text, is_whole = drive(grammar.matcher(max_tokens), vocabulary, seed, max_tokens, takes_forced=bool(seed % 2))
        assert is_whole, text
        validator = jsonschema.validators.validator_for(case["schema"], default=jsonschema.Draft202012Validator)
        assert validator(case["schema"]).is_valid(json.loads(text))
