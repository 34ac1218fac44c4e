"""Compiles kernels/csrc into one shared library: every `*.isa.cpp` once for each instruction set, the rest once.

The library carries the digest of what it was made of in its name, so a stale one is never loaded. `python -m
radixlang.kernels.cpu.build` builds it now; `setup.py` builds it into a wheel; else the first use does (load.py).
`--sanitize` adds the address and undefined-behaviour sanitizers (see tests/kernels/cpu/test_sanitizers.py).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent.parent / "csrc"

# -ffp-contract=off: multiply and add are fused where the source says so and nowhere else, so that the same function
# inlined in two places gives the same bits (batch invariance).
_FLAGS = (
    "-std=c++20",
    "-O3",
    "-DNDEBUG",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-pthread",
    "-Wall",
    "-Wextra",
)
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1", "-UNDEBUG")


class BuildFailed(Exception):
    """No compiler, or it refused; the message says which and what it printed."""


class InstructionSet(NamedTuple):
    name: str
    flags: tuple[str, ...]


def instruction_sets(machine: str = platform.machine()) -> list[InstructionSet]:
    """Those of isa.list for an architecture, this machine's by default, best first."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    found = []
    for line in (SOURCES / "isa.list").read_text().splitlines():
        words = line.split("#")[0].split()
        if words and words[0] == machine:
            found.append(InstructionSet(words[1], tuple(words[2:])))
    return found or [InstructionSet("scalar", ())]


_SPELLED = {
    "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "avxvnni": "avx_vnni", "dotprod": "asimddp",
}  # fmt: skip
"""Compiler flags whose name in /proc/cpuinfo is another."""
_CPUINFO = Path("/proc/cpuinfo")


def sets_here(machine: str = platform.machine()) -> list[str] | None:
    """Those that this machine's processor can run, best first; None where that cannot be told (no /proc/cpuinfo, or one
    that names no flags, as that of another architecture under an emulator)."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return None
    name = "Features" if machine == "aarch64" else "flags"
    has = {flag for line in lines if line.startswith(name) for flag in line.split(":", 1)[1].split()}
    if not has:
        return None
    return [isa.name for isa in instruction_sets(machine) if has.issuperset(_needs(isa))]


def _needs(isa: InstructionSet) -> list[str]:
    """As /proc/cpuinfo spells it: of -mavx2 and the like, and of what follows a plus in -march=armv8.2-a+dotprod."""
    flags: list[str] = []
    for flag in isa.flags:
        if flag.startswith("-m"):
            flags += flag.split("+")[1:] if "=" in flag else [flag.removeprefix("-m")]
    return [_SPELLED.get(flag, flag) for flag in flags]


def best_here() -> str | None:
    """The set that this machine will run: RADIXLANG_ISA, else the first that the processor has.

    None where that cannot be told: then all are compiled.
    """
    return os.environ.get("RADIXLANG_ISA") or next(iter(sets_here() or ()), None)


def source_digest(flags: Sequence[str] = ()) -> str:
    """Of all sources and flags; 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((_FLAGS, tuple(flags), platform.machine(), sys.platform)).encode())
    for path in sorted(p for p in SOURCES.rglob("*") if p.is_file()):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def library_name(flags: Sequence[str] = (), *, only: str | None = None) -> str:
    """`only`: the one instruction set that it holds; None: all."""
    return f"_step.{source_digest(flags)}{f'.{only}' if only else ''}.so"


def compiler() -> list[str]:
    """$CXX, g++, clang++ or c++ on the path, else the `ziglang` wheel's. Raises BuildFailed when there is none."""
    if wanted := os.environ.get("CXX", "").split():
        if shutil.which(wanted[0]) is None:
            raise BuildFailed(f"the compiler {wanted[0]} that CXX names is not here")
        return wanted
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++"]
    raise BuildFailed("no C++ compiler (g++, clang++, $CXX) is here")


def flags_for(cxx: Sequence[str], isa: InstructionSet) -> list[str]:
    """The set's flags as that compiler spells them: zig has features of a processor where others have -march."""
    if "ziglang" not in cxx and not cxx[0].endswith("zig"):
        return list(isa.flags)
    return [re.sub(r"^-march=[^+]*", "-mcpu=generic", flag) for flag in isa.flags]


