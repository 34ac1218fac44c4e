"""Command-line options, derived from the fields of the configuration: one list.

A field `max_body_mb: float = 64.0` with its docstring is the option `--max-body-mb`, its default and its help. Options
that SGLang's launch_server has and that mean nothing here are taken with a warning, so that existing commands start.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import types
import typing
from functools import cache
from typing import Any, TypeVar

from ..errors import ConfigError
from .foreign_flags import IGNORED_FLAGS

logger = logging.getLogger(__name__)
C = TypeVar("C")

ALIASES: dict[str, tuple[str, ...]] = {
    "model_path": ("--model",),
    "max_total_tokens": ("--max-total-num-tokens",),
    "stuck_after": ("--watchdog-timeout",),
    "speculative_draft_model_path": ("--speculative-draft-model",),
}
"""SGLang's and vLLM's other spellings."""


@cache
def field_help(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass."""
    import ast
    import inspect
    import textwrap

    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    told: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            told[field.target.id] = " ".join(text.value.value.split())
    return told


def add_options(parser: argparse.ArgumentParser, kind: type, *, title: str) -> None:
    """One option a field of the dataclass `kind`."""
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        names = [f"--{field.name.replace('_', '-')}", *ALIASES.get(field.name, ())]
        options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": _Help(kind, field)}
        wanted = _without_none(hints[field.name])
        if wanted is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(wanted) is typing.Literal:
            options["choices"] = typing.get_args(wanted)
        elif typing.get_origin(wanted) is tuple:
            options.update(nargs="+", type=typing.get_args(wanted)[0], metavar="VALUE")
        else:
            options.update(type=wanted, metavar=wanted.__name__.upper())
        group.add_argument(*names, **options)


class _Help:
    """What argparse does with a help text. The text is made when it is printed: no start reads its own source."""

    def __init__(self, kind: type, field: dataclasses.Field[Any]) -> None:
        self._kind = kind
        self._field = field

    def __str__(self) -> str:
        default, text = self._field.default, field_help(self._kind).get(self._field.name, "")
        if isinstance(default, bool):
            default = "on" if default else "off"
        if default not in (None, ()) and "default" not in text.lower():
            text += f" Default: {default}."
        return text

    def __mod__(self, values: object) -> str:
        return str(self)

    def strip(self) -> str:
        return str(self).strip()


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (h for h in typing.get_args(hint) if h is not type(None))
    return hint


def add_ignored(parser: argparse.ArgumentParser) -> None:
    """SGLang's options without a meaning here: taken, hidden from --help, warned of by `warn_ignored`."""
    for flag, count in IGNORED_FLAGS.items():
        if count == 0:
            parser.add_argument(flag, action=_Ignored, nargs=0, help=argparse.SUPPRESS, dest="ignored_flags")
        else:
            nargs = "+" if count < 0 else None
            parser.add_argument(flag, action=_Ignored, nargs=nargs, help=argparse.SUPPRESS, dest="ignored_flags")


class _Ignored(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = getattr(namespace, self.dest, None) or []
        setattr(namespace, self.dest, [*given, option_string])


def warn_ignored(options: argparse.Namespace) -> None:
    """One warning for each option that was taken without effect."""
    for flag in dict.fromkeys(getattr(options, "ignored_flags", None) or []):
        logger.warning("%s has no effect in radixlang", flag)


def config_of(kind: type[C], options: argparse.Namespace, **given: Any) -> C:
    """The dataclass `kind` from parsed options; `given` wins. Raises ConfigError."""
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in vars(options).items() if name in names}
    values.update({name: value for name, value in given.items() if value is not None})
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in values.items():
        if not all(_is_unicode(text) for text in (value if isinstance(value, tuple) else (value,))):
            raise ConfigError(f"--{name.replace('_', '-')} {value!r} is not UTF-8; rename it", param=name)
    return kind(**values)


def _is_unicode(value: object) -> bool:
    """False for the text that Python makes of other bytes on the command line."""
    return not isinstance(value, str) or value.encode("utf-8", "replace").decode() == value


def fail(error: Exception) -> int:
    """The one line that a program says when it cannot start; returns its exit code."""
    text = " ".join(str(error).split())
    print(f"radixlang: {'configuration error' if isinstance(error, ConfigError) else 'error'}: {text}", file=sys.stderr)
    return 1
