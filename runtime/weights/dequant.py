"""Packed weights to float32, exactly as their formats define them.

Each format packs a row into blocks; a function here takes blocks [n, bytes of a block] and returns [n, values of one].
The nibbles of a byte are not neighbours: byte i of a half block holds values i and i + half. Source: ggml's
ggml-quants.c (dequantize_row_*); the tests hold every function to the gguf package, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .gguf_header import BLOCKS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CHUNK_VALUES = 1 << 22
"""Values dequantised at a time: what temporaries may take."""
_IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32)


def _half(blocks: Bytes, at: int) -> Floats:
    """The fp16 at byte `at` of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _bits(packed: Bytes, width: int, run: int) -> Bytes:
    """Fields of `width` bits: of each `run` bytes all lowest fields, then the next. [n, bytes] to [n, fields]."""
    shifts = np.arange(0, 8, width, dtype=np.uint8).reshape(1, 1, -1, 1)
    fields = (packed.reshape(len(packed), -1, 1, run) >> shifts) & np.uint8((1 << width) - 1)
    return fields.reshape(len(packed), -1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """32 single bits, little-endian, of the 4 bytes at `at`; as 0 or 16."""
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)


def _f32(blocks: Bytes) -> Floats:
    return blocks.view(np.float32)


def _f16(blocks: Bytes) -> Floats:
    return blocks.view(np.float16).astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (blocks.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(values_NK: Floats) -> Bytes:
    """[N, K] to the bytes of the nearest bfloat16 numbers, [N, 2 K]; ties to even. NaN stays."""
    bits = np.ascontiguousarray(values_NK).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    rounded[np.isnan(values_NK)] = 0x7FC00000
    return (rounded >> np.uint32(16)).astype(np.uint16).view(np.uint8)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_bits(blocks[:, 2:], 4, 16).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _bits(blocks[:, 4:], 4, 16).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * ((_bits(blocks[:, 6:], 4, 16) | _fifth_bits(blocks, 2)).astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Floats:
    values = _bits(blocks[:, 8:], 4, 16) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * values.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32) * _half(blocks, 0)


def _groups(values: Bytes | Floats, count: int) -> Floats:
    """[n, 256] as [n, count, 256 / count]."""
    return values.astype(np.float32).reshape(len(values), count, -1)


def _q2_k(blocks: Bytes) -> Floats:
    scales = blocks[:, :16]
    scale = (_half(blocks, 80) * (scales & 15).astype(np.float32))[:, :, None]
    least = (_half(blocks, 82) * (scales >> 4).astype(np.float32))[:, :, None]
    return (scale * _groups(_bits(blocks[:, 16:80], 2, 32), 16) - least).reshape(len(blocks), 256)  # pyright: ignore[reportReturnType]


def _q3_k(blocks: Bytes) -> Floats:
    packed = blocks[:, 96:108]  # sixteen 6-bit scales: low nibbles in 8 bytes, high pairs in 4
    six = _bits(packed[:, :8], 4, 8) | (_bits(packed[:, 8:], 2, 4) << np.uint8(4))
    scale = (_half(blocks, 108) * (six.astype(np.float32) - 32))[:, :, None]
    high = _bits(blocks[:, :32], 1, 32) ^ np.uint8(1)  # a set bit means that 4 is not taken off
    values = _bits(blocks[:, 32:96], 2, 32).astype(np.float32) - 4 * high.astype(np.float32)
    return (scale * _groups(values, 16)).reshape(len(blocks), 256)


def _k_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Scale and minimum of the eight groups of 32 in Q4_K and Q5_K, [n, 8, 1] each."""
    low, mid, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 2) & 48)], axis=1)
    minima = np.concatenate([mid & 63, (high >> 4) | ((mid >> 2) & 48)], axis=1)
    scale = _half(blocks, 0) * scales.astype(np.float32)
    least = _half(blocks, 2) * minima.astype(np.float32)
    return scale[:, :, None], least[:, :, None]


def _q4_k(blocks: Bytes) -> Floats:
    scale, least = _k_scales(blocks)
    return (scale * _groups(_bits(blocks[:, 16:], 4, 32), 8) - least).reshape(len(blocks), 256)


def _q5_k(blocks: Bytes) -> Floats:
    scale, least = _k_scales(blocks)
    values = _bits(blocks[:, 48:], 4, 32) | (_bits(blocks[:, 16:48], 1, 32) << np.uint8(4))
    return (scale * _groups(values, 8) - least).reshape(len(blocks), 256)


def _q6_k(blocks: Bytes) -> Floats:
    values = _bits(blocks[:, :128], 4, 64) | (_bits(blocks[:, 128:192], 2, 32) << np.uint8(4))
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    scale = (_half(blocks, 208) * scales)[:, :, None]
    return (scale * (_groups(values, 16) - 32)).reshape(len(blocks), 256)


def _iq4_nl(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _IQ4_VALUES[_bits(blocks[:, 2:], 4, 16)]


def _iq4_xs(blocks: Bytes) -> Floats:
    high = np.ascontiguousarray(blocks[:, 2:4]).view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16)
    low = _bits(blocks[:, 4:8], 4, 1)
    six = low | ((high & 3).astype(np.uint8) << np.uint8(4))
    scale = (_half(blocks, 0) * (six.astype(np.float32) - 32))[:, :, None]
    return (scale * _IQ4_VALUES[_bits(blocks[:, 8:], 4, 16)].reshape(len(blocks), 8, 32)).reshape(len(blocks), 256)


DEQUANTISERS: dict[str, Callable[[Bytes], Floats]] = {
    "F32": _f32, "F16": _f16, "BF16": _bf16, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
}  # fmt: skip


def row_bytes(format_: str, num_values: int) -> int:
    """Bytes of a row of `num_values` values; they fill whole blocks."""
    values, size = BLOCKS[format_]
    assert num_values % values == 0
    return num_values // values * size


def dequantise(data: Bytes, format_: str, shape: tuple[int, ...]) -> Floats:
    """A new float32 array of `shape`. `data`: uint8, the blocks of all rows, row-major, in any shape."""
    values, size = BLOCKS[format_]
    blocks = data.reshape(-1, size)
    out = np.empty((len(blocks), values), dtype=np.float32)
    unpack = DEQUANTISERS[format_]
    step = max(1, _CHUNK_VALUES // values)
    with np.errstate(invalid="ignore", over="ignore"):  # a NaN or infinite scale is the checkpoint's own
        for first in range(0, len(blocks), step):
            part = np.ascontiguousarray(blocks[first : first + step])
            if part.ctypes.data % 4:
                part = part.copy()  # a view as float32 wants aligned bytes
            out[first : first + step] = unpack(part)
    return out.reshape(shape)
