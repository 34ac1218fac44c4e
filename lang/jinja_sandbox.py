"""A Jinja environment for templates from strangers: immutable, and bounded in steps, text and time.

Jinja's sandbox keeps a template away from Python; it does not keep it from looping or swelling for ever. Every loop
step, call, filter and piece of text is therefore counted against the budget of the render that runs in this thread.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_OUTPUT = 1 << 20
"""Characters of a rendered template, and of any one text made on the way."""
MAX_PRODUCED = 1 << 24
"""Characters and list items made on the way, all together."""
TIME_LIMIT_S = 1.0
_LONG_NUMBER = re.compile(r"\d{6}")
_NESTED_FIELD = re.compile(r":[^{}]*\{")


class LimitExceeded(jinja2.TemplateError):
    """The template is too slow or makes too much."""


class Budget:
    """What one render may still use."""

    def __init__(self, max_output: int = MAX_OUTPUT, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.max_output = max_output
        self.left = MAX_PRODUCED
        self.deadline = time.monotonic() + time_limit_s

    def step(self) -> None:
        if time.monotonic() > self.deadline:
            raise LimitExceeded("the template ran too long")

    def make(self, size: int) -> None:
        """Something of `size` characters or items comes into being."""
        self.left -= size
        if size > self.max_output or self.left < 0:
            raise LimitExceeded("the template makes too much text")
        self.step()


class _Current(threading.local):
    budget: Budget | None = None


_current = _Current()


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Renders of this thread count against `budget`."""
    before, _current.budget = _current.budget, budget
    try:
        yield budget
    finally:
        _current.budget = before


def _budget() -> Budget:
    assert _current.budget is not None, "templates render inside `spending`"
    return _current.budget


def _made(value: Any) -> Any:
    """`value`, counted."""
    size = len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1
    _budget().make(size)
    return value


def _refuse_large(arguments: Iterable[Any]) -> None:
    """Widths and counts that would fill the memory before anything can be counted."""
    limit = _budget().max_output
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > limit:
            raise LimitExceeded(f"the number {argument if abs(argument) < 1 << 64 else '…'} is too large here")


class _Steps:
    """An iterable whose every step is counted; as long as what it holds."""

    def __init__(self, iterable: Any) -> None:
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        budget = _budget()
        for item in self.iterable:
            budget.step()
            yield item

    def __len__(self) -> int:
        if isinstance(self.iterable, Sized):
            return len(self.iterable)
        raise TypeError("its length is not known")  # Jinja's loop then counts by itself


@jinja2.pass_context
def _text(context: Context, value: str) -> Any:
    return _made(value)


@jinja2.pass_context
def _concat(context: Context, parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    _budget().make(sum(map(len, texts)))
    return "".join(texts)


@jinja2.pass_context
def _finalize(context: Context, value: Any) -> Any:
    return _made(value if isinstance(value, str) else str(value))


class _Counted(NodeTransformer):
    """Puts the counters into a parsed template: around what loops run over, static text and `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filter(node.iter, "_steps")
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        return _filter(nodes.Const(node.data, lineno=node.lineno), "_text")

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text for training; here it is its content."""

    tags = {"generation"}  # noqa: RUF012  (Jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=lineno)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's, without underscore names: those reach into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _no_underscore(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _no_underscore(name)
        super().__setitem__(name, value)


def _no_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(str(message)[:2000])


def _strftime_now(layout: str) -> str:
    if len(layout) > 200 or _LONG_NUMBER.search(layout):
        raise LimitExceeded("the date format is too long")
    return datetime.datetime.now().strftime(layout)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own escapes HTML."""
    if isinstance(indent, int) and indent > 100:
        raise LimitExceeded("the indent is too large")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _bounded_join(value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    parts: list[str] = []
    pick = None if attribute is None else make_attrgetter(_ENVIRONMENT, attribute)
    for item in _Steps(value):
        parts.append(str(pick(item) if pick else item))
        _budget().make(len(parts[-1]) + len(d))
    return str(d).join(parts)


def _bounded_replace(s: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(s), str(old), str(new)
    _budget().make(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses huge numbers and whose result is counted."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _refuse_large(args[1:])
        _refuse_large(kwargs.values())
        return _made(function(*args, **kwargs))

    return guarded


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """transformers' environment for chat templates, with the counters of this module."""

    intercepted_binops = frozenset({"+", "*", "**", "%", "//", "-", "/"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would compute them before any budget
            finalize=_finalize,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        filters = {**self.filters, "tojson": _tojson, "join": _bounded_join, "replace": _bounded_replace}
        filters["format"] = self._format_filter
        del filters["pprint"]
        self.filters = {name: _guarded(function) for name, function in filters.items()}
        self.filters.update({"_steps": _Steps, "_text": _text, "_concat": _concat})
        self.globals = {
            "range": self.globals["range"], "joiner": self.globals["joiner"], "cycler": self.globals["cycler"],
            "dict": _make_dict, "namespace": _Namespace, "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }  # fmt: skip

    def template(self, source: str) -> jinja2.Template:
        """Compiles; raises jinja2.TemplateSyntaxError."""
        tree = _Counted().visit(self.parse(source))
        return jinja2.Template.from_code(self, self.compile(tree), self.make_globals(None))

    def call(self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__obj, "__self__", None)
        _refuse_large(kwargs.values())
        if isinstance(owner, str):
            _refuse_large(args)
            name = getattr(__obj, "__name__", "")
            if name == "join":
                return _bounded_join(args[0] if args else (), owner)
            if name == "replace":
                return _bounded_replace(owner, *args)
            if name == "expandtabs":
                _budget().make(owner.count("\t") * (args[0] if args else 8))
        _budget().step()
        return _made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's guard of `str.format`, with the widths of its fields checked."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        layout: str = value.__self__

        def checked(*args: Any, **kwargs: Any) -> str:
            assert wrapped is not None
            _check_format(layout, (*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return checked

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            _refuse_large((left, right))
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > 4096:
                raise LimitExceeded("the power is too large")
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | bytes | list | tuple) and isinstance(times, int):
                    _budget().make(len(sequence) * max(0, times))
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > 4096:
                raise LimitExceeded("the product is too large")
        if operator == "%" and isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,))
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _budget().make(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    @staticmethod
    def _format_filter(value: str, *args: Any, **kwargs: Any) -> str:
        _check_format(str(value), (*args, *kwargs.values()))
        return str(value) % (kwargs or args)


def _check_format(layout: str, values: Iterable[Any]) -> None:
    """No field wider than what may be made."""
    if _LONG_NUMBER.search(layout):
        raise LimitExceeded("a field of the format is too wide")
    values = tuple(values)
    if "*" in layout or _NESTED_FIELD.search(layout):  # a width may be one of the values
        _refuse_large(values)
    _budget().make(
        len(layout) + sum(len(value) for value in values if isinstance(value, str)) * max(1, layout.count("{"))
    )


_ENVIRONMENT = BoundedEnvironment()


def compile_template(source: str) -> jinja2.Template:
    """Raises jinja2.TemplateError for what cannot be compiled."""
    with spending(Budget()):
        return _ENVIRONMENT.template(source)
