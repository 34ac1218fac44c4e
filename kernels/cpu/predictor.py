"""The native predictor from Python: what followed the last tokens before, kept in tables of a fixed size."""

from __future__ import annotations

import ctypes
import weakref

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .load import MESSAGE_BYTES, load

Int32 = NDArray[np.int32]


class NativePredictor:
    """Of one vocabulary; csrc/predictor.h says how it guesses. Not thread-safe."""

    def __init__(self, vocab_size: int) -> None:
        """Raises ConfigError where there is no memory for it."""
        self._library = load()
        self.handle = ctypes.c_void_p()
        """For the step: rx::Predictor."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        if self._library.rx_predictor_new(vocab_size, ctypes.byref(self.handle), message, MESSAGE_BYTES):
            raise ConfigError(f"no memory to guess tokens with: {message.value.decode(errors='replace')}")
        weakref.finalize(self, self._library.rx_predictor_free, self.handle)

    def learn(self, ids_N: Int32, begin: int) -> None:
        """That ids_N[begin:] came, each behind those before it."""
        ids_N = np.ascontiguousarray(ids_N, np.int32)
        self._library.rx_predictor_learn(self.handle, ids_N.ctypes.data, begin, ids_N.size)
