"""gpu_kernels.py --tune: times the tiles of every kernel that has a choice, and keeps the fastest for this card.

One choice is varied at a time, from the kernel's own (or from what was tuned before) to its neighbours, as long as that
is faster by more than the noise. What does not compile or does not fit is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from radixlang.kernels.triton import tiles
from radixlang.kernels.triton.tiles import Tiles

BOUNDS = {"m": (16, 256), "n": (16, 256), "k": (32, 256), "warps": (1, 16), "stages": (1, 8)}
NOISE = 0.98
"""A choice must take less than this share of the time of the one before."""


def neighbours(chosen: Tiles) -> Iterator[Tiles]:
    """One choice twice as large or half as large, a stage more or less."""
    for field, value in chosen._asdict().items():
        low, high = BOUNDS[field]
        for other in (value + 1, value - 1) if field == "stages" else (2 * value, value // 2):
            if value and low <= other <= high:
                yield chosen._replace(**{field: other})


def tune(
    cases: Iterator[tuple[str, Callable[[], float]]], *, budget_s: float, path: Path | None, max_rounds: int = 4
) -> list[tuple[str, str, float]]:
    """(kernel and class, tiles, times faster) of each that was found. cases: name and what times the call.

    Every choice is put into the file at once, so that an end before the end loses nothing.
    """
    until, found, done = time.monotonic() + budget_s, [], set()
    for name, seconds in cases:
        tiles.asked.clear()
        began_s = seconds()
        for (kernel, key), own in list(tiles.asked.items()):
            if (kernel, key) in done or time.monotonic() > until:
                continue
            done.add((kernel, key))
            best, best_s = own, began_s
            for _ in range(max_rounds):
                before = best
                for candidate in neighbours(before):
                    if time.monotonic() > until:
                        break
                    took_s = _timed(kernel, key, candidate, seconds)
                    if took_s is not None and took_s < NOISE * best_s:
                        best, best_s = candidate, took_s
                if best == before:
                    break
            tiles.choose(kernel, key, best)
            if path is not None:
                tiles.save(path)
            found.append((f"{kernel} {key}", str(tuple(best)), began_s / best_s))
            print(
                f"{name}: {kernel} {key}: {tuple(own)} -> {tuple(best)}, {began_s / best_s:.2f} times as fast",
                flush=True,
            )
            began_s = best_s
    return found


def _timed(kernel: str, key: tuple[int, ...], candidate: Tiles, seconds: Callable[[], float]) -> float | None:
    """None: it does not run."""
    tiles.choose(kernel, key, candidate)
    try:
        return seconds()
    except Exception as error:  # too much shared memory, too many registers, no such instruction
        print(f"  {tuple(candidate)}: {type(error).__name__}", flush=True)
        return None
