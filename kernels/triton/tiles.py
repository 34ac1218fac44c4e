"""Tile sizes, warps and pipeline stages: built in, or as `examples/bench/gpu_kernels.py --tune` measured on this card.

What is built in follows published practice: FlashAttention-2's tiles of 64 slots and two stages where a program has
163 KiB of shared memory or less (Ampere, Ada), three stages on Hopper (227 KiB); the weight-only product reads few rows
through deep pipelines and narrow tiles, so that more loads are under way (Marlin, arXiv 2408.11743). A tuned table is a
JSON file in the cache folder, one for each card.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..cpu.load import cache_folder

logger = logging.getLogger(__name__)

Key = tuple[int, ...]
"""What decides the best tiles of a kernel: sizes rounded to classes; its kernel says which."""


class Tiles(NamedTuple):
    """0: the kernel has no such choice."""

    m: int
    """Rows of a program."""
    n: int
    """Columns of it; slots at once, in attention."""
    k: int
    """Inputs of a step."""
    warps: int
    stages: int


_tuned: dict[tuple[str, Key], Tiles] = {}
asked: dict[tuple[str, Key], Tiles] = {}
"""What the kernels asked for, with their own choice; a tuner reads it."""


def sized(kernel: str, key: Key, default: Tiles) -> Tiles:
    """The tuned tiles of a kernel for shapes of this class, else its own choice."""
    _load()
    asked[kernel, key] = default
    return _tuned.get((kernel, key), default)


def choose(kernel: str, key: Key, chosen: Tiles) -> None:
    """From now on, in this process; `save` keeps it."""
    _load()
    _tuned[kernel, key] = chosen


@cache
def has_large_memory() -> bool:
    """Whether a program may take Hopper's 227 KiB of shared memory (compute capability 9.0 and 10.x)."""
    from triton.runtime import driver

    try:
        return int(driver.active.get_current_target().arch) // 10 in (9, 10)
    except RuntimeError:  # no GPU: the interpreter takes anything
        return False


def table_path() -> Path | None:
    """Where the tuned table of this card lies; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    name = "".join(c if c.isalnum() else "-" for c in torch.cuda.get_device_name())
    return cache_folder() / "triton" / f"tiles-{name}.json"


def save(path: Path) -> None:
    """Writes what was chosen, beside what the file had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"kernel": kernel, "key": key, "tiles": chosen} for (kernel, key), chosen in sorted(_tuned.items())]
    path.write_text(json.dumps(rows, indent=0))


def read(path: Path) -> dict[tuple[str, Key], Tiles]:
    """Raises ValueError for a file that is no such table."""
    found: dict[tuple[str, Key], Tiles] = {}
    for row in json.loads(path.read_text()):
        try:
            numbers = Tiles(*(int(number) for number in row["tiles"]))
            found[str(row["kernel"]), tuple(int(part) for part in row["key"])] = numbers
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path}: {row!r} is no row of tiles") from error
        if min(numbers) < 0 or any(number & (number - 1) for number in numbers[:4]) or numbers.warps < 1:
            raise ValueError(f"{path}: tiles and warps are powers of two, found {numbers}")
    return found


@cache
def _load() -> None:
    path = table_path()
    if path is None or not path.exists():
        return
    try:
        _tuned.update(read(path))
        logger.info("tiles as tuned on this card: %s", path)
    except (OSError, ValueError) as error:
        logger.warning("tiles are the built-in ones: %s; remove the file or tune again", error)
