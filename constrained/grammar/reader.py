"""EBNF as SGLang and xgrammar write it, and llama.cpp's GBNF: text to rules, errors with line, column and caret."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from ...errors import GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar
from ..fsm import charset
from ..fsm.pattern import ANY, EMPTY, Alt, Chars, Node, Seq, repeated

MAX_CHARS = 1_000_000
MAX_DEPTH = 200
MAX_REPEAT = 100_000
START_RULE = "root"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_BLANK = r"\s*(?:#[^\n]*(?:\n\s*|\Z))*"
"""In one way only: what can be read in several takes time without end where it does not match."""
_SPACE = re.compile(_BLANK)
_RULE_HEAD = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.\-]*{_BLANK}::=")
_NUMBER = re.compile(r"\d+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "b": "\b", "a": "\a", "0": "\0"}
_HEX_LEN = {"x": 2, "u": 4, "U": 8}
_HIGH_HALVES, _LOW_HALVES = range(0xD800, 0xDC00), range(0xDC00, 0xE000)


class Ref(NamedTuple):
    """A rule by name."""

    name: str


class Json(NamedTuple):
    """A JSON document: no text writes it, grammars that programs put together do."""

    schema: str


Part = Node | Ref | Json
Rules = dict[str, Part]
"""Each rule's body, in which `Ref` stands for a rule; in the order of the text."""


