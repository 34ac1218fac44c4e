"""radixlang exec and radixlang compile: programs of a Python file, run or looked at from the command line."""

from __future__ import annotations

import argparse
import json
import runpy
from pathlib import Path
from typing import Any

from ...errors import RequestError
from ...lang.backend.base_backend import BaseBackend
from ...lang.global_config import global_config
from ...lang.graph import ProgramGraph
from ...lang.prediction import predicted_prefill, shared_prefixes
from ...lang.program import SglFunction


def add_exec_options(parser: argparse.ArgumentParser) -> None:
    _add_program(parser)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name, GGUF file or directory")
    parser.add_argument("--base-url", "--url", help="a running server in place of --model; the program is sent whole")
    parser.add_argument("--temperature", type=float, default=0.0, help="Default: 0, always the likeliest token.")
    parser.add_argument("--max-tokens", type=int, default=128, help="of gens that say nothing. Default: 128.")
    parser.add_argument("--timeout", type=float, help="seconds for the whole program")
    parser.add_argument("--json", action="store_true", help="print values and usage instead of the text")
    parser.add_argument(
        "--trace", metavar="FILE", help="write the run to FILE: a page where it ends in .html, else JSON"
    )
    parser.add_argument(
        "--graph", metavar="FILE", help="write the graph to FILE: .html, .svg, .dot, .mmd, .json or text"
    )


def add_compile_options(parser: argparse.ArgumentParser) -> None:
    _add_program(parser)
    parser.add_argument("--outputs", help="names, with commas: the only values that are wanted")
    parser.add_argument(
        "--format", choices=("text", "mermaid", "dot", "svg", "html", "json"), default="text", help="what is printed"
    )


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a Python file with @function programs")
    parser.add_argument("--program", help="which one; default: `main`, or the only one")
    parser.add_argument(
        "--arg", action="append", default=[], metavar="NAME=VALUE", help="an argument of the program; may be repeated"
    )


def load_program(file: str, name: str | None) -> SglFunction:
    """A program of a file, which is run as a module. RequestError where there is no such program."""
    if not Path(file).is_file():
        raise RequestError(f"there is no file {file}")
    found = {k: v for k, v in runpy.run_path(file).items() if isinstance(v, SglFunction)}
    if name is None:
        name = "main" if "main" in found else next(iter(found), None) if len(found) == 1 else None
    if name not in found:
        told = ", ".join(found) or "none"
        raise RequestError(f"{file}: which program? It has {told}; name one with --program")
    return found[name]


def _arguments(program: SglFunction, given: list[str], *, is_whole: bool = False) -> dict[str, Any]:
    """The program's arguments; `is_whole`: all that it needs must be there."""
    arguments: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise RequestError(f"--arg {one}: write NAME=VALUE")
        arguments[name] = value
    unknown = [name for name in arguments if name not in program.arg_names]
    if unknown:
        raise RequestError(f"{program} has no argument {unknown[0]!r}")
    if is_whole:
        try:
            program.call_arguments((), arguments)
        except TypeError as error:
            raise RequestError(f"{error}; give it with --arg NAME=VALUE") from None
    return arguments


def execute(options: argparse.Namespace) -> int:
    """Runs a program and prints its text."""
    program = load_program(options.file, options.program)
    arguments = _arguments(program, options.arg, is_whole=True)
    backend: BaseBackend
    if options.base_url:
        from ...lang.backend.runtime_endpoint import RuntimeEndpoint

        backend = RuntimeEndpoint(options.base_url)
    else:
        from ..engine import Engine

        backend = Engine(model_path=options.model)
    try:
        global_config.default_backend = backend
        compiled = program.compile(**arguments)
        if options.graph:
            _write_graph(compiled.plan(temperature=options.temperature), Path(options.graph))
        state = compiled.run(
            remote=bool(options.base_url) and compiled.graph is not None and not compiled.graph.has_code,
            temperature=options.temperature,
            max_new_tokens=options.max_tokens,
            timeout=options.timeout,
            on_event=(lambda _: None) if options.trace else None,
        )
        text = state.text()
        if options.trace:
            path = Path(options.trace)
            path.write_text(state.to_html() if path.suffix == ".html" else state.to_json(), encoding="utf-8")
        if options.json:
            values = {name: state[name] for name in state.stream_executor.slots if name}
            told: dict[str, Any] = {"text": text, "variables": values, "usage": state.usage.counts()}
            print(json.dumps(told, ensure_ascii=False, default=str))
        else:
            print(text)
    finally:
        backend.shutdown()
    return 0


def _write_graph(graph: ProgramGraph, path: Path) -> None:
    forms = {".html": "html", ".svg": "svg", ".dot": "dot", ".mmd": "mermaid"}
    whole = graph.to_json() if path.suffix == ".json" else graph.render(forms.get(path.suffix, "text"))
    path.write_text(whole, encoding="utf-8")


def show(options: argparse.Namespace) -> int:
    """Prints a program's graph, and what its run will share."""
    program = load_program(options.file, options.program)
    outputs = options.outputs.split(",") if options.outputs else None
    compiled = program.compile(mode="graph", outputs=outputs, **_arguments(program, options.arg))
    graph = compiled.plan(temperature=0.0)
    if options.format == "json":
        print(graph.to_json())
        return 0
    print(graph.render(options.format), end="")
    if options.format == "text":
        print()
        print(", ".join(f"{name} {count}" for name, count in graph.stats().items()))
        for shared in shared_prefixes(graph):
            print(f"{shared['branches']} branches share about {shared['tokens']} tokens, at {shared['source']}")
        prefill = predicted_prefill(graph)
        print(
            f"prompts of all calls: about {prefill['prompt']} tokens; computed {prefill['computed']}, "
            f"from the prefix cache {prefill['saved']}"
        )
    return 0
