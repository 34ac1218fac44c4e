"""What the native step computes on, for every format that checkpoints hold: `radixlang formats` prints it.

A format is computed on as stored where its codes, scales and offsets are those of the file, whatever the width of a
code in memory; activations are 8-bit integers in groups of 32 then. The layouts: kernels/csrc/pack.h.
"""

from __future__ import annotations

from typing import NamedTuple


class Form(NamedTuple):
    """One row of the table."""

    stored: str
    """The format in the file; GGUF's names, and what quantization_config calls the others."""
    packed: str
    """The format that is packed (PackedTensor.format)."""
    codes: str
    """What is multiplied."""
    bits: float
    """Of a weight in memory, with its share of scales and offsets."""
    error: str
    """What differs from the file's numbers."""


_OFFSETS = "offsets within 1/16382 of their row's largest"
FORMS = (
    Form("F32", "F32", "float32", 32, "none"),
    Form("F16", "F16", "float16, in float32", 16, "none"),
    Form("BF16", "BF16", "bfloat16", 16, "none; activations in bfloat16 where the CPU multiplies these"),
    Form("Q4_0", "Q4_0", "4-bit groups", 4.5, "none"),
    Form("Q4_1", "Q4_1", "4-bit groups with offsets", 5, _OFFSETS),
    Form("Q4_K", "Q4_K", "4-bit groups with offsets", 5.5, _OFFSETS),
    Form("Q5_0", "Q5_0", "8-bit groups", 8.5, "none"),
    Form("Q5_1", "Q5_1", "8-bit groups with offsets", 9, _OFFSETS),
    Form("Q5_K", "Q5_K", "8-bit groups with offsets", 9.5, _OFFSETS),
    Form("Q8_0", "Q8_0", "8-bit groups", 8.5, "none"),
    Form("Q2_K", "Q2_K", "8-bit groups with offsets", 9.5, "rounded anew: 1/510 of a group's range; " + _OFFSETS),
    Form("Q3_K", "Q3_K", "8-bit groups", 8.5, "none"),
    Form("Q6_K", "Q6_K", "8-bit groups", 9, "rounded anew: 1/254 of a group's largest weight"),
    Form("IQ4_NL", "IQ4_NL", "8-bit groups", 8.5, "none"),
    Form("IQ4_XS", "IQ4_XS", "8-bit groups", 9, "none"),
    Form("GPTQ, AWQ, W4A16", "A4", "4-bit groups with offsets", 5.5, _OFFSETS),
    Form("the same, symmetric", "Q4_0", "4-bit groups", 4.5, "none"),
    Form("GPTQ 8 bits, W8A16, int8", "A8", "8-bit groups with offsets", 9.5, _OFFSETS),
    Form("the same, symmetric", "Q8_0", "8-bit groups", 8.5, "none"),
    Form("FP8, NVFP4", "BF16", "bfloat16", 16, "rounded: 1/512 of a weight, where its scale is no power of two"),
    Form("integers in groups of 16", "F32", "widened to float32", 32, "none"),
)
"""Symmetric: scales that fp16 holds, zeros in the middle."""


def table() -> list[str]:
    """As lines of Markdown."""
    head = ("stored", "computed on", "bits in memory", "error of the weights")
    rows = [head, *((f.stored, f.codes, f"{f.bits:g}", f.error) for f in FORMS)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]

    def line(cells: tuple[str, ...]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    return [line(rows[0]), line(tuple("-" * width for width in widths)), *map(line, rows[1:])]
