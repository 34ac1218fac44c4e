"""A model's habits: what it usually says next, learned from texts of its own, in files of a megabyte.

The default model's lies beside this file; `radixlang habits MODEL` makes one for any other, in the cache folder, which
goes first. They belong to a tokenizer: guesses are checked, so that habits of a sister model cost little at worst.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ...kernels.cpu.predictor import ENTRY, NUM_LEVELS, NUM_ORDERS, NUM_PLACES, HabitTables
from ..store.paths import cache_dir, write_atomically

logger = logging.getLogger(__name__)

_MAGIC = b"radixlang habits 1\n".ljust(32)
"""With the version of the file, and of what places and levels mean in csrc/contexts.h and habit_learning.py. Behind it
lie rates and entries, little-endian."""
_RATES = (2, NUM_ORDERS, NUM_LEVELS, 2)


def habit_file(tokenizer_digest: str) -> Path:
    """Where habits are kept that were learned on this machine."""
    return cache_dir() / "habits" / f"{tokenizer_digest}.habits"


def find_habits(tokenizer_digest: str, vocab_size: int) -> HabitTables | None:
    """Those learned on this machine, else those that come with the package; None where there are none. A file that
    cannot be read is left out, with a line in the log."""
    own = habit_file(tokenizer_digest)
    for path in (own, Path(__file__).parent / "known_habits" / own.name):
        if path.is_file():
            try:
                return read_habits(path, vocab_size)
            except (OSError, ValueError) as error:
                logger.warning("%s is not read (%s); `radixlang habits` writes it anew", path, error)
    return None


def read_habits(path: Path, vocab_size: int) -> HabitTables:
    """Raises OSError, or ValueError where the file is none of this version and vocabulary."""
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        raise ValueError("no habits of this version")
    rates_end = len(_MAGIC) + 8 * int(np.prod(_RATES))
    if len(content) != rates_end + NUM_ORDERS * NUM_PLACES * ENTRY.itemsize:
        raise ValueError(f"it has {len(content)} bytes, which is not the size of such files")
    rates = np.frombuffer(content[len(_MAGIC) : rates_end], "<f8").reshape(_RATES)
    entries = np.frombuffer(content, ENTRY, offset=rates_end)
    if not np.all((rates[..., 0] >= 0) & (rates[..., 1] > 0)):
        raise ValueError("its rates are damaged")
    if entries["token"].max() >= vocab_size or entries["level"].max() >= NUM_LEVELS:
        raise ValueError(f"its tokens are not those of a vocabulary of {vocab_size}")
    return HabitTables(entries, rates)


def write_habits(path: Path, habits: HabitTables) -> None:
    """Replaces the file, whole or not at all."""
    write_atomically(path, _MAGIC + habits.rates_SOL2.astype("<f8").tobytes() + habits.entries_N.tobytes())
