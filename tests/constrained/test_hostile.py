"""Constraints that are meant to hurt: each is refused or served in time and in memory."""

import json
import re
import resource
import subprocess
import sys

import pytest

from radixlang.constrained.constraint import Choice, Grammar, JsonSchema, Regex, StructuralTag
from radixlang.constrained.guidance import tokenizer_for
from radixlang.errors import GrammarError, GrammarTooLarge

LAUGHS = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i - 1}"}] * 2} for i in range(1, 31)}
NESTED = {
    f"a{i}": {
        "type": "object",
        "properties": {k: {"$ref": f"#/$defs/a{i - 1}"} for k in "lr"},
        "required": ["l", "r"],
    }
    for i in range(1, 31)
}
PAIRS = [
    {"anyOf": [{"properties": {f"p{i}_{j}": {"const": j}}, "required": [f"p{i}_{j}"]} for j in range(8)]}
    for i in range(8)
]
MUST_REFUSE = "refuse"
BOMBS = {
    "nested repeats": (Regex("((a{1,30}){1,30}){1,30}b"), r"a"),
    "a million repeats": (Regex("a{1000000}"), MUST_REFUSE),
    "a million letters by nested repeats": (Regex("(x{1000}){1000}"), MUST_REFUSE),
    "the same in a schema": (JsonSchema('{"type":"string","pattern":"^(x{1000}){1000}$"}'), MUST_REFUSE),
    "optional nested repeats": (Regex("((x{0,1000}){0,1000}){0,1000}"), r"x*$"),
    "a choice of a million letters": (Choice(("x" * 1_000_000, "y")), MUST_REFUSE),
    "a bound of 4,000 digits": (JsonSchema('{"type":"integer","minimum":1' + "0" * 4000 + "}"), MUST_REFUSE),
    "60,000 open parentheses": (Regex("(" * 60_000), MUST_REFUSE),
    "3,000 nested groups": (Regex("(" * 3000 + "a" + ")" * 3000), MUST_REFUSE),
    "8,000 optional letters": (Regex("x*" * 8000), None),
    "a long literal": (Regex("a" * 8000), None),
    "exponential backtracking": (Regex("(x+x+)+y"), r"x"),
    "exponential determinisation": (Regex("(a|b)*a(a|b){20}"), r"[ab]"),
    "ninety nested repeats": (Regex("(?:" * 90 + "a" + "{0,9})" * 90), None),
    "many lookaheads": (Regex("".join(f"(?=.*{c})" for c in "abcdefghijkl") + ".*"), None),
    "enum of 10,000": (JsonSchema(json.dumps({"enum": [f"value{i}" for i in range(10_000)]})), r'"value'),
    "enum of 50,000": (JsonSchema(json.dumps({"enum": [f"value{i}" for i in range(50_000)]})), r'"value'),
    "50,000 choices": (Choice(tuple(f"choice {i}" for i in range(50_000))), r"c"),
    "JSON nested 100,000 deep": (JsonSchema("[" * 100_000), MUST_REFUSE),
    "schema nested 100,000 deep": (JsonSchema('{"items":' * 100_000 + "{}" + "}" * 100_000), MUST_REFUSE),
    "a reference to the network": (JsonSchema('{"$ref":"http://169.254.169.254/"}'), MUST_REFUSE),
    "maxLength 10^9": (JsonSchema('{"type":"string","maxLength":1000000000}'), r'"'),
    "minItems 10^9": (JsonSchema('{"type":"array","items":{"type":"null"},"minItems":1000000000}'), MUST_REFUSE),
    "anyOf of 500": (
        JsonSchema(
            json.dumps(
                {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {f"k{i}": {"const": i}},
                            "required": [f"k{i}"],
                            "additionalProperties": False,
                        }
                        for i in range(500)
                    ]
                }
            )
        ),
        r'\{"k',
    ),
    "5,000 properties": (
        JsonSchema(json.dumps({"type": "object", "properties": {f"k{i}": {} for i in range(5000)}})),
        None,
    ),
    "a billion laughs": (
        JsonSchema(json.dumps({"$defs": {"a0": {"type": "null"}, **LAUGHS}, "$ref": "#/$defs/a30"})),
        r"n",
    ),
    "a tree of 2^30 leaves": (
        JsonSchema(json.dumps({"$defs": {"a0": {"type": "null"}, **NESTED}, "$ref": "#/$defs/a30"})),
        r'\{"l',
    ),
    "a product of alternatives": (JsonSchema(json.dumps({"allOf": PAIRS})), None),
    "a constant of a megabyte": (JsonSchema(json.dumps({"const": "x" * 1_000_000})), MUST_REFUSE),
    "a number of 5,000 digits": (JsonSchema('{"const":' + "1" * 5000 + "}"), MUST_REFUSE),
    "a hostile pattern": (JsonSchema('{"type":"string","pattern":"^((a{1,30}){1,30}){1,30}b$"}'), r'"a'),
    "a subset of 40 properties": (
        JsonSchema(
            json.dumps(
                {"properties": {f"k{i}": {} for i in range(40)}, "minProperties": 20, "additionalProperties": False}
            )
        ),
        "",
    ),
    "rules that double": (
        Grammar('root ::= r30\nr0 ::= "a"\n' + "\n".join(f"r{i} ::= r{i - 1} r{i - 1}" for i in range(1, 31))),
        MUST_REFUSE,
    ),
    "endless ambiguity": (Grammar('root ::= root root | root root root | "a" | ""'), r"a?"),
    "repeats of repeats of a rule": (Grammar('root ::= "(" root ")" | (("a"{1,1000} "b"?){1,1000}){1,1000}'), None),
    "rules without end": (Grammar("root ::= x\nx ::= root"), MUST_REFUSE),
    "Lark of 50,000 parentheses": (Grammar("start: " + "(" * 50_000, "lark"), MUST_REFUSE),
    "a structural tag nested deep": (StructuralTag('{"format":' * 5000 + "{}" + "}" * 5000), MUST_REFUSE),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_served(compiler, draw, vocabulary, name: str) -> None:
    constraint, outcome = BOMBS[name]
    tokenizer_for(vocabulary)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if outcome == MUST_REFUSE:
        with pytest.raises(GrammarError) as caught:
            compiler.compile(constraint)
        assert caught.value.status == 400
        assert len(caught.value.message) < 2000
    else:
        try:
            grammar = compiler.compile(constraint)
        except GrammarTooLarge:
            assert outcome is None
        else:
            answer, _ = draw(grammar, 1, 6)
            assert outcome is None or re.match(outcome, answer.decode(errors="replace"))
    if sys.platform == "linux":  # kB there
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


