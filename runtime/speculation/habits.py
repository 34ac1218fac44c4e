"""A model's habits: what it usually says next, learned from texts of its own, in files of some hundred kilobytes.

The default model's lies beside this file; `radixlang habits MODEL` makes one for any other, in the cache folder, which
goes first. They belong to a tokenizer: guesses are checked, so that habits of a sister model cost little at worst.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ...kernels.cpu.predictor import ENTRY, NUM_LEVELS, NUM_ORDERS, NUM_PLACES, HabitTables
from ..store.paths import cache_dir, write_atomically

logger = logging.getLogger(__name__)

_VERSION = 1
"""Of the file, and of what places and levels mean in csrc/contexts.h and habit_learning.py."""


def habit_file(tokenizer_digest: str) -> Path:
    """Where habits are kept that were learned on this machine."""
    return cache_dir() / "habits" / f"{tokenizer_digest}.npz"


def find_habits(tokenizer_digest: str, vocab_size: int) -> HabitTables | None:
    """Those learned on this machine, else those that come with the package; None where there are none. A file that
    cannot be read is left out, with a line in the log."""
    for path in (habit_file(tokenizer_digest), Path(__file__).parent / "known_habits" / f"{tokenizer_digest}.npz"):
        if path.is_file():
            try:
                return read_habits(path, vocab_size)
            except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
                logger.warning(
                    "%s is not read (%s): guesses begin without it; `radixlang habits` writes it anew", path, error
                )
    return None


def read_habits(path: Path, vocab_size: int) -> HabitTables:
    """Raises ValueError, or what numpy raises, where the file is none of this version and vocabulary."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        if int(file["version"]) != _VERSION:
            raise ValueError(f"version {int(file['version'])} of such files, not {_VERSION}")
        places, tokens, levels, tags = (file[name].astype(np.int64) for name in ("places", "tokens", "levels", "tags"))
        if not places.shape == tokens.shape == levels.shape == tags.shape == (places.size,):
            raise ValueError("its arrays are of different lengths")
        rates = np.ascontiguousarray(file["rates"], np.float64)
        if rates.shape != (2, NUM_ORDERS, NUM_LEVELS, 2) or not np.all((rates[..., 0] >= 0) & (rates[..., 1] > 0)):
            raise ValueError("its rates are damaged")
        if places.size and not (places.min() >= 0 and places.max() < NUM_ORDERS * NUM_PLACES):
            raise ValueError("its places are damaged")
        if tokens.size and not (tokens.min() >= 0 and tokens.max() < vocab_size and levels.max() < NUM_LEVELS):
            raise ValueError(f"its tokens are not those of a vocabulary of {vocab_size}")
        entries = np.zeros(NUM_ORDERS * NUM_PLACES, ENTRY)
        entries["token"] = -1
        for field, values in (("token", tokens), ("tag", tags), ("level", levels)):
            entries[field][places] = values
        return HabitTables(entries, rates)


def write_habits(path: Path, habits: HabitTables) -> None:
    """Replaces the file, whole or not at all."""
    (places,) = np.nonzero(habits.entries_N["token"] >= 0)
    used = habits.entries_N[places]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        version=np.int32(_VERSION),
        places=places.astype(np.uint32),
        tokens=used["token"],
        tags=used["tag"],
        levels=used["level"].astype(np.uint8),
        rates=habits.rates_SOL2.astype(np.float32),
    )
    write_atomically(path, content.getvalue())
