"""The NEON set, compiled by zig for aarch64 and run by qemu: the same kernels, the same steps, against the scalar set.

    apt-get install qemu-user && pip install ziglang && pytest tests/kernels/cpu/test_cross.py

And the sets of this machine by the same driver (sets_driver.cpp).
"""

import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radixlang.kernels.cpu import build
from radixlang.kernels.cpu.load import native_folder

DRIVER = Path(__file__).with_name("sets_driver.cpp")
ABI = ("api.cpp", "linear_abi.cpp", "pack_abi.cpp")
"""Sources that only Python calls."""


def build_driver(cxx: list[str], machine: str, flags: list[str], target: Path) -> None:
    """An executable of the driver and every instruction set of that architecture."""
    target.parent.mkdir(parents=True, exist_ok=True)
    common = [*cxx, *(f for f in build._FLAGS if f != "-fPIC"), f"-I{build.SOURCES}", *flags]
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        here = Path(name)
        sets = [isa for isa in build.instruction_sets(machine) if build._knows(cxx, isa, here)]
        listed = "-DRX_ISAS(X)=" + " ".join(f"X({isa.name})" for isa in sets)
        jobs = []
        for source in [*sorted(build.SOURCES.glob("*.cpp")), DRIVER]:
            if source.name.endswith(".isa.cpp"):
                jobs += [(source, i.name, [f"-DRX_ISA={i.name}", *build.flags_for(cxx, i)]) for i in sets]
            elif source.name not in ABI:
                jobs.append((source, "all", [listed]))
        commands = [
            [*common, *extra, "-c", str(source), "-o", str(here / f"{source.stem}.{part}.o")]
            for source, part, extra in jobs
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(build._run, commands))
        build._run([*common, *(command[-1] for command in commands), "-o", str(here / "driver")])
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
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no cross-compiler: pip install ziglang")
    cxx = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl"]
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
