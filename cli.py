"""The command line: radixlang serve, run, exec, compile, grammar, habits, list, show, pull, rm, doctor, formats and
version."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import __version__
from .errors import RadixlangError, RequestError
from .launch_server import add_serve_options
from .launch_server import serve as launch
from .runtime.args import fail
from .runtime.grammar_commands import add_grammar_options, grammar
from .runtime.habits_command import add_habits_options, habits
from .runtime.programs.commands import add_compile_options, add_exec_options, execute, show
from .runtime.store.known import DEFAULT_MODEL

_EXAMPLES = """\
examples:
  radixlang run smollm2-135m-instruct "Why is the sky blue?"
  radixlang run smollm2-135m-instruct "Invent a person." --format person.schema.json
  radixlang serve --port 30000
  radixlang list
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="radixlang",
        description="Structured generation: serve a model, or talk to one.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"radixlang {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, act: Callable[[argparse.Namespace], int], told: str, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told, aliases=list(aliases), allow_abbrev=False)
        made.set_defaults(act=act)
        return made

    serving = command("serve", _serve, "Serve a model over HTTP: OpenAI's API, SGLang's native one and more.")
    serving.usage = "radixlang serve [MODEL] [PROGRAM.py ...] [--host HOST] [--port PORT] [options]"
    told = f"name, GGUF file or directory; default: {DEFAULT_MODEL}. Python files: their programs are published"
    serving.add_argument("model", nargs="*", help=told)
    add_serve_options(serving)
    _add_run(command("run", _run, "Answer one prompt, or hold a conversation, in this process."))
    add_exec_options(command("exec", execute, "Run a program of a Python file."))
    add_compile_options(command("compile", show, "Look at a program's request graph."))
    add_grammar_options(command("grammar", grammar, "Check a constraint, draw from it, or see how it is enforced."))
    add_habits_options(command("habits", habits, "Learn what a model usually says, so that guesses begin with it."))
    command("list", _list, "The models that this machine has.", ["ls"])
    command("show", _show, "What a stored model is.").add_argument("model")
    command("pull", _pull, "Fetch a model into the store.").add_argument("model")
    command("rm", _remove, "Remove models from the store.").add_argument("model", nargs="+")
    command("doctor", _doctor, "What this machine offers, and what is missing.")
    command("formats", _formats, "Weight formats, and what the CPU computes on for each.")
    command("version", _version, "The version.")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name, GGUF file or directory")
    parser.add_argument("prompt", nargs="*", help="the prompt; without one: standard input, or a conversation")
    parser.add_argument("--system", help="system message")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        help='json, a JSON schema file, "regex:PATTERN", "ebnf:FILE" or "choices:a|b|c": what answers must be',
    )
    parser.add_argument("--temperature", type=float, default=0.7, help="0: always the likeliest token. Default: 0.7.")
    parser.add_argument("--max-tokens", type=int, default=512, help="most tokens of an answer. Default: 512.")
    parser.add_argument("--seed", type=int, help="the same seed gives the same answer")
    parser.add_argument("--json", action="store_true", help="print the whole answer object instead of its text")
    parser.add_argument("--verbose", action="store_true", help="tell tokens and times after an answer")
    parser.add_argument("--raw", action="store_true", help="continue the prompt as it is, without the chat template")
    parser.add_argument(
        "--executor", choices=("auto", "native", "torch", "transformers"), default="auto", help="what computes"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        act: Callable[[argparse.Namespace], int] = options.act
        return act(options)
    except RadixlangError as error:
        return fail(error)
    except BrokenPipeError:  # the reader of our output has enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def _serve(options: argparse.Namespace) -> int:
    files = [name for name in options.model if name.endswith(".py")]
    models = [name for name in options.model if not name.endswith(".py")]
    if len(models) > 1:
        raise RequestError(f"a server has one model, found {', '.join(models)}")
    if files:
        options.programs = [*getattr(options, "programs", ()), *files]
    return launch(options, models[0] if models else None)


def _run(options: argparse.Namespace) -> int:
    from .runtime.engine import Engine

    constraint = _constraint(options.format)
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    prompt = "\n\n".join(p for p in (" ".join(options.prompt), piped.strip()) if p)
    with Engine(model_path=options.model, executor=options.executor) as engine:
        talk = _Talk(engine, options, constraint)
        if prompt:
            talk.answer(prompt)
        elif sys.stdin.isatty():
            talk.converse()
        else:
            raise RequestError("there is no prompt: neither an argument nor standard input")
    return 0


def _constraint(text: str | None) -> dict[str, Any]:
    """The sampling fields of --format. Raises RequestError."""
    from pathlib import Path

    if text is None:
        return {}
    kind, _, value = text.partition(":")
    if kind == "regex" and value:
        return {"regex": value}
    if text == "json":
        return {"json_schema": '{"type": "object"}'}
    if kind == "choices" and value:
        import re

        return {"regex": "|".join(re.escape(choice) for choice in value.split("|"))}
    try:
        if kind == "ebnf" and value:
            return {"ebnf": Path(value).read_text(encoding="utf-8")}
        return {"json_schema": Path(text).read_text(encoding="utf-8")}
    except OSError as error:
        raise RequestError(
            f"--format {text}: {error.strerror}; give json, a schema file, regex:…, ebnf:FILE or choices:a|b"
        ) from None


class _Talk:
    """One conversation in this process."""

    def __init__(self, engine: Any, options: argparse.Namespace, constraint: dict[str, Any]) -> None:
        self._engine = engine
        self._options = options
        self._messages: list[dict[str, str]] = []
        if options.system:
            self._messages.append({"role": "system", "content": options.system})
        self._sampling = {
            "max_new_tokens": options.max_tokens,
            "temperature": options.temperature,
            **({"sampling_seed": options.seed} if options.seed is not None else {}),
            **constraint,
        }

    def converse(self) -> None:
        """Reads prompts until the end of input or /bye."""
        print('Type a message; /clear forgets the conversation, /bye ends it. """ begins and ends several lines.')
        while (prompt := _read_prompt()) is not None:
            if prompt == "/bye":
                return
            if prompt == "/clear":
                self._messages = [m for m in self._messages if m["role"] == "system"]
            elif prompt:
                try:
                    self.answer(prompt)
                except RadixlangError as error:
                    print(f"error: {error}", file=sys.stderr)
                    self._messages.pop()

    def answer(self, prompt: str) -> None:
        """Prints the answer as it comes."""
        self._messages.append({"role": "user", "content": prompt})
        template = self._engine.front.template
        if self._options.raw or template is None:
            parts = prompt
        else:
            parts = template.render(self._messages, add_generation_prompt=True)
        started = time.perf_counter()
        text: list[str] = []
        last: dict[str, Any] = {}
        for last in self._engine.generate(parts, self._sampling, stream=True, stream_deltas=True):
            text.append(last["text"])
            if not self._options.json:
                print(last["text"], end="", flush=True)
        self._messages.append({"role": "assistant", "content": "".join(text)})
        if self._options.json:
            import json

            print(json.dumps({"text": "".join(text), "meta_info": last.get("meta_info", {})}, ensure_ascii=False))
        else:
            print()
        if self._options.verbose:
            self._tell_times(last.get("meta_info", {}), time.perf_counter() - started)

    @staticmethod
    def _tell_times(meta: dict[str, Any], seconds: float) -> None:
        made = meta.get("completion_tokens", 0)
        print(
            f"{meta.get('prompt_tokens', 0)} prompt tokens ({meta.get('cached_tokens', 0)} cached), {made} generated "
            f"in {seconds:.2f} s, {made / seconds:.1f} tokens/s",
            file=sys.stderr,
        )


def _read_prompt() -> str | None:
    """One message of the terminal; None at the end of input."""
    try:
        line = input(">>> ").strip()
        if line.startswith('"""'):
            lines = [line[3:]]
            while not lines[-1].rstrip().endswith('"""'):
                lines.append(input("... "))
            return "\n".join(lines).rstrip().removesuffix('"""').strip()
    except EOFError:
        print()
        return None
    return line


def _list(options: argparse.Namespace) -> int:
    from .runtime.store.catalog import list_models

    models = list_models()
    if not models:
        print(f"no models yet; fetch one: radixlang pull {DEFAULT_MODEL}")
        return 0
    width = max(len(m.name) for m in models)
    print(f"{'NAME':{width}}  {'SIZE':>9}  MODIFIED")
    for m in models:
        print(f"{m.name:{width}}  {_size(m.size):>9}  {time.strftime('%Y-%m-%d %H:%M', time.localtime(m.modified))}")
    return 0


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def _show(options: argparse.Namespace) -> int:
    from .runtime.store.catalog import show_model

    for name, value in show_model(options.model).items():
        if name == "modified":
            value = time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
        elif name == "size":
            value = _size(value)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        print(f"{name:13} {value if value is not None else '-'}")
    return 0


def _pull(options: argparse.Namespace) -> int:
    from .runtime.store.resolve import resolve_model

    print(resolve_model(options.model, progress=True))
    return 0


def _remove(options: argparse.Namespace) -> int:
    from .runtime.store.catalog import remove_model

    for name in options.model:
        print(f"removed {name}: {_size(remove_model(name))} freed")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .runtime.doctor import findings

    found = findings()
    for finding in found:
        print(f"{'ok  ' if finding.is_good else 'no  '} {finding.what}: {finding.told}")
    return 0 if all(f.is_good or not f.is_needed for f in found) else 1


def _formats(options: argparse.Namespace) -> int:
    from .runtime.weights.forms import table

    print("\n".join(table()))
    return 0


def _version(options: argparse.Namespace) -> int:
    print(f"radixlang {__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
