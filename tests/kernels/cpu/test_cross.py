"""The NEON set, compiled for aarch64 and run by qemu: the same kernels, the same steps, against the scalar set.

    apt-get install qemu-user g++-aarch64-linux-gnu && pytest tests/kernels/cpu/test_cross.py

The `ziglang` wheel is a cross-compiler, too.

And the sets of this machine by the same driver (sets_driver.cpp).
"""

import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from radixlang.kernels.cpu import build
from radixlang.kernels.cpu.load import native_folder

DRIVER = Path(__file__).with_name("sets_driver.cpp")


def build_driver(cxx: list[str], machine: str, extra: list[str], target: Path) -> None:
    """An executable of the driver and every instruction set of that architecture; the objects are the library's own,
    kept where that is built."""
    kept = native_folder() / "objects"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        here = Path(name)
        sets = [isa for isa in build.instruction_sets(machine) if build._knows(cxx, isa, here)]
        objects = build.compile_all(cxx, build._FLAGS, sets, kept)
        command = [*cxx, *build._FLAGS, f"-I{build.SOURCES}", *extra, str(DRIVER), *map(str, objects)]
        build._run([*command, "-o", str(here / "driver")])
        (here / "driver").replace(target)


def digest(*words: str) -> str:
    found = hashlib.sha256(repr(words).encode() + DRIVER.read_bytes())
    for path in sorted(p for p in build.SOURCES.rglob("*") if p.is_file()):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_neon_under_qemu() -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("no qemu-aarch64: apt-get install qemu-user")
    if importlib.util.find_spec("ziglang") is not None:
        cxx = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl"]
    elif shutil.which("aarch64-linux-gnu-g++") is not None:
        cxx = ["aarch64-linux-gnu-g++"]
    else:
        pytest.skip("no cross-compiler: apt-get install g++-aarch64-linux-gnu, or pip install ziglang")
    target = native_folder() / f"driver.aarch64.{digest(*cxx)}"
    if not target.exists():
        build_driver(cxx, "aarch64", ["-static"], target)
    done = subprocess.run([emulator, "-cpu", "max", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "ok   neon step" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sets_of_this_machine() -> None:
    try:
        cxx = build.compiler()
    except build.BuildFailed as error:
        pytest.skip(str(error))
    target = native_folder() / f"driver.{platform.machine()}.{digest(*cxx)}"
    if not target.exists():
        build_driver(cxx, platform.machine(), [], target)
    done = subprocess.run([str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
