"""Runs every example on the default model and writes what it prints into its docstring; so for README's program.

    python examples/regenerate.py [--check]

`--check` changes nothing, and fails where a text is not what is printed. Greedy text is the same on every machine that
has one instruction set, and may take another word on another: texts are written, and compared, with SHOWN_WITH.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import runpy
import sys
from pathlib import Path

import radixlang as sgl
from radixlang.kernels.cpu.load import instruction_set

SHOWN_WITH = "avx512bf16"
MODEL = "smollm2-135m-instruct"
HERE = Path(__file__).parent
README = HERE.parent / "README.md"
_SHOWN = re.compile(r"(?<=printed, on SmolLM2-135M:\n\n)(?:    .*\n|\n(?=    ))+")
_PROGRAM = re.compile(r"^```python\n(import radixlang as sgl(?:.*\n)+?)((?:# .*\n)+)```$", re.MULTILINE)


def examples() -> list[Path]:
    """All but the quickstart, which takes a model, and this file."""
    return sorted(path for path in HERE.glob("*.py") if path.stem not in ("quickstart", Path(__file__).stem))


def shown(path: Path) -> list[str]:
    """The lines that an example's docstring, or README beside its program, says are printed."""
    text = path.read_text(encoding="utf-8")
    if path == README:
        program = _PROGRAM.search(text)
        assert program is not None, "README has a program, and below it what it prints"
        return [line.removeprefix("# ") for line in program[2].splitlines()]
    found = _SHOWN.search(text)
    assert found is not None, f"{path} shows what it printed"
    return [line[4:] for line in found[0].splitlines()]


def printed(path: Path, engine: sgl.Engine) -> list[str]:
    """The lines that it prints on `engine`, whose cache is empty at first."""
    before = sgl.global_config.default_backend
    sgl.set_default_backend(engine)
    engine.flush_cache()
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            if path == README:
                program = _PROGRAM.search(path.read_text(encoding="utf-8"))
                assert program is not None
                body = re.sub(r"^sgl.set_default_backend.*\n", "", program[1], flags=re.MULTILINE)
                exec(compile(body, str(path), "exec"), {})
            else:
                runpy.run_path(str(path))["main"]()
    finally:
        sgl.set_default_backend(before)
    return [line.rstrip() for line in output.getvalue().rstrip().splitlines()]


def write(path: Path, lines: list[str]) -> None:
    """Makes `lines` what `shown` gives."""
    text = path.read_text(encoding="utf-8")
    if path == README:
        text = _PROGRAM.sub(lambda m: m[0].replace(m[2], "".join(f"# {line}\n" for line in lines)), text)
    else:
        text = _SHOWN.sub(lambda _: "".join(f"    {line}".rstrip() + "\n" for line in lines), text)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a text is not what is printed")
    options = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    if (found := instruction_set()) != SHOWN_WITH:
        print(f"this machine runs {found}; the texts are of {SHOWN_WITH}", file=sys.stderr)
        return 2
    engine = sgl.Engine(model_path=MODEL)
    stale = 0
    for path in [*examples(), README]:
        lines = printed(path, engine)
        if lines != shown(path):
            stale += 1
            print(f"{path.relative_to(HERE.parent)}: {'not what is' if options.check else 'now what is'} printed")
            if not options.check:
                write(path, lines)
    engine.shutdown()
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
