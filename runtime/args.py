"""Command-line options, derived from the fields of the configuration: one list.

A field `max_body_mb: float = 64.0` with its docstring is the option `--max-body-mb`, its default and its help. Options
that SGLang's launch_server has and that mean nothing here are taken with a warning, so that existing commands start.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import logging
import sys
import textwrap
import types
import typing
from functools import cache
from typing import Any, TypeVar

from ..errors import ConfigError

logger = logging.getLogger(__name__)
C = TypeVar("C")

ALIASES: dict[str, tuple[str, ...]] = {
    "model_path": ("--model",),
    "max_total_tokens": ("--max-total-num-tokens",),
    "stuck_after": ("--watchdog-timeout",),
}
"""SGLang's and vLLM's other spellings."""

IGNORED_FLAGS: dict[str, int] = {
    "--tokenizer-mode": 1, "--tokenizer-worker-num": 1, "--skip-tokenizer-init": 0, "--is-embedding": 0,
    "--revision": 1, "--quantization": 1, "--quantization-param-path": 1, "--max-prefill-tokens": 1,
    "--schedule-conservativeness": 1, "--enable-priority-scheduling": 0, "--enable-mixed-chunk": 0,
    "--stream-interval": 1, "--grammar-backend": 1, "--reasoning-parser": 1, "--tool-call-parser": 1,
    "--enable-lora": 0, "--lora-paths": -1, "--max-loras-per-batch": 1, "--max-lora-rank": 1, "--lora-backend": 1,
    "--tp-size": 1, "--tensor-parallel-size": 1, "--dp-size": 1, "--data-parallel-size": 1, "--pp-size": 1,
    "--pipeline-parallel-size": 1, "--ep-size": 1, "--nnodes": 1, "--node-rank": 1, "--dist-init-addr": 1,
    "--nccl-port": 1, "--enable-metrics": 0, "--enable-cache-report": 0, "--enable-trace": 0,
    "--otlp-traces-endpoint": 1, "--log-level-http": 1, "--log-requests-level": 1, "--show-time-cost": 0,
    "--decode-log-interval": 1, "--preferred-sampling-params": 1, "--sampling-defaults": 1, "--sampling-backend": 1,
    "--attention-backend": 1, "--prefill-attention-backend": 1, "--decode-attention-backend": 1,
    "--mm-attention-backend": 1, "--skip-server-warmup": 0, "--warmups": 1, "--deterministic": 0,
    "--enable-deterministic-inference": 0, "--crash-dump-folder": 1, "--fastapi-root-path": 1,
    "--json-model-override-args": 1, "--disable-cuda-graph": 0, "--disable-cuda-graph-padding": 0,
    "--cuda-graph-bs": -1, "--cuda-graph-max-bs": 1, "--enable-torch-compile": 0, "--torch-compile-max-bs": 1,
    "--enable-p2p-check": 0, "--enable-dp-attention": 0, "--enable-hierarchical-cache": 0, "--hicache-ratio": 1,
    "--hicache-size": 1, "--disable-custom-all-reduce": 0, "--disable-outlines-disk-cache": 0,
    "--constrained-json-whitespace-pattern": 1, "--speculative-algorithm": 1, "--speculative-draft-model-path": 1,
    "--speculative-num-draft-tokens": 1, "--speculative-num-steps": 1, "--speculative-eagle-topk": 1,
    "--allow-auto-truncate": 0, "--enable-multimodal": 0, "--base-gpu-id": 1, "--gpu-id-step": 1,
    "--download-dir": 1, "--file-storage-path": 1, "--triton-attention-num-kv-splits": 1,
    "--num-continuous-decode-steps": 1, "--delete-ckpt-after-loading": 0, "--enable-memory-saver": 0,
    "--enable-custom-logit-processor": 0, "--disable-chunked-prefix-cache": 0, "--disable-fast-image-processor": 0,
    "--completion-template": 1, "--hf-chat-template-name": 1, "--disaggregation-mode": 1, "--no-ui": 0,
}  # fmt: skip
"""Options of SGLang without a meaning here, and how many values each takes (-1: one or more)."""


@cache
def field_help(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass."""
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
    texts = field_help(kind)
    for field in dataclasses.fields(kind):
        names = [f"--{field.name.replace('_', '-')}", *ALIASES.get(field.name, ())]
        default = field.default
        text = texts.get(field.name, "").replace("%", "%%")
        if default not in (None, False, True, ()) and "default" not in text.lower():
            text += f" Default: {default}."
        options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
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
    return kind(**values)


def fail(error: Exception) -> int:
    """The one line that a program says when it cannot start; returns its exit code."""
    text = " ".join(str(error).split())
    print(f"radixlang: {'configuration error' if isinstance(error, ConfigError) else 'error'}: {text}", file=sys.stderr)
    return 1