def read(text: str) -> Rules:
    """The rules of an EBNF or GBNF grammar that starts at `root`.

    Raises GrammarSyntaxError with line and column, also for undefined rules; UnsupportedGrammar for lookaheads and
    token names; GrammarTooLarge.
    """
    if len(text) > MAX_CHARS:
        raise GrammarTooLarge(f"the grammar has {len(text)} characters; at most {MAX_CHARS} are taken")
    try:
        return _Reader(text).rules()
    except RecursionError:
        raise GrammarTooLarge("the grammar is nested too deeply") from None


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.used: dict[str, int] = {}  # rule → where it is first named

    def rules(self) -> Rules:
        found: Rules = {}
        self.space()
        while self.at < len(self.text):
            start = self.at
            name = self.name("a rule's name")
            self.space()
            self.expect("::=")
            if name in found:
                self.fail(f"rule {name!r} is defined twice", start)
            found[name] = self.choice()
            self.space()
        if START_RULE not in found:
            self.fail("there is no rule 'root' to start from", 0)
        for name, where in self.used.items():
            if name not in found:
                self.fail(f"rule {name!r} is not defined", where)
        return found

    def choice(self) -> Part:
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alt(tuple(options))  # type: ignore[arg-type]

    def sequence(self) -> Part:
        parts: list[Part] = []
        while True:
            self.space()
            if self.at >= len(self.text) or self.text[self.at] in "|)" or _RULE_HEAD.match(self.text, self.at):
                break
            parts.append(self.repeated(self.element()))
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))  # type: ignore[arg-type]

    def element(self) -> Part:
        character = self.text[self.at]
        if character in "\"'":
            return self.literal(character)
        if character == "[":
            return self.character_class()
        if character == ".":
            self.at += 1
            return ANY
        if character == "(":
            return self.group()
        if character in "<!":
            raise UnsupportedGrammar("token names in a grammar are served in the Lark syntax only", keyword=character)
        start = self.at
        name = self.name("a string, a class, a group or a rule's name")
        if self.text.startswith("(", self.at) and name in ("TagDispatch", "Token", "ExcludeToken"):
            raise UnsupportedGrammar(f"{name} is not served; use a structural tag", keyword=name)
        self.used.setdefault(name, start)
        return Ref(name)

    def group(self) -> Part:
        start = self.at
        self.at += 1
        self.space()
        if self.text.startswith("=", self.at):
            raise UnsupportedGrammar("a lookahead (= …) in a grammar is not served", keyword="(=")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GrammarTooLarge(f"the grammar's groups are nested more than {MAX_DEPTH} deep")
        inner = self.choice()
        self.depth -= 1
        self.space()
        if not self.take(")"):
            self.fail("this group is not closed", start)
        return inner

    def repeated(self, part: Part) -> Part:
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in "*+?":
                self.at += 1
                bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
            elif character == "{":
                bounds = self.bounds()
            else:
                break
            part = repeated(part, *bounds)  # type: ignore[arg-type]
        return part

    def bounds(self) -> tuple[int, int | None]:
        start = self.at
        self.at += 1
        low = self.number()
        high: int | None = low
        self.space()
        if self.take(","):
            self.space()
            high = None if self.text.startswith("}", self.at) else self.number()
            self.space()
        self.expect("}")
        if high is not None and high < low:
            self.fail(f"{low} is above {high}", start)
        if max(low, high or 0) > MAX_REPEAT:
            raise GrammarTooLarge(f"a repetition of more than {MAX_REPEAT} is not served")
        return low, high

    def number(self) -> int:
        self.space()
        match = _NUMBER.match(self.text, self.at)
        if match is None or len(match.group()) > 9:
            self.fail("a number is expected here", self.at)
        self.at = match.end()
        return int(match.group())

    def literal(self, quote: str) -> Part:
        start = self.at
        self.at += 1
        characters = []
        while not self.take(quote):
            if self.at >= len(self.text) or self.text[self.at] == "\n":
                self.fail("this string is not closed", start)
            where = self.at
            characters.append(self.character())
            if characters[-1] in _HIGH_HALVES or characters[-1] in _LOW_HALVES:
                self.fail("half a surrogate pair is no character", where)
        parts = [Chars(((c, c),)) for c in characters]
        return parts[0] if len(parts) == 1 else Seq(tuple(parts)) if parts else EMPTY

    def character_class(self) -> Part:
        start = self.at
        self.at += 1
        is_negated = self.take("^")
        pairs: list[tuple[int, int]] = []
        while not self.take("]"):
            if self.at >= len(self.text):
                self.fail("this character class is not closed", start)
            where = self.at
            low = high = self.character()
            if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
                self.at += 1
                high = self.character()
                if high < low:
                    self.fail("the range is upside down", where)
            pairs.append((low, high))
        ranges = charset.ranges_of(pairs)
        return Chars(charset.complement(ranges) if is_negated else ranges)

    def character(self) -> int:
        if self.at >= len(self.text):
            self.fail("the text ends here", self.at)
        code = self.code_point()
        behind = self.at
        if code in _HIGH_HALVES and self.text.startswith("\\u", behind):
            low = self.code_point()
            if low in _LOW_HALVES:
                return 0x10000 + (code - _HIGH_HALVES.start) * 0x400 + low - _LOW_HALVES.start
            self.at = behind
        return code

    def code_point(self) -> int:
        start = self.at
        character = self.text[start]
        self.at += 1
        if character != "\\":
            return ord(character)
        escape = self.text[self.at : self.at + 1]
        self.at += 1
        if escape in _HEX_LEN:
            digits = self.text[self.at : self.at + _HEX_LEN[escape]]
            if escape in "uU" and digits.startswith("{"):
                digits = self.text[self.at + 1 : max(self.at + 1, self.text.find("}", self.at))]
                self.at += 2
            self.at += len(digits)
            try:
                code = int(digits, 16)
            except ValueError:
                code = -1
            if not 0 <= code <= charset.LAST or not re.fullmatch("[0-9a-fA-F]+", digits):
                self.fail(f"bad escape \\{escape}{digits}", start)
            return code
        if escape in _ESCAPES:
            return ord(_ESCAPES[escape])
        if escape == "" or escape.isalnum():
            self.fail(f"bad escape \\{escape}", start)
        return ord(escape)

    def name(self, what: str) -> str:
        match = _NAME.match(self.text, self.at)
        if match is None:
            self.fail(f"{what} is expected here", self.at)
        self.at = match.end()
        return match.group()

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def expect(self, token: str) -> None:
        if not self.take(token):
            self.fail(f"{token} is expected here", self.at)

    def fail(self, message: str, at: int) -> NoReturn:
        line = self.text.count("\n", 0, at) + 1
        start = self.text.rfind("\n", 0, at) + 1
        column = at - start + 1
        end = self.text.find("\n", at)
        shown = self.text[max(start, at - 40) : (end if end >= 0 else len(self.text))][:80]
        shown = shown.encode(errors="replace").decode()
        caret = " " * min(at - start, 40) + "^"
        raise GrammarSyntaxError(
            f"{message} (line {line}, column {column})\n{shown}\n{caret}", line=line, column=column
        )
