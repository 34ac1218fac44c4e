"""Small arrays to the device: one pinned buffer, one asynchronous copy a step and kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TYPES = {"f8": torch.float64, "f4": torch.float32, "i4": torch.int32}


def send(arrays: list[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Each array on the device, all by one copy. float64 before the types of 4 bytes.

    The allocator of pinned memory keeps the buffer until the copy is done.
    """
    flat = np.concatenate([np.ascontiguousarray(a).view(np.int32).ravel() for a in arrays])
    host = torch.from_numpy(flat)
    there = host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
    parts, at = [], 0
    for array in arrays:
        end = at + array.nbytes // 4
        parts.append(there[at:end].view(_TYPES[array.dtype.str[1:]]).view(array.shape))
        at = end
    return parts


class Fetched:
    """Tensors on their way to the host."""

    def __init__(self, tensors: list[Tensor]) -> None:
        """Copies what the current stream will have computed."""
        self._event: torch.cuda.Event | None = None
        if tensors and tensors[0].is_cuda:
            self._host = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            for host, tensor in zip(self._host, tensors, strict=True):
                host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._host = tensors

    @property
    def is_here(self) -> bool:
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> list[NDArray[Any]]:
        """Blocks without the GIL."""
        if self._event is not None:
            self._event.synchronize()
        return [t.numpy() for t in self._host]
