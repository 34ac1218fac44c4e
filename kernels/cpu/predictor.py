"""The native predictor from Python: what followed the last tokens before, kept in tables of a fixed size."""

from __future__ import annotations

import ctypes
import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .load import MESSAGE_BYTES, load

Int32 = NDArray[np.int32]

NUM_ORDERS = 4
"""Tables: of what follows the last 1, 2, 3 and 5 tokens."""
NUM_PLACES = 1 << 15
"""Of each."""
NUM_LEVELS = 8
"""Of how sure an entry of habits is."""
ENTRY = np.dtype([("token", "<i4"), ("tag", "<u2"), ("level", "<u2")])
"""rx::Entry; token -1: the place is empty."""


class HabitTables(NamedTuple):
    """What a model often says; csrc/predictor.h says how it is used."""

    entries_N: NDArray[np.void]
    """[NUM_ORDERS * NUM_PLACES] of ENTRY."""
    rates_SOL2: NDArray[np.float64]
    """[2 (sampled, greedy), NUM_ORDERS, NUM_LEVELS, 2 (right, tried)]: how often such an entry was right."""


class NativePredictor:
    """Of one vocabulary; csrc/predictor.h says how it guesses. Not thread-safe."""

    def __init__(self, vocab_size: int, habits: HabitTables | None = None) -> None:
        """Raises ConfigError where there is no memory for it, or where habits have other sizes than those above."""
        self._library = load()
        self._habits = habits  # read where they are
        self.handle = ctypes.c_void_p()
        """For the step: rx::Predictor."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        entries, rates = (0, 0), (0, 0)
        if habits is not None:
            assert habits.entries_N.dtype == ENTRY
            assert habits.rates_SOL2.dtype == np.float64
            assert habits.entries_N.flags.c_contiguous
            assert habits.rates_SOL2.flags.c_contiguous
            entries = habits.entries_N.ctypes.data, habits.entries_N.size
            rates = habits.rates_SOL2.ctypes.data, habits.rates_SOL2.size // 2
        if self._library.rx_predictor_new(
            vocab_size, *entries, *rates, ctypes.byref(self.handle), message, MESSAGE_BYTES
        ):
            raise ConfigError(f"tokens cannot be guessed: {message.value.decode(errors='replace')}")
        weakref.finalize(self, self._library.rx_predictor_free, self.handle)

    def learn(self, ids_N: Int32, begin: int) -> None:
        """That ids_N[begin:] came, each behind those before it."""
        ids_N = np.ascontiguousarray(ids_N, np.int32)
        self._library.rx_predictor_learn(self.handle, ids_N.ctypes.data, begin, ids_N.size)


def context_places(ids_N: Int32) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Where tables keep what follows ids_N[:n], for each n below N: indices into `entries_N` (-1 where the text is too
    short for an order) and tags, both [N, NUM_ORDERS]."""
    ids_N = np.ascontiguousarray(ids_N, np.int32)
    indices_NO = np.empty((ids_N.size, NUM_ORDERS), np.int32)
    tags_NO = np.empty((ids_N.size, NUM_ORDERS), np.uint16)
    load().rx_context_places(ids_N.ctypes.data, ids_N.size, indices_NO.ctypes.data, tags_NO.ctypes.data)
    return indices_NO, tags_NO