def _run(command: Sequence[str]) -> None:
    """The last word is the file that it writes."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not Path(command[-1]).exists():
        raise BuildFailed(f"{command[0]} failed:\n{done.stderr[-4000:]}")


def _knows(cxx: Sequence[str], isa: InstructionSet, folder: Path) -> bool:
    """Whether the compiler takes the set's flags and its intrinsics; an old one may lack the newest."""
    source = folder / f"probe.{isa.name}.cpp"
    source.write_text('#include "simd/vec.h"\n')
    # An object, because zig's compiler fails at -fsyntax-only.
    made = ["-c", str(source), "-o", str(source.with_suffix(".o"))]
    command = [*cxx, "-std=c++20", *flags_for(cxx, isa), f"-DRX_ISA={isa.name}", f"-I{SOURCES}", *made]
    try:
        _run(command)
    except BuildFailed:
        return False
    return True


def _included(source: Path, seen: dict[Path, bytes]) -> None:
    """Adds the source and every file of ours that it includes, with their contents."""
    if source in seen or not source.exists():
        return
    seen[source] = source.read_bytes()
    for name in re.findall(rb'^#include "(.+)"', seen[source], re.MULTILINE):
        for folder in (source.parent, SOURCES):
            _included((folder / name.decode()).resolve(), seen)


def _compile(command: Sequence[str], source: Path, kept: Path) -> Path:
    """The object of one source, in `kept` under the digest of all that went into it; made only when it is not there."""
    seen: dict[Path, bytes] = {}
    _included(source, seen)
    digest = hashlib.sha256(repr(command).encode())
    for path in sorted(seen):
        digest.update(seen[path])
    target = kept / f"{source.stem}.{digest.hexdigest()[:16]}.o"
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}.part")
        _run([*command, "-c", str(source), "-o", str(part)])
        os.replace(part, target)
    return target


def compile_all(cxx: Sequence[str], flags: Sequence[str], sets: Sequence[InstructionSet], kept: Path) -> list[Path]:
    """The objects of all sources for these sets, in `kept`; those that are there already are not made again."""
    listed = " ".join(f"X({isa.name})" for isa in sets)
    jobs: list[tuple[list[str], Path]] = []
    for source in SOURCES.glob("*.isa.cpp"):
        jobs += [([*cxx, *flags, f"-DRX_ISA={isa.name}", *flags_for(cxx, isa)], source) for isa in sets]
    for source in SOURCES.glob("*.cpp"):
        if not source.name.endswith(".isa.cpp"):
            jobs.append(([*cxx, *flags, f"-DRX_ISAS(X)={listed}"], source))
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(workers) as pool:
        return sorted(pool.map(lambda job: _compile(job[0], job[1], kept), jobs))


def build(
    target: Path, *, only: Sequence[str] | None = None, sanitize: bool = False, objects: Path | None = None
) -> None:
    """Writes the shared library at `target`, whole or not at all. Raises BuildFailed.

    only: compile these instruction sets and no others, which takes a fraction of the time.
    objects: a folder where objects are kept, so that the next build compiles only what changed.
    """
    cxx = compiler()
    flags = [*_FLAGS, *(_SANITIZE if sanitize else ())]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as name:
        folder = Path(name)
        kept = objects or folder
        kept.mkdir(parents=True, exist_ok=True)
        asked = [isa for isa in instruction_sets() if only is None or isa.name in only]
        sets = [isa for isa in asked if _knows(cxx, isa, folder)]
        if not sets:
            raise BuildFailed(f"{cxx[0]} knows none of the instruction sets {', '.join(only or ['of isa.list'])}")
        library = folder / "library.so"
        _run([*cxx, *flags, "-shared", *map(str, compile_all(cxx, flags, sets, kept)), "-o", str(library)])
        os.replace(library, target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the native CPU step.")
    parser.add_argument("target", type=Path, nargs="?", help="the library to write; default: beside kernels/")
    parser.add_argument("--sanitize", action="store_true", help="with address and undefined-behaviour sanitizers")
    parser.add_argument("--only", nargs="+", help="these instruction sets, not all")
    options = parser.parse_args()
    target = options.target or SOURCES.parent / library_name()
    build(target, only=options.only, sanitize=options.sanitize)
    print(target)


if __name__ == "__main__":
    main()
