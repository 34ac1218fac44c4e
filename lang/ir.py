"""What a program is made of: expressions. They are values; appending one to a state runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import ProgramError
from .choices import ChoicesSamplingMethod
from .sampling import SglSamplingParams, unset_sampling_params
from .source_location import user_location

if TYPE_CHECKING:
    from .perform import Performer
    from .program import SglFunction as SglFunction
    from .slot import QueueItem
    from .state import ProgramState

__all__ = [
    "REGEX_BOOL",
    "REGEX_FLOAT",
    "REGEX_INT",
    "REGEX_STR",
    "REGEX_STRING",
    "SglConstantText",
    "SglExpr",
    "SglExprList",
    "SglFunction",
    "SglGen",
    "SglImage",
    "SglRoleBegin",
    "SglRoleEnd",
    "SglSamplingParams",
    "SglSelect",
    "SglSeparateReasoning",
    "SglVarScopeBegin",
    "SglVarScopeEnd",
    "SglVariable",
    "SglVideo",
]

REGEX_INT = r"[-+]?[0-9]+[ \n]*"
REGEX_FLOAT = r"[-+]?[0-9]*\.?[0-9]+[ \n]*"
REGEX_BOOL = r"(True|False)"
REGEX_STR = r"\"[\w\d\s]*\""
REGEX_STRING = REGEX_STR  # SGLang 0.1's name

_node_ids = itertools.count()


class SglExpr:
    """Base of all expressions; `+` with strings and expressions concatenates."""

    graph_node: int | None = None
    """The node of a request graph that this came from."""

    def __init__(self) -> None:
        self.node_id = next(_node_ids)

    def __add__(self, other: str | SglExpr) -> SglExprList:
        right = as_expr(other)
        return NotImplemented if right is None else SglExprList([*_members(self), *_members(right)])

    def __radd__(self, other: str | SglExpr) -> SglExprList:
        left = as_expr(other)
        return NotImplemented if left is None else SglExprList([*_members(left), *_members(self)])


def as_expr(value: object) -> SglExpr | None:
    """`value` as an expression; None if it cannot be one."""
    if isinstance(value, SglExpr):
        return value
    return SglConstantText(value) if isinstance(value, str) else None


def _members(expr: SglExpr) -> list[SglExpr]:
    return expr.expr_list if isinstance(expr, SglExprList) else [expr]


class SglExprList(SglExpr):
    def __init__(self, expr_list: Sequence[SglExpr]) -> None:
        super().__init__()
        self.expr_list = list(expr_list)

    def __repr__(self) -> str:
        return f"ExprList({self.expr_list})"


class SglConstantText(SglExpr):
    def __init__(self, value: str) -> None:
        super().__init__()
        self.value = value

    def __repr__(self) -> str:
        return f"Constant({self.value!r})"


class SglGen(SglExpr):
    """A generation. `options`: what is not sampling (tools, check, repair …), by name."""

    def __init__(self, name: str | None = None, *, options: dict[str, Any] | None = None, **sampling: Any) -> None:
        super().__init__()
        self.name = name
        self.where = user_location()
        self.options = options or {}
        self.sampling_params: SglSamplingParams = unset_sampling_params(**sampling)

    def __repr__(self) -> str:
        return f"Gen({self.name!r})"


class SglSelect(SglExpr):
    def __init__(
        self,
        name: str | None,
        choices: Sequence[str],
        temperature: float,
        choices_method: ChoicesSamplingMethod | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.choices = list(choices)
        self.temperature = temperature
        self.choices_method = choices_method
        self.seed = seed
        self.where = user_location()

    def __repr__(self) -> str:
        return f"Select({self.name}, choices={self.choices}, choices_method={self.choices_method})"


class SglTogether(SglExpr):
    """Gens with text between them that one call may answer; a gen is first and last."""

    def __init__(self, parts: Sequence[SglExpr]) -> None:
        super().__init__()
        self.parts = list(parts)

    def __repr__(self) -> str:
        return f"Together({self.parts})"


class SglImage(SglExpr):
    """`path`: a file's path, or its bytes."""

    def __init__(self, path: str | bytes) -> None:
        super().__init__()
        self.path = path
        self.where = user_location()

    def __repr__(self) -> str:
        return f"SglImage({self.path!r})"


