"""Values of a program that is being traced: they stand for text that is not known yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ProgramError, TraceError, UndefinedVariable
from .ir import SglExpr
from .source_location import user_location

if TYPE_CHECKING:
    from .tracer import Trace

# An f-string holds a symbol as this text until it is appended; the characters are from Unicode's private area.
_MARK = re.compile("\ue0a1(\\d+)\ue0a2")

TEXT_METHODS = frozenset({
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "casefold", "swapcase", "removeprefix",
    "removesuffix", "split", "rsplit", "splitlines", "partition", "rpartition", "replace",
})  # fmt: skip
"""Pure methods of str that a traced value has, too; they become op nodes."""
MATCH_TIMEOUT_S = 0.5
CAPTURES = frozenset(["capture", "capture_in"])
"""Operations that read a text by a grammar: they may take up to a second."""
MAX_OP_CHARS = 1 << 20
"""Longest text that an op gives: a graph may come from anybody."""


class Symbol(SglExpr):
    """The text of `node`: an argument, a gen's value, or what an op makes of one."""

    def __init__(self, trace: Trace, node: int, name: str) -> None:
        super().__init__()
        self.trace = trace
        self.node = node
        self.name = name

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse(f"the format {spec!r}")
        return f"\ue0a1{self.node}\ue0a2"

    def __str__(self) -> str:
        return self.__format__("")

    __repr__ = __str__

    def __getattr__(self, method: str) -> Callable[..., Symbol]:
        if method in TEXT_METHODS:
            return lambda *args: self.trace.op(self, method, list(args))
        if method.startswith("__"):
            raise AttributeError(method)
        self._refuse(f".{method}")

    def __getitem__(self, index: Any) -> Symbol:
        if isinstance(index, slice):
            return self.trace.op(self, "slice", [index.start, index.stop, index.step])
        return self.trace.op(self, "index", [index])

    def _refuse(self, what: str) -> NoReturn:
        raise TraceError(
            f"{what} needs the value of {self.name!r}, which a trace does not have; run the program instead",
            where=user_location(),
        )

    def __bool__(self) -> bool:
        self._refuse("a condition")

    def __eq__(self, other: object) -> bool:
        self._refuse("a comparison")

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        self._refuse("len()")

    def __int__(self) -> int:
        self._refuse("int()")

    def __float__(self) -> float:
        self._refuse("float()")

    def __iter__(self) -> NoReturn:
        self._refuse("iteration")

    def __contains__(self, item: object) -> bool:
        self._refuse("`in`")

    def __lt__(self, other: object) -> bool:
        self._refuse("a comparison")

    __le__ = __gt__ = __ge__ = __lt__


def split_text(text: str) -> list[str | int]:
    """`text` cut at the marks of symbols: pieces of text, and the symbols' nodes."""
    parts: list[str | int] = []
    for i, piece in enumerate(_MARK.split(text)):
        if i % 2:
            parts.append(int(piece))
        elif piece:
            parts.append(piece)
    return parts


def apply_op(method: str, args: list[Any], value: Any) -> Any:
    """What an op node makes of its input. ProgramError where the method raises, or gives too much."""
    if method == "capture":
        return _captured(args[0], args[1], value[0] if isinstance(value, list) else value)
    if method == "capture_in":
        from .grammar_data import read_grammar

        return read_grammar(args[0]).capture_in(value, args[1])
    if method not in TEXT_METHODS and method not in ("slice", "index"):
        raise TraceError(f"no operation {method!r}")
    try:
        if method == "slice":
            return value[slice(*args)]
        if method == "index":
            return value[args[0]]
        if method == "replace" and isinstance(value, str) and len(value) * max(len(str(args[1])), 1) > MAX_OP_CHARS:
            raise ValueError(f"the text would be longer than {MAX_OP_CHARS} characters")
        return getattr(value, method)(*args)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ProgramError(f".{method}: {error}") from error


def _captured(pattern: str, place: int, text: str) -> str:
    """The part of `text` that a grammar's capture is. A pattern may come from anybody: it gets MATCH_TIMEOUT_S."""
    import regex

    try:
        match = regex.fullmatch(pattern, text, regex.DOTALL, timeout=MATCH_TIMEOUT_S, concurrent=True)
        part = None if match is None else match[f"capture_{place}"]
    except (regex.error, TimeoutError, IndexError, RecursionError) as error:
        raise ProgramError(f"the captures of a grammar could not be read: {error or type(error).__name__}") from error
    if match is None:
        raise ProgramError(f"{text!r} does not fit its grammar; was it cut by max_tokens?")
    if part is None:
        raise UndefinedVariable("this capture is in no part of the text that was taken")
    return str(part)