@pytest.mark.parametrize(
    "constraint",
    [
        Grammar('start: /(ab)+/ "ax"', "lark"),
        Grammar('%llguidance {"no_forcing": false}\nstart: /(ab)+/ "ax"', "lark"),
        Grammar('start: A "abx"\nA: /(ab)+/', "lark"),
        StructuralTag(
            json.dumps(
                {
                    "type": "structural_tag",
                    "format": {
                        "type": "sequence",
                        "elements": [{"type": "regex", "pattern": "(ab)+"}, {"type": "const_string", "value": "ax"}],
                    },
                }
            )
        ),
    ],
)
def test_what_is_forced_without_end_does_not_hang_the_engine(constraint):
    """In a process of its own: what hangs there cannot be stopped."""
    program = (
        "import sys, numpy as np\n"
        "from radixlang.constrained.constraint import *\n"
        "from radixlang.constrained.translate import compile_constraint\n"
        "from radixlang.constrained.vocabulary import Vocabulary\n"
        "pieces = [b'</s>', *(bytes([b]) for b in range(256))]\n"
        "vocabulary = Vocabulary(pieces, frozenset({0}), frozenset({0}), len(pieces))\n"
        f"matcher = compile_constraint({constraint!r}, vocabulary).matcher()\n"
        "mask_W = np.zeros(vocabulary.words, np.uint32)\n"
        "for byte in b'abab':\n"
        "    matcher.fill(mask_W)\n"
        "    assert matcher.accept(byte + 1), matcher.error\n"
        "matcher.forced()\n"
        "matcher.fill(mask_W)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