class SglVideo(SglExpr):
    def __init__(self, path: str, num_frames: int) -> None:
        super().__init__()
        self.path = path
        self.num_frames = num_frames
        self.where = user_location()

    def __repr__(self) -> str:
        return f"SglVideo({self.path!r}, {self.num_frames})"


class SglRoleBegin(SglExpr):
    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def __repr__(self) -> str:
        return f"RoleBegin({self.role})"


class SglRoleEnd(SglExpr):
    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def __repr__(self) -> str:
        return f"RoleEnd({self.role})"


def role_expr(role: str, inner: object) -> SglExprList:
    """A whole message of `role`. TypeError for what is no text and no expression."""
    expr = as_expr("" if inner is None else inner)
    if expr is None:
        raise TypeError(f"{role}() takes a string or an expression, not {type(inner).__name__}")
    content = [] if inner is None else _members(expr)
    return SglExprList([SglRoleBegin(role), *content, SglRoleEnd(role)])


class SglVarScopeBegin(SglExpr):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return f"VarScopeBegin({self.name})"


class SglVarScopeEnd(SglExpr):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return f"VarScopeEnd({self.name})"


class SglVariable(SglExpr):
    """The value of `name` of another stream (a StreamExecutor, or a traced one)."""

    def __init__(self, name: str, source: Any) -> None:
        super().__init__()
        self.name = name
        self.source_stream_executor = source

    def __repr__(self) -> str:
        return f"Variable({self.name!r})"


class SglFuture(SglExpr):
    """Text that is known when `future` is."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__()
        self.future = future

    def __repr__(self) -> str:
        return "Future()"


class SglSeparateReasoning(SglExpr):
    """A gen whose answer is split into what the model thought and what it said."""

    def __init__(self, model_type: str | None, expr: SglExpr) -> None:
        super().__init__()
        self.model_type = model_type
        self.expr = expr

    @staticmethod
    def process_name_for_reasoning(name: str) -> str:
        return f"{name}_reasoning_content"

    def __repr__(self) -> str:
        return f"SeparateReasoning(model_type={self.model_type}, expr={self.expr!r})"


class SglAction(SglExpr):
    """What performs itself; it has one value."""

    async def perform(self, performer: Performer, item: QueueItem) -> None:
        raise NotImplementedError


class SglInline(SglExpr):
    """Another program's body, run on the state that this is appended to."""

    def __init__(self, body: Callable[[ProgramState], Any], into: str | None) -> None:
        super().__init__()
        self.body = body
        self.into = into

    def __repr__(self) -> str:
        return f"Inline({getattr(self.body, '__name__', 'program')}, into={self.into!r})"


class SglSwitch(SglExpr):
    """One of `cases`, by a value that is known when `value` is: a Future in a run, a symbol in a trace."""

    def __init__(self, value: Any, cases: dict[str, SglExpr], default: SglExpr | None = None) -> None:
        super().__init__()
        self.value = value
        self.cases = cases
        self.default = default

    def all_cases(self) -> list[SglExpr]:
        return [*self.cases.values(), *([] if self.default is None else [self.default])]

    def __repr__(self) -> str:
        return f"Switch({list(self.cases)})"


def chosen_case(value: object, cases: dict[str, SglExpr], default: SglExpr | None) -> SglExpr:
    """The case of a switch. ProgramError for a value that none is for."""
    case = cases.get(str(value), default)
    if case is None:
        raise ProgramError(f"switch has no case {str(value)!r}; there are {', '.join(cases)}")
    return case


class SglCommitLazy(SglExpr):
    """Compute the text so far; later calls share it."""

    def __repr__(self) -> str:
        return "CommitLazy()"


class SglConcateAndAppend(SglExpr):
    """The text that each of `states` added since its fork, in order."""

    def __init__(self, states: Sequence[ProgramState]) -> None:
        super().__init__()
        self.states = list(states)

    def __repr__(self) -> str:
        return f"ConcatenateAndAppend({len(self.states)})"


def __getattr__(name: str) -> Any:
    if name == "SglFunction":  # SGLang's place for it; the class needs this module
        from .program import SglFunction

        return SglFunction
    raise AttributeError(name)
