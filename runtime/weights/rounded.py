"""`--quantize`: a checkpoint of floats whose matrices are rounded to 4 or 8 bits in groups of 32, when they are packed.

w4: code 0 to 15 times a scale, plus an offset (Q4_1, 5 bits a weight). w8: code -128 to 127 times a scale (Q8_0, 8.5
bits). The embedding and the head are rounded to 8 bits in both: they are looked at token by token, and errors there
reach the logits directly. Of a few scales for each group the one with the least squared error is taken; w4 solves scale
and offset from the codes once more, as llama.cpp's make_qkx2_quants does. What is no matrix, or not of whole groups,
stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadCheckpoint, ConfigError
from ..model.config import ModelConfig
from .blocks import BLOCK, make_blocks
from .checkpoint import Checkpoint, PackedTensor
from .dequant import dequantise

Floats = NDArray[np.float32]

FLOATS = frozenset({"F32", "F16", "BF16"})
_VERSION = 1
"""Of the rounding: packed weights are cached under it."""
_BYTES = ("model.embed_tokens.weight", "lm_head.weight")
_SHRINK = (1.0, 0.95, 0.9)
"""Shares of a group's range that the 16 codes of w4 are tried on."""
_LEVELS = (127.0, -128.0, 128.0, 126.5)
"""Codes of w8 that the largest weight of a group is tried as."""
_CHUNK = 1 << 17
"""Weights rounded at a time: what temporaries may take, and stay in the caches."""


class RoundedCheckpoint:
    """See `Checkpoint`; the numbers are the rounded ones, in `dense` too."""

    def __init__(self, checkpoint: Checkpoint, bits: Literal["w4", "w8"]) -> None:
        """Closing closes `checkpoint`. Raises ConfigError for one that is quantised already."""
        quantised = sorted(set(checkpoint.formats()) - FLOATS)
        if quantised:
            raise ConfigError(
                f"--quantize {bits}: {checkpoint.path.name} is quantised already ({', '.join(quantised)}); drop the "
                "option, or take a copy of the model in F32, F16 or BF16",
                param="quantize",
            )
        self._checkpoint = checkpoint
        self._matrices = "Q4_1" if bits == "w4" else "Q8_0"
        self.path: Path = checkpoint.path
        self.config: ModelConfig = checkpoint.config
        self.digest = f"{checkpoint.digest} {bits}.{_VERSION}"

    def names(self) -> list[str]:
        return self._checkpoint.names()

    def formats(self) -> list[str]:
        return sorted({self.packed(name).format for name in self.names()})

    def packed(self, name: str) -> PackedTensor:
        """Raises BadCheckpoint (when its data is asked for) for weights that no scale in fp16 can hold."""
        tensor = self._checkpoint.packed(name)
        if len(tensor.shape) != 2 or tensor.shape[1] % BLOCK:
            return tensor
        format_ = "Q8_0" if name in _BYTES else self._matrices
        return PackedTensor(name, format_, tensor.shape, lambda: self._rounded(tensor, format_))

    def dense(self, name: str) -> Floats:
        tensor = self.packed(name)
        return dequantise(tensor.data, tensor.format, tensor.shape)

    def forget_pages(self) -> None:
        self._checkpoint.forget_pages()

    def close(self) -> None:
        self._checkpoint.close()

    def _rounded(self, tensor: PackedTensor, format_: str) -> NDArray[np.uint8]:
        rows, depth = tensor.shape
        data = tensor.data
        step = max(1, _CHUNK // depth)
        rounding: Callable[[Floats], _Groups] = to_bytes if format_ == "Q8_0" else to_nibbles

        def some(first: int) -> NDArray[np.uint8]:
            part = data[first : first + step]
            weights = dequantise(part, tensor.format, (len(part), depth))
            with np.errstate(invalid="ignore", over="ignore"):
                found = rounding(weights.reshape(-1, BLOCK))
            if np.isnan(found.scales).any():
                raise BadCheckpoint(
                    f"{self.path}: {tensor.name} has weights that are not finite, or too large for 16 bits; it cannot "
                    "be quantised"
                )
            groups = (len(part), depth // BLOCK)
            offsets = found.offsets.reshape(groups) if format_ == "Q4_1" else None
            return make_blocks(format_, found.codes, found.scales.reshape(groups), offsets)

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(cores) as pool:
            return np.concatenate(list(pool.map(some, range(0, rows, step))))


class _Groups(NamedTuple):
    """Weight [g, i] is scales[g] * codes[g, i] + offsets[g]; of bytes, scales[g] * (codes[g, i] - 128)."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    offsets: NDArray[np.float16]


class _Best:
    """The codes with the least squared error so far, for each group."""

    def __init__(self, weights: Floats) -> None:
        self._weights = weights
        self._error = np.full(len(weights), np.inf, np.float32)
        self._codes = np.zeros(weights.shape, np.float32)
        self._scales = np.full(len(weights), np.nan, np.float16)
        self._offsets = np.zeros(len(weights), np.float16)

    def offer(self, scales: Floats, offsets: Floats, low: int, high: int) -> Floats:
        """Rounds with these, as fp16 holds them, and keeps what is better. Returns the codes [groups, 32]."""
        short, shift = scales.astype(np.float16), offsets.astype(np.float16)
        d, m = short.astype(np.float32)[:, None], shift.astype(np.float32)[:, None]
        codes: Floats = np.divide(self._weights - m, d, out=np.zeros_like(self._weights), where=d != 0)
        np.clip(np.rint(codes, out=codes), low, high, out=codes)
        left = codes * d
        left += m
        left -= self._weights
        error = np.einsum("gi,gi->g", left, left)
        better = error < self._error
        self._error[better] = error[better]
        self._codes[better] = codes[better]
        self._scales[better], self._offsets[better] = short[better], shift[better]
        return codes

    def groups(self, *, zero: int) -> _Groups:
        """zero: what is added to each code. Scales are NaN where weights are not finite or beyond fp16."""
        return _Groups((self._codes + zero).astype(np.uint8), self._scales, self._offsets)


def to_nibbles(weights: Floats) -> _Groups:
    """[groups, 32] to codes of 4 bits with a scale and an offset."""
    best = _Best(weights)
    low, high = weights.min(axis=1), weights.max(axis=1)
    middle, reach = (low + high) / 2, (high - low) / 2
    for share in _SHRINK:
        codes = best.offer(reach * share / 7.5, middle - reach * share, 0, 15)
        scales, offsets = _fit(weights, codes)
        best.offer(scales, offsets, 0, 15)
    return best.groups(zero=0)


def _fit(weights: Floats, codes: Floats) -> tuple[Floats, Floats]:
    """The scale and the offset of least squared error for these codes."""
    n = np.float32(BLOCK)
    sum_q, sum_w = codes.sum(axis=1), weights.sum(axis=1)
    spread = n * np.einsum("gi,gi->g", codes, codes) - sum_q * sum_q
    together = n * np.einsum("gi,gi->g", codes, weights) - sum_q * sum_w
    scales = np.divide(together, spread, out=np.zeros_like(spread), where=spread > 0)
    return scales, (sum_w - scales * sum_q) / n


def to_bytes(weights: Floats) -> _Groups:
    """[groups, 32] to codes of 8 bits about 128 with a scale."""
    best = _Best(weights)
    at = np.abs(weights).argmax(axis=1)
    largest = np.take_along_axis(weights, at[:, None], axis=1)[:, 0]
    nothing = np.zeros(len(weights), np.float32)
    for level in _LEVELS:
        best.offer(largest / np.float32(level), nothing, -128, 127)
    return best.groups(zero=128)
