"""The native library: found beside the package, or in the cache folder, or built into it at first use."""

from __future__ import annotations

import ctypes
import logging
import os
import time
from functools import cache
from pathlib import Path

from ...errors import ConfigError, NativeUnavailable
from .build import SOURCES, BuildFailed, best_here, build, compiler, library_name, sets_here
from .build import instruction_sets as instruction_sets_of_source
from .control_groups import limit_folders

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 512


def cache_folder() -> Path:
    """Of derived data: $RADIXLANG_CACHE, else ~/.cache/radixlang; as runtime/store/paths.py has it."""
    if given := os.environ.get("RADIXLANG_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "radixlang"


@cache
def load() -> ctypes.CDLL:
    """The library, its functions declared. Raises NativeUnavailable where it can be neither found nor built."""
    path = _find_or_build()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        again = "unset RADIXLANG_NATIVE_LIBRARY" if os.environ.get("RADIXLANG_NATIVE_LIBRARY") else "remove it"
        raise NativeUnavailable(f"{path} does not load ({error}); {again}, and it is built again") from error
    _declare(library)
    return library


def native_folder() -> Path:
    """Where libraries built at first use are kept: $RADIXLANG_NATIVE, else `native` in the cache folder."""
    given = os.environ.get("RADIXLANG_NATIVE")
    return Path(given).expanduser() if given else cache_folder() / "native"


def _find_or_build() -> Path:
    if given := os.environ.get("RADIXLANG_NATIVE_LIBRARY"):  # a special build, such as one with sanitizers
        return Path(given)
    if any(SOURCES.parent.glob("_step.*.so")):
        packaged = SOURCES.parent / library_name()
        if packaged.exists():
            return packaged
    only = best_here()
    known = sets_here() or [isa.name for isa in instruction_sets_of_source()]
    if only is not None and only not in known:
        raise _absent(known)
    folder = native_folder()
    name = library_name(only=only)
    target = folder / name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Lock(folder / f"{name}.lock"):
            if not target.exists():
                compiler()  # nothing is announced where there is none
                # A warning, so that it is seen where no logging was set up: the wait needs its reason.
                logger.warning("compiling the native CPU step for this machine, once; it takes about a minute")
                start = time.monotonic()
                build(target, only=[only] if only else None, objects=folder / "objects")
                logger.info("built the native step in %.0f s: %s", time.monotonic() - start, target)
    except BuildFailed as error:
        raise NativeUnavailable(
            f"the native CPU step cannot be built: {error}; install a C++20 compiler (g++ 11 or clang 14, or "
            "`pip install ziglang`), or set CXX to one"
        ) from error
    except OSError as error:
        raise NativeUnavailable(
            f"the native CPU step cannot be kept in {folder} ({error}); set RADIXLANG_NATIVE to a folder with room"
        ) from error
    return target


class _Lock:
    """Keeps processes from building the same library at the same time; advisory, freed when its process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        import fcntl

        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _declare(library: ctypes.CDLL) -> None:
    address, i32, i64, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p
    library.rx_struct_bytes.argtypes = [i32]
    library.rx_struct_bytes.restype = i64
    library.rx_step_new.argtypes = [address, address, address, text, i32]
    library.rx_step_new.restype = i32
    library.rx_step_free.argtypes = [address]
    library.rx_step_free.restype = None
    library.rx_step_entry_bytes.argtypes = [address]
    library.rx_step_entry_bytes.restype = i64
    library.rx_step_phases.argtypes = [address, address]
    library.rx_step_phases.restype = None
    for run in (library.rx_step_run, library.rx_step_run_layers, library.rx_step_run_head):
        run.argtypes = [address, address, text, i32]
        run.restype = i32
    library.rx_step_run_burst.argtypes = [address, address, address, text, i32]
    library.rx_step_run_burst.restype = i32
    library.rx_predictor_new.argtypes = [i32, address, i64, address, i64, address, text, i32]
    library.rx_predictor_new.restype = i32
    library.rx_predictor_free.argtypes = [address]
    library.rx_predictor_free.restype = None
    library.rx_predictor_learn.argtypes = [address, address, i64, i64]
    library.rx_predictor_learn.restype = None
    library.rx_context_places.argtypes = [address, i64, address, address]
    library.rx_context_places.restype = None
    library.rx_isa_name.argtypes = [i32]
    library.rx_isa_name.restype = text
    library.rx_isa_chosen.argtypes = []
    library.rx_isa_chosen.restype = text


def instruction_set() -> str:
    """The one in use: RADIXLANG_ISA where it is set. Raises ConfigError for one that is not there."""
    chosen: bytes | None = load().rx_isa_chosen()
    if chosen is None:
        raise _absent(instruction_sets())
    return chosen.decode()


def _absent(there: list[str]) -> ConfigError:
    forced = os.environ.get("RADIXLANG_ISA", "")
    return ConfigError(
        f"RADIXLANG_ISA={forced[:40]}: this machine runs {', '.join(there)}; take one of these, or unset it",
        param="RADIXLANG_ISA",
    )


def instruction_sets() -> list[str]:
    """All that were compiled and run here, best first."""
    library, names = load(), list[str]()
    while name := library.rx_isa_name(len(names)):
        names.append(name.decode())
    return names


def default_threads() -> int:
    """Cores that this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(cores, quota) if quota else cores)


def _cgroup_cores() -> int:
    """Whole cores that the quotas of the control groups allow, at least 1; 0: no quota."""
    allowed = [cores for folder in limit_folders("cpu") if (cores := _quota(folder))]
    return min(allowed, default=0)


def _quota(folder: Path) -> int:
    """Of one control group."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return 0 if quota in ("max", "-1") else max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 0
