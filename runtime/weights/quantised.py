"""Quantised linears of safetensors checkpoints, back to float32, exactly: GPTQ, AWQ, compressed-tensors and FP8.

N output and K input features, G groups of inputs that share a scale. Every layout packs small integers into words of 32
bits, lowest first; they differ in which axis is packed, in the order and in what is taken off.
Sources: AutoGPTQ's qlinear (zeros are stored less one, but not in gptq_v2), AutoAWQ's packing_utils (columns 0 2 4 6 1
3 5 7 of each eight), compressed-tensors' pack_to_int32, DeepSeek-V3's weight_scale_inv.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadCheckpoint, UnsupportedModel

Floats = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

SUFFIXES = (
    "qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "weight_zero_point", "weight_shape",
    "weight_g_idx", "weight_global_scale", "weight_scale_inv",
)  # fmt: skip
"""Names after a linear's own that only quantised checkpoints have. `weight` itself may be integers or FP8 there."""
_IGNORED = ("input_scale", "input_global_scale", "input_zero_point", "k_scale", "v_scale", "output_scale")
"""Of quantised activations and caches: weights alone are quantised here."""
_AWQ_COLUMNS = np.array([0, 2, 4, 6, 1, 3, 5, 7])
_FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)

_STORED = {
    "qweight": "i", "qzeros": "i", "g_idx": "il", "scales": "ef", "weight_packed": "iB", "weight": "bB",
    "weight_shape": "il", "weight_g_idx": "il", "weight_scale": "efB", "weight_scale_inv": "ef",
    "weight_zero_point": "bil", "weight_global_scale": "ef",
}  # fmt: skip
"""numpy's letters of the types that each part may have."""
_MISFITS = (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError)
"""What numpy and Python say of parts that do not fit together."""


def _fp8_table() -> Floats:
    """E4M3 without infinities. Source: FP8 Formats for Deep Learning, arXiv 2209.05433."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value[(codes & 127) == 127] = np.nan
    return np.where(codes & 128, -value, value).astype(np.float32)


_FP8 = _fp8_table()


class Scheme(NamedTuple):
    """What quantization_config says and the tensors do not."""

    method: Literal["gptq", "awq", "stored"]
    """stored: compressed-tensors and FP8, whose tensors tell all."""
    bits: int = 4
    zero_offset: int = 1
    """GPTQ: added to stored zeros."""
    block: tuple[int, int] = (128, 128)
    """Rows and columns that share a scale, where scales are blocks."""


def scheme_of(config: object, path: Path) -> Scheme | None:
    """From config.json's quantization_config; None where nothing is quantised. Raises UnsupportedModel."""
    if not isinstance(config, Mapping):
        return None
    method = config.get("quant_method")
    bits = config.get("bits", 4)
    if method == "gptq" and bits in (2, 4, 8) and config.get("checkpoint_format", "gptq") in ("gptq", "gptq_v2"):
        return Scheme("gptq", bits, 0 if config.get("checkpoint_format") == "gptq_v2" else 1)
    if method == "awq" and bits == 4 and str(config.get("version", "gemm")).lower() == "gemm":
        return Scheme("awq")
    if method in ("compressed-tensors", "fp8"):
        return Scheme("stored", block=_block(config))
    raise UnsupportedModel(
        f"{path}: quantization {str(method)[:40]!r} with {str(bits)[:10]} bits is not read; GPTQ (2, 4, 8 bits), "
        "AWQ (gemm), compressed-tensors and FP8 are",
        param="model",
    )


def _block(config: Mapping[str, Any]) -> tuple[int, int]:
    found = config.get("weight_block_size")
    groups = config.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        found = found or (weights.get("block_structure") if isinstance(weights, Mapping) else None)
    if isinstance(found, list) and len(found) == 2 and all(type(x) is int and x > 0 for x in found):
        return found[0], found[1]
    return 128, 128


