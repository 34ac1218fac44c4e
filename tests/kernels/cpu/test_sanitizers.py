"""The step's own tests again, in a library with the address and undefined-behaviour sanitizers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radixlang.kernels.cpu import build
from radixlang.kernels.cpu.load import native_folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_sanitizer_complains() -> None:
    """The best set of this machine and AVX2, whose vectors are shorter and whose attention is another. Steps in one
    call and in two, bursts of them, rows with adapters.

    By hand: build with `python -m radixlang.kernels.cpu.build --sanitize LIBRARY`, then run any test with
    RADIXLANG_NATIVE_LIBRARY=LIBRARY, LD_PRELOAD='libasan.so libstdc++.so' and
    ASAN_OPTIONS=detect_leaks=0 (Python leaks by design)."""
    try:
        cxx = build.compiler()
    except build.BuildFailed as error:
        pytest.skip(str(error))
    runtimes = []
    for name in ("libasan.so", "libstdc++.so"):  # the second, or the first finds no way to throw exceptions
        found = subprocess.run([*cxx, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        if not Path(found).is_absolute():
            pytest.skip(f"{cxx[0]} has no {name}")
        runtimes.append(found)
    known = [isa.name for isa in build.instruction_sets()]
    sets = [name for name in known if name in (build.best_here() or known[0], "avx2")]
    library = native_folder() / f"sanitized{build.library_name(only='.'.join(sets))}"
    if not library.exists():
        build.build(library, only=sets, sanitize=True, objects=native_folder() / "objects")
    here = Path(__file__).parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not every_kind and not hidden"),
            *(str(here / f"test_{name}.py") for name in ("step", "sampling", "burst", "guesses")),
        ],
        env=os.environ
        | {
            "RADIXLANG_NATIVE_LIBRARY": str(library),
            "LD_PRELOAD": " ".join(runtimes),
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        cwd=here.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
