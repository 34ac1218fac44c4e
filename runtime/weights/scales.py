"""Scales of packed blocks that no arithmetic survives: NaN and infinity. Looked for when weights are packed, once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .gguf_header import BLOCKS

_SCALES: dict[str, tuple[int, ...]] = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
}  # fmt: skip
"""Where the fp16 scales and offsets lie in a block. Source: ggml-common.h."""
_EXPONENT = np.uint8(0x7C)
"""In the high byte of an fp16: all ones for what is not finite."""


def first_bad_row(format_: str, rows: NDArray[np.uint8]) -> int | None:
    """The first row with a scale or offset that is not finite. rows: [rows, bytes of a row]; formats without scales
    have none."""
    for at in _SCALES.get(format_, ()):
        blocks = rows.reshape(len(rows), -1, BLOCKS[format_][1])
        bad = (blocks[:, :, at + 1] & _EXPONENT) == _EXPONENT
        if bad.any():
            return int(bad.any(axis=1).argmax())
    return None