def is_ignored(name: str) -> bool:
    """Whether a tensor tells about activations only."""
    return name.rpartition(".")[2] in _IGNORED


class QuantisedLinear:
    """One linear: its parts as arrays of what they store (FP8 and BF16 as raw integers), by suffix."""

    def __init__(self, scheme: Scheme, arrays: Arrays, where: str) -> None:
        self.scheme = scheme
        self.arrays = arrays
        self.where = where
        try:
            for suffix, array in arrays.items():
                if suffix in _STORED and array.dtype.char not in _STORED[suffix]:
                    raise ValueError(f"{suffix} is {array.dtype}")
            self.shape = self._shape()
        except _MISFITS as error:
            raise self._bad(error) from None

    def dense(self) -> Floats:
        """[N, K] float32. Raises BadCheckpoint for parts that do not fit together."""
        try:
            found = self._dense()
        except _MISFITS as error:
            raise self._bad(error) from None
        assert found.shape == self.shape
        assert found.dtype == np.float32
        return found

    def _bad(self, error: Exception) -> BadCheckpoint:
        return BadCheckpoint(f"{self.where}: quantised tensors that do not fit together ({error}); download it again")

    def _shape(self) -> tuple[int, int]:
        if self.scheme.method == "gptq":
            words, outputs = self.arrays["qweight"].shape
            return outputs, words * (32 // self.scheme.bits)
        if self.scheme.method == "awq":
            inputs, words = self.arrays["qweight"].shape
            return words * 8, inputs
        if "weight_packed" not in self.arrays:
            outputs, inputs = self.arrays["weight"].shape
            return outputs, inputs
        outputs, words = self.arrays["weight_packed"].shape
        if self.arrays["weight_packed"].dtype == np.uint8:
            return outputs, words * 2
        told, inputs = (int(x) for x in self.arrays["weight_shape"])
        if told != outputs or not words * 4 <= inputs <= words * 8:
            raise ValueError(f"weight_shape {[told, inputs]} of {outputs} rows of {words} words")
        return outputs, inputs

    def _dense(self) -> Floats:
        if self.scheme.method == "gptq":
            return self._gptq()
        if self.scheme.method == "awq":
            return self._awq()
        if "weight_packed" not in self.arrays:
            return self._stored_bytes()
        return self._nvfp4() if self.arrays["weight_packed"].dtype == np.uint8 else self._packed()

    def _gptq(self) -> Floats:
        outputs, inputs = self.shape
        bits, arrays = self.scheme.bits, self.arrays
        values = _fields(arrays["qweight"].T, bits)  # [N, K]: words run along the inputs
        zeros = _fields(arrays["qzeros"], bits) + self.scheme.zero_offset  # [G, N]
        scales = arrays["scales"].astype(np.float32)  # [G, N]
        group = arrays["g_idx"] if "g_idx" in arrays else np.arange(inputs) // -(-inputs // len(scales))
        if group.shape != (inputs,) or group.min() < 0 or not zeros.shape == scales.shape == (len(zeros), outputs):
            raise ValueError(f"groups {group.shape}, zeros {zeros.shape}, scales {scales.shape}")
        return (values - zeros.T[:, group]).astype(np.float32) * scales.T[:, group]

    def _awq(self) -> Floats:
        outputs, inputs = self.shape
        arrays = self.arrays

        def columns(words: NDArray[Any]) -> NDArray[np.int32]:
            eights = _fields(words, 4).reshape(len(words), -1, 8)
            ordered = np.empty_like(eights)
            ordered[:, :, _AWQ_COLUMNS] = eights
            return ordered.reshape(len(words), -1)

        scales = arrays["scales"].astype(np.float32)  # [G, N]
        zeros = columns(arrays["qzeros"])
        if scales.shape != (len(zeros), outputs) or zeros.shape != scales.shape:
            raise ValueError(f"zeros {zeros.shape}, scales {scales.shape}")
        times = _exactly(inputs, len(scales))
        values = (columns(arrays["qweight"]) - zeros.repeat(times, 0)).astype(np.float32)
        return (values * scales.repeat(times, 0)).T

    def _packed(self) -> Floats:
        outputs, inputs = self.shape
        words = self.arrays["weight_packed"]
        bits = 4 if inputs > words.shape[1] * 4 else 8
        values = _fields(words, bits)[:, :inputs] - (1 << (bits - 1))
        scales = _scales(self.arrays["weight_scale"], outputs)  # [N, G]
        if "weight_zero_point" in self.arrays:  # packed along the outputs
            zeros = _fields(self.arrays["weight_zero_point"].T, bits).T[:outputs] - (1 << (bits - 1))
        else:
            zeros = np.zeros(scales.shape, np.int32)
        if zeros.shape != scales.shape:
            raise ValueError(f"zeros {zeros.shape}, scales {scales.shape}")
        group = self.arrays.get("weight_g_idx")
        if group is None or (group < 0).any():
            group = np.arange(inputs) // _exactly(inputs, scales.shape[1])
        return (values - zeros[:, group]).astype(np.float32) * scales[:, group]

    def _nvfp4(self) -> Floats:
        outputs, inputs = self.shape
        values = _FP4[_fields(self.arrays["weight_packed"], 4)]
        scales = _FP8[self.arrays["weight_scale"]] / self.arrays["weight_global_scale"].astype(np.float32).reshape(1, 1)
        if scales.shape[0] != outputs:
            raise ValueError(f"scales {scales.shape}")
        found: Floats = values * scales.repeat(_exactly(inputs, scales.shape[1]), 1)
        return found

    def _stored_bytes(self) -> Floats:
        """int8 or FP8 weights with one scale for all, for each row, for groups of a row or for blocks."""
        outputs, inputs = self.shape
        weight = self.arrays["weight"]
        values = _FP8[weight] if weight.dtype == np.uint8 else weight.astype(np.float32)
        scales = self.arrays["weight_scale_inv"] if "weight_scale_inv" in self.arrays else self.arrays["weight_scale"]
        scales = scales.astype(np.float32)
        if scales.size == 1:
            return values * scales.reshape(1, 1)
        rows, columns = min(self.scheme.block[0], outputs), min(self.scheme.block[1], inputs)
        if scales.shape == (-(-outputs // rows), -(-inputs // columns)):
            return values * scales.repeat(rows, 0)[:outputs].repeat(columns, 1)[:, :inputs]
        scales = _scales(scales, outputs)
        if "weight_zero_point" in self.arrays:
            zeros = _scales(self.arrays["weight_zero_point"], outputs)
            values = values - zeros.repeat(_exactly(inputs, zeros.shape[1]), 1)
        found: Floats = values * scales.repeat(_exactly(inputs, scales.shape[1]), 1)
        return found


def _fields(words: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """[rows, words] to [rows, fields], the lowest bits of a word first."""
    width = words.dtype.itemsize * 8
    shifts = np.arange(0, width, bits, dtype=np.uint32)
    unsigned = np.ascontiguousarray(words).view(np.uint8 if width == 8 else np.uint32).astype(np.uint32)
    fields = (unsigned[:, :, None] >> shifts) & np.uint32((1 << bits) - 1)
    return fields.reshape(len(words), -1).astype(np.int32)


def _scales(found: NDArray[Any], outputs: int) -> Floats:
    """As [N, G], whether stored so, as [N] or as one number."""
    found = found.reshape(-1, 1) if found.ndim < 2 else found
    found = found.repeat(outputs, 0) if len(found) == 1 else found
    if found.ndim != 2 or len(found) != outputs:
        raise ValueError(f"{len(found)} rows of scales for {outputs} outputs")
    return found.astype(np.float32)


def _exactly(total: int, parts: int) -> int:
    if total % parts:
        raise ValueError(f"{total} inputs in {parts} groups")
    return total // parts
