"""Small arrays to the device: one pinned buffer, one asynchronous copy a step and kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TYPES = {"f8": torch.float64, "f4": torch.float32, "i4": torch.int32}


ALIGNED = 4
"""Words of 4 bytes: every part begins at 16 bytes: Triton compiles a kernel anew for each pattern of alignment."""


def send(arrays: list[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Each array (of 4 or 8 bytes an item) on the device, all by one copy.

    The allocator of pinned memory keeps the buffer until the copy is done.
    """
    words = [np.ascontiguousarray(array).view(np.int32).ravel() for array in arrays]
    begins = np.cumsum([0, *(-(-len(part) // ALIGNED) * ALIGNED for part in words)])
    flat = np.zeros(max(int(begins[-1]), ALIGNED), np.int32)
    for part, begin in zip(words, begins.tolist(), strict=False):
        flat[begin : begin + len(part)] = part
    host = torch.from_numpy(flat)
    there = host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
    return [
        there[begin : begin + len(part)].view(_TYPES[array.dtype.str[1:]]).view(array.shape)
        for array, part, begin in zip(arrays, words, begins.tolist(), strict=False)
    ]


class Fetched:
    """Tensors on their way to the host."""

    def __init__(self, tensors: list[Tensor], stream: torch.cuda.Stream | None) -> None:
        """stream: copies there what the current stream will have computed; None: the tensors are the host's."""
        self._event: torch.cuda.Event | None = None
        self._host = tensors
        if stream is not None:
            self._host = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            stream.wait_stream(torch.cuda.current_stream(stream.device))
            with torch.cuda.stream(stream):
                for host, tensor in zip(self._host, tensors, strict=True):
                    host.copy_(tensor, non_blocking=True)
                    if tensor.is_cuda:  # its memory is not given to others before the copy is done
                        tensor.record_stream(stream)
                self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._event.record()

    def wait(self) -> list[NDArray[Any]]:
        """Blocks without the GIL."""
        if self._event is not None:
            self._event.synchronize()
        return [t.numpy() for t in self._host]
