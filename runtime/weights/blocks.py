"""Blocks of 32 weights from integers, scales and offsets: the forms that native linears compute on as they are.

Q4_0, Q4_1 and Q8_0 are GGUF's. A4 and A8 are ours, for integers whose scale or offset fp16 does not hold (GPTQ, AWQ and
the like): the codes, then float32 scale d and offset m; weight = d * code + m, and in Q4_1. The symmetric formats have
no offset: weight = d * (code - 8) in Q4_0, d * (code - 128) in Q8_0. Read by kernels/csrc/pack_formats.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Weights of one block."""
_NIBBLES, _BYTES = ("q", "u1", (16,)), ("q", "u1", (32,))
_LAYOUTS: dict[str, np.dtype[Any]] = {
    "Q4_0": np.dtype([("d", "<f2"), _NIBBLES]),
    "Q4_1": np.dtype([("d", "<f2"), ("m", "<f2"), _NIBBLES]),
    "Q8_0": np.dtype([("d", "<f2"), _BYTES]),
    "A4": np.dtype([_NIBBLES, ("d", "<f4"), ("m", "<f4")]),
    "A8": np.dtype([_BYTES, ("d", "<f4"), ("m", "<f4")]),
}


def block_bytes(format_: str) -> int:
    """Raises KeyError for a format that is not made here."""
    return _LAYOUTS[format_].itemsize


def make_blocks(
    format_: str,
    codes_NK: NDArray[np.uint8],
    scales_NG: NDArray[np.floating[Any]],
    offsets_NG: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.uint8]:
    """Rows of blocks, [N, bytes of a row]. codes: below 16 or 256, inputs K = 32 * G, one scale for each 32.

    offsets: of the formats that have one.
    """
    blocks = np.empty(scales_NG.shape, _LAYOUTS[format_])
    codes = codes_NK.reshape(*scales_NG.shape, BLOCK)
    if format_ in ("Q4_0", "Q4_1", "A4"):
        blocks["q"] = codes[..., : BLOCK // 2] | codes[..., BLOCK // 2 :] << np.uint8(4)
    elif format_ == "Q8_0":
        blocks["q"] = codes ^ np.uint8(128)  # the bits of the code less 128, in two's complement
    else:
        blocks["q"] = codes
    blocks["d"] = scales_NG
    if offsets_NG is not None:
        blocks["m"] = offsets_NG
    return blocks.view(np.uint8).reshape(len(scales_NG), -1)


def read_nibbles(
    format_: str, blocks_NB: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """(codes [N, K] below 16, scales [N, G], offsets [N, G]) of Q4_0, Q4_1 or A4: weight = scale * code + offset."""
    blocks = blocks_NB.view(_LAYOUTS[format_])
    codes = np.concatenate((blocks["q"] & 15, blocks["q"] >> 4), axis=-1)
    scales = blocks["d"].astype(np.float32)
    offsets = -8.0 * scales if format_ == "Q4_0" else blocks["m"].astype(np.float32)
    return codes.reshape(len(blocks), -1), scales, offsets
