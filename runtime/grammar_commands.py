"""radixlang grammar check, sample and explain: a constraint looked at from the command line, without a model's weights.

Without --model the vocabulary is the 256 bytes: what a grammar allows does not depend on the tokenizer, only its
examples do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from ..errors import GrammarError, RequestError

_SOURCES = {
    "regex": ("PATTERN", "a regular expression, Python's syntax"),
    "schema": ("FILE", "a JSON schema"),
    "ebnf": ("FILE", "a grammar as SGLang and xgrammar write it"),
    "gbnf": ("FILE", "a grammar as llama.cpp writes it"),
    "lark": ("FILE", "a Lark grammar"),
    "xml": ("FILE", "a DTD, or the elements as JSON"),
    "structural-tag": ("FILE", "free text with constrained parts, as JSON"),
    "choices": ("A|B|C", "one of these texts"),
}
_FIELDS = {"schema": "json_schema", "structural-tag": "structural_tag"}


def add_grammar_options(parser: argparse.ArgumentParser) -> None:
    """check, sample and explain, each with the same sources."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    told = {
        "check": "Whether it is served, by what, an example; with --text, whether and where a text fails.",
        "sample": "Random members.",
        "explain": "The constraint in the words in which it is enforced.",
    }
    for name, text in told.items():
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        group = action.add_mutually_exclusive_group(required=True)
        for source, (metavar, meaning) in _SOURCES.items():
            group.add_argument(
                f"--{source}", metavar=metavar, help=meaning + ("; - is standard input" if metavar == "FILE" else "")
            )
        action.add_argument("--whitespace", choices=("compact", "fixed", "flexible"), help="of JSON and XML")
        if name != "explain":
            action.add_argument("--model", help="whose tokenizer to use; default: bytes alone")
        if name == "check":
            action.add_argument("--text", help="is this accepted?")
            action.add_argument("--text-file", metavar="FILE", help="is the text of this file accepted?")
            action.add_argument("--json", action="store_true", help="print the report as JSON")
        if name == "sample":
            action.add_argument("-n", type=int, default=1, help="how many. Default: 1.")
            action.add_argument("--seed", type=int, default=0, help="the same seed gives the same members. Default: 0.")


def grammar(options: argparse.Namespace) -> int:
    """The command: 0 where the constraint is served and the text accepted, 1 where not."""
    from ..constrained.constraint import JsonObject
    from ..constrained.fields import find_constraint

    source, value = next((s, v) for s in _SOURCES if (v := getattr(options, s.replace("-", "_"))) is not None)
    try:
        found = find_constraint({**_fields(source, value), "whitespace": options.whitespace})
        if found is None:
            raise RequestError(f"--{source}: there is nothing in it")
        constraint = found.constraint
        compiler = _compiler(getattr(options, "model", None))
        try:
            compiler.compile(JsonObject())  # what every first compile waits for is not this one's time
            return {"check": _check, "sample": _sample, "explain": _explain}[options.action](
                constraint, compiler, options
            )
        finally:
            compiler.close()
    except GrammarError as error:
        print(f"not served: {_told(error, value if source == 'regex' else None)}", file=sys.stderr)
        return 1


def _fields(source: str, value: str) -> dict[str, Any]:
    if source == "regex":
        return {"regex": value}
    if source == "choices":
        return {"choices": value.split("|")}
    return {_FIELDS.get(source, source): _read(value)}


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def _compiler(model: str | None) -> Any:
    from ..constrained.compiler import GrammarCompiler
    from ..constrained.vocabulary import Vocabulary

    if model is None:
        return GrammarCompiler(
            Vocabulary([*(bytes([b]) for b in range(256)), b"</s>"], frozenset({256}), frozenset(), 257)
        )
    from .config import EngineConfig
    from .model_files import open_model
    from .tokenizer.vocabulary import vocabulary_of

    files = open_model(EngineConfig(model_path=model))
    try:
        return GrammarCompiler(vocabulary_of(files.tokenizer, files.eos_token_ids, files.info["vocab_size"]))
    finally:
        files.checkpoint.close()


def _check(constraint: Any, compiler: Any, options: argparse.Namespace) -> int:
    from ..constrained.explain import check

    text = options.text if options.text_file is None else _read(options.text_file)
    if text is not None and text.encode(errors="ignore").decode() != text:
        raise RequestError("--text: not UTF-8")
    report = check(constraint, compiler, text=text)
    is_good = report.is_valid and (report.text is None or report.text.is_accepted)
    if options.json:
        print(json.dumps(msgspec.to_builtins(report), ensure_ascii=False, indent=2))
        return 0 if is_good else 1
    if not report.is_valid:
        compiler.compile(constraint)  # raises what the report says
    states = "" if report.num_states is None else f", {report.num_states} states"
    print(f"served by {report.engine}: compiled in {report.compile_ms:.1f} ms, {report.num_bytes} bytes{states}")
    if report.is_finite is not None:
        print("finitely many answers" if report.is_finite else "answers without end")
    for pointer in report.ignored:
        print(f"not enforced: {pointer}")
    if report.example is not None:
        print(f"example: {report.example}")
    if report.text is not None and text is not None:
        _tell_text(text, report.text)
    return 0 if is_good else 1


def _tell_text(text: str, acceptance: Any) -> None:
    if acceptance.is_accepted:
        print("the text is accepted")
        return
    before = text.encode()[: acceptance.num_bytes].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    shown = text.split("\n")[line - 1]
    start = max(0, column - 60)
    is_end = acceptance.num_bytes == len(text.encode())
    print(
        f"the text is not accepted: {'it ends too early, at' if is_end else 'it fails at'} line {line}, column {column}"
    )
    print(f"  {shown[start : start + 100]}\n  {' ' * (column - 1 - start)}^")
    print("expected there: " + ", ".join(json.dumps(piece, ensure_ascii=False) for piece in acceptance.expected))


def _sample(constraint: Any, compiler: Any, options: argparse.Namespace) -> int:
    from ..constrained.explain import samples

    if not 1 <= options.n <= 10_000:
        raise RequestError(f"-n must be in [1, 10000], found {options.n}")
    drawn = samples(compiler.compile(constraint), compiler.vocabulary, options.n, options.seed)
    for text in drawn:
        print(text)
    if len(drawn) < options.n:
        print(f"{options.n - len(drawn)} of {options.n} did not end in time", file=sys.stderr)
    return 0 if drawn else 1


def _explain(constraint: Any, compiler: Any, _: argparse.Namespace) -> int:
    from ..constrained.explain import explain

    compiler.compile(constraint)  # what is not served has no meaning
    print(explain(constraint).rstrip("\n"))
    return 0


def _told(error: GrammarError, pattern: str | None) -> str:
    """The message, with a caret below the place in a pattern."""
    keyword, line, column = (getattr(error, name, None) for name in ("keyword", "line", "column"))
    told = f"{error.message} [{error.code}{f', keyword {keyword}' if keyword else ''}]"
    if pattern is not None and line is not None and column is not None:
        told += f"\n{pattern.splitlines()[line - 1]}\n{' ' * (column - 1)}^"
    return told
