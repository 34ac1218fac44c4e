"""Tags whose parts can swallow what follows, against `re` on all short texts."""

import itertools
import json
import random
import re

import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import StructuralTag
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import UnsupportedGrammar

BYTES = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
LETTERS = "abé"
TEXTS = ["".join(letters) for n in range(6) for letters in itertools.product(LETTERS + "c", repeat=n)]
FREE = {"a": "[^a]*", "é": "[^é]*", "ab": "(?:[^a]|a+[^ab])*a*"}
"""Of some triggers all texts without them."""
INTEGER = {"type": "json_schema", "json_schema": {"type": "integer"}}
Case = tuple[dict, str]  # a format, and its texts for `re`


def compiled(spec: dict):
    return compile_constraint(StructuralTag(json.dumps({"format": spec})), BYTES)


def accepts(grammar, text: str) -> bool:
    token_ids = [b + 1 for b in text.encode()] + [0]
    return grammar.matcher().would_accept(token_ids) == len(token_ids)


class Drawer:
    """Formats at random."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def word(self, low: int = 1) -> str:
        return "".join(self.rng.choices(LETTERS, k=self.rng.randint(low, 2)))

    def pattern(self, depth: int = 2) -> str:
        kind = self.rng.randrange(7 if depth else 3)
        if kind < 2:
            return self.rng.choice(LETTERS)
        if kind == 2:
            return self.rng.choice(["[ab]", "[^a]", "[^b]", "[^é]", "."])
        if kind == 3:
            return self.pattern(depth - 1) + self.pattern(depth - 1)
        if kind == 4:
            return f"(?:{self.pattern(depth - 1)}|{self.pattern(depth - 1)})"
        return f"(?:{self.pattern(depth - 1)}){self.rng.choice(['*', '+', '?', '{0,2}'])}"

    def format(self, depth: int) -> Case:
        kinds = ["const", "regex", "regex"]
        if depth:
            kinds += ["sequence", "sequence", "or", "optional", "star", "plus", "tag", "tag", "triggered", "separated"]
        kind = self.rng.choice(kinds)
        if kind == "const":
            word = self.word()
            return {"type": "const_string", "value": word}, word
        if kind == "regex":
            pattern = self.pattern()
            return {"type": "regex", "pattern": pattern}, f"(?:{pattern})"
        if kind in ("sequence", "or"):
            specs, patterns = zip(*(self.format(depth - 1) for _ in range(self.rng.randint(1, 3))), strict=True)
            specs = [s for s in specs if s["type"] not in ("any_text", "triggered_tags")] if kind != "or" else specs
            if len(specs) == len(patterns):
                return {"type": kind, "elements": specs}, f"(?:{('|' if kind == 'or' else '').join(patterns)})"
            return self.format(depth)
        if kind in ("optional", "star", "plus"):
            spec, pattern = self.format(depth - 1)
            return {"type": kind, "content": spec}, f"(?:{pattern}){dict(optional='?', star='*', plus='+')[kind]}"
        if kind == "tag":
            return self.tag(depth, self.word())
        begins = self.rng.choice([["a"], ["b", "é"], ["ab", "b"]])
        is_some, is_first_only = self.rng.random() < 0.5, self.rng.random() < 0.3
        counts = {"at_least_one": is_some, "stop_after_first": is_first_only}
        if kind == "separated":
            one, specs = self.one_of(depth, begins)
            separator = self.word(0)
            texts = one + ("" if is_first_only else f"(?:{separator}{one})*")
            spec = {"type": "tags_with_separator", "tags": specs, "separator": separator, **counts}
            return spec, texts if is_some else f"(?:{texts})?"
        trigger = self.rng.choice(list(FREE))
        one, specs = self.one_of(depth, self.rng.choice([[trigger], [trigger + "a", trigger + "é"]]))
        one = FREE[trigger] + one
        spec = {"type": "triggered_tags", "triggers": [trigger], "tags": specs, **counts}
        if is_first_only:
            return spec, one if is_some else f"(?:{one}|{FREE[trigger]})"
        return spec, f"(?:{one}){'+' if is_some else '*'}{FREE[trigger]}"

    def one_of(self, depth: int, begins: list[str]) -> tuple[str, list[dict]]:
        tags = [self.tag(depth, begin) for begin in begins]
        return f"(?:{'|'.join(pattern for _, pattern in tags)})", [spec for spec, _ in tags]

    def tag(self, depth: int, begin: str) -> Case:
        ends = [self.word(self.rng.choice([0, 1, 1])) for _ in range(self.rng.choice([1, 1, 2]))]
        content, pattern = self.format(depth - 1)
        spec = {"type": "tag", "begin": begin, "content": content, "end": ends}
        return spec, f"{begin}{pattern}(?:{'|'.join(ends)})"


@pytest.mark.parametrize("seed", range(250))
def test_a_tags_language_is_enforced_exactly(seed: int) -> None:
    drawer = Drawer(seed)
    spec, pattern = drawer.format(2)
    grammar, wanted = compiled(spec), re.compile(pattern)
    members = [text for text in TEXTS if wanted.fullmatch(text)]
    for text in drawer.rng.sample(TEXTS, 60) + members[:60]:
        assert accepts(grammar, text) == (wanted.fullmatch(text) is not None), (spec, text)
    row = mask.allocate(1, BYTES.words)[0]
    for text in drawer.rng.sample(members, min(3, len(members))):  # whatever a member goes on with is allowed
        matcher, data = grammar.matcher(), text.encode()
        for i, byte in enumerate(data):
            matcher.fill(row)
            following = {
                other.encode()[i] + 1
                for other in members
                if other.encode().startswith(data[:i]) and i < len(other.encode())
            }
            assert following <= set(mask.to_ids(row)), (spec, data[:i])
            forced = bytes(token_id - 1 for token_id in matcher.forced() if token_id)
            assert data[i:].startswith(forced), (spec, data[:i], forced)
            assert matcher.accept(byte + 1)


@pytest.mark.parametrize(
    ("spec", "valid", "invalid"),
    [
        (  # a pattern, its end among what it can hold, and documents beside it: single characters
            {
                "type": "triggered_tags",
                "triggers": ["<"],
                "tags": [
                    {"begin": "<a", "content": {"type": "regex", "pattern": "[^<]*"}, "end": ">"},
                    {"begin": "<b", "content": INTEGER, "end": ">"},
                ],
            },
            ["x<ahi> or > so<b12>.", "<a>", "<b1><a>>>", ""],
            ["<ahi", "<b1.5>", "<b>", "<ax<b1>"],
        ),
        (
            {
                "type": "tag",
                "begin": "(",
                "content": {
                    "type": "triggered_tags",
                    "triggers": ["<"],
                    "tags": [{"begin": "<", "content": INTEGER, "end": ">"}],
                },
                "end": ")",
            },
            ["()", "(a)", "(a) b)", "(<1>)", "(a<1>b<2>)"],
            ["(", "(<1>", "(<1)", ")"],
        ),
        (
            {
                "type": "triggered_tags",
                "triggers": ["bc"],
                "tags": [{"begin": "bc", "content": {"type": "const_string", "value": "x"}, "end": ["a", "ab"]}],
                "excludes": ["cx"],
            },
            ["bcxa", "bcxab", "bcxabcxa", "bcxabc"],
            ["bcxabcx", "bcx", "bcxb"],
        ),
        (
            {"type": "sequence", "elements": [INTEGER, {"type": "const_string", "value": "e"}]},
            ["1e", "-12e"],
            ["e", "1", "1e5"],
        ),
    ],
    ids=["beside documents", "free text inside a tag", "ends that begin alike", "integer"],
)
def test_what_stands_beside_documents(spec: dict, valid: list[str], invalid: list[str]) -> None:
    grammar = compiled(spec)
    for text in valid:
        assert accepts(grammar, text), text
    for text in invalid:
        assert not accepts(grammar, text), text


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "sequence", "elements": [INTEGER, {"type": "const_string", "value": "5"}]},
        {"type": "plus", "content": INTEGER},
        {"type": "sequence", "elements": [{"type": "regex", "pattern": ".*"}, INTEGER]},
        {"type": "tag", "begin": "(", "content": INTEGER, "end": "0)"},
    ],
    ids=json.dumps,
)
def test_documents_that_cannot_be_told_from_what_stands_beside_are_refused(spec: dict) -> None:
    with pytest.raises(UnsupportedGrammar) as caught:
        compiled(spec)
    assert caught.value.pointer == "#/format"


def test_a_number_leaves_to_free_text_what_cannot_be_a_part_of_it() -> None:
    tags = [{"begin": "<", "content": {"type": "json_schema", "json_schema": {"type": "number"}}, "end": ""}]
    grammar = compiled({"type": "triggered_tags", "triggers": ["<"], "tags": tags})
    assert accepts(grammar, "<1 apple<2.5 pears")
    assert not accepts(grammar, "<1.x")
