"""What this machine offers to radixlang, and what is missing: the findings of `radixlang doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import RadixlangError


class Finding(NamedTuple):
    what: str
    told: str
    is_good: bool = True
    is_needed: bool = True
    """Without it radixlang does not work here."""


def findings() -> list[Finding]:
    """All of them, in the order of reading."""
    return [*_machine(), *_packages(), _native(), *_models()]


def _machine() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} at {sys.executable}", sys.version_info >= (3, 10))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {cores} cores")
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Finding("free memory", f"{free / 1e9:.1f} GB", free > 1e9, is_needed=False)
    except (ValueError, OSError):
        yield Finding("free memory", "unknown", is_needed=False)


def _packages() -> Iterator[Finding]:
    for name in ("numpy", "tokenizers", "llguidance", "msgspec", "pyzmq", "uvicorn"):
        yield _package(name, is_needed=True)
    for name in ("torch", "transformers", "triton"):
        yield _package(name, is_needed=False)


def _package(name: str, *, is_needed: bool) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed" if is_needed else "not installed (optional)", False, is_needed)


def _native() -> Finding:
    """The C++ step: loaded, or why not."""
    try:
        from ..kernels.cpu.load import instruction_set, load

        load()
        return Finding("native step", f"works, {instruction_set()}", is_needed=False)
    except (ImportError, OSError, RuntimeError, RadixlangError) as error:
        why = " ".join(str(error).split())[:300]
        return Finding("native step", f"not here: {why}", False, is_needed=False)


def _models() -> Iterator[Finding]:
    from .store.catalog import list_models
    from .store.known import DEFAULT_MODEL
    from .store.paths import models_dir

    names = [m.name for m in list_models()]
    yield Finding("model store", f"{models_dir()}: {', '.join(names) or 'empty'}")
    has_default = DEFAULT_MODEL in names
    told = "there" if has_default else f"not there; fetch it: radixlang pull {DEFAULT_MODEL}"
    yield Finding(f"default model {DEFAULT_MODEL}", told, has_default, is_needed=False)
