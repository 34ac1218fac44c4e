"""Quantised linears of safetensors checkpoints: GPTQ, AWQ, compressed-tensors and FP8.

Integers of 2, 4 and 8 bits become blocks that the native linears compute on (blocks.py) wherever 32 inputs share a
scale: neighbours, or any where inputs are taken in another order (GPTQ's act-order). Floating-point numbers of 4 and 8
bits times their scales become bfloat16 there. All become float32, exactly: for the reference, and for the native step
where groups are smaller.

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
from .checkpoint import Eights
from .dequant import to_bfloat16
from .integers import Integers

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
    rounds_inputs: bool = False
    """Whether linears of 8 bits are meant to be multiplied by inputs of 8 bits."""


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
        return Scheme("stored", block=_block(config), rounds_inputs=method == "fp8" or _rounds_inputs(config))
    raise UnsupportedModel(
        f"{path}: quantization {str(method)[:40]!r} of {str(bits)[:10]!r} bits is not read; GPTQ (2, 4, 8 bits), "
        "AWQ (gemm), compressed-tensors and FP8 are",
        param="model",
    )


def _rounds_inputs(config: Mapping[str, Any]) -> bool:
    groups = config.get("config_groups")
    inputs = [
        group.get("input_activations") if isinstance(group, Mapping) else None
        for group in (groups.values() if isinstance(groups, Mapping) else ())
    ]
    return bool(inputs) and all(isinstance(found, Mapping) and found.get("num_bits") == 8 for found in inputs)


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


class Compact(NamedTuple):
    """A format, and which input each of its columns is; None: in order."""

    format: str
    inputs_K: NDArray[np.int32] | None = None


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
            integers = self._integers()
            found = self._floats() if integers is None else integers.dense()
        except _MISFITS as error:
            raise self._bad(error) from None
        assert found.shape == self.shape
        assert found.dtype == np.float32
        return found

    def form(self) -> str | None:
        """The format of `blocks` that holds the same numbers as `dense`; None where none does. Reads scales and zeros
        only. Raises BadCheckpoint."""
        try:
            integers = self._integers()
            return None if integers is None else integers.form()
        except _MISFITS as error:
            raise self._bad(error) from None

    def compact(self) -> Compact | None:
        """What is smaller than float32 for a linear without a `form`: blocks of its inputs in another order, the same
        numbers; or bfloat16 for floating-point numbers of 4 and 8 bits. Raises BadCheckpoint."""
        try:
            integers = self._integers()
            if integers is None:
                return Compact("BF16")
            ordered, inputs_K = integers.by_group()
            form = ordered.form()
            return None if form is None else Compact(form, inputs_K)
        except _MISFITS as error:
            raise self._bad(error) from None

    def blocks(self, form: Compact) -> NDArray[np.uint8]:
        """[N, bytes of a row] in what `form` or `compact` told. Raises BadCheckpoint."""
        if form.format == "BF16":
            return to_bfloat16(self.dense())
        try:
            integers = self._integers()
            if integers is None:
                raise ValueError("no integers")
            return (integers if form.inputs_K is None else integers.by_group()[0]).blocks(form.format)
        except _MISFITS as error:
            raise self._bad(error) from None

    def eights(self) -> Eights | None:
        """None where inputs are not rounded, or the groups of a scale are not equal. Raises BadCheckpoint."""
        weight = self.arrays.get("weight")
        if not self.scheme.rounds_inputs or weight is None:
            return None
        try:
            if "weight_zero_point" in self.arrays and self.arrays["weight_zero_point"].any():
                return None
            outputs, inputs = self.shape
            scales = self.arrays.get("weight_scale_inv", self.arrays.get("weight_scale"))
            if scales is None:
                raise ValueError("no scales")
            scales = scales.astype(np.float32)
            block = self._block(scales)
            scales = scales.repeat(block[0], 0)[:outputs] if block else _by_rows(scales, outputs)
            if not np.isfinite(scales).all():
                raise ValueError("a scale that is not finite")
        except _MISFITS as error:
            raise self._bad(error) from None
        groups = scales.shape[1]
        if inputs % groups or (block and inputs % block[1]):
            return None
        return Eights(weight.view(np.uint8), weight.dtype == np.uint8, np.ascontiguousarray(scales))

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

    def _integers(self) -> Integers | None:
        """None for weights that are floating-point numbers of 4 or 8 bits."""
        if self.scheme.method == "gptq":
            found = self._gptq()
        elif self.scheme.method == "awq":
            found = self._awq()
        elif "weight_packed" not in self.arrays:
            if self.arrays["weight"].dtype == np.uint8:
                return None
            found = self._bytes()
        elif self.arrays["weight_packed"].dtype == np.uint8:
            return None
        else:
            found = self._packed()
        outputs, inputs = self.shape
        if found.group.shape != (inputs,) or not found.zeros.shape == found.scales.shape == (
            outputs,
            found.scales.shape[1],
        ):
            raise ValueError(f"groups {found.group.shape}, zeros {found.zeros.shape}, scales {found.scales.shape}")
        if inputs and not 0 <= found.group.min() <= found.group.max() < found.scales.shape[1]:
            raise ValueError(f"groups up to {found.group.max()} of {found.scales.shape[1]}")
        if not np.isfinite(found.scales).all():
            raise ValueError("a scale that is not finite")
        return found

    def _gptq(self) -> Integers:
        inputs = self.shape[1]
        bits, arrays = self.scheme.bits, self.arrays
        scales = arrays["scales"].astype(np.float32).T  # stored as [G, N]
        zeros = _fields(arrays["qzeros"], bits).T.astype(np.int32) + self.scheme.zero_offset
        group = arrays["g_idx"] if "g_idx" in arrays else np.arange(inputs) // -(-inputs // scales.shape[1])
        return Integers(bits, lambda: _fields(arrays["qweight"].T, bits), zeros, scales, group)

    def _awq(self) -> Integers:
        arrays = self.arrays

        def columns(words: NDArray[Any]) -> NDArray[np.uint8]:
            eights = _fields(words, 4).reshape(len(words), -1, 8)
            ordered = np.empty_like(eights)
            ordered[:, :, _AWQ_COLUMNS] = eights
            return np.ascontiguousarray(ordered.reshape(len(words), -1).T)

        scales = arrays["scales"].astype(np.float32).T  # stored as [G, N]
        group = np.arange(self.shape[1]) // _exactly(self.shape[1], scales.shape[1])
        return Integers(
            4, lambda: columns(arrays["qweight"]), columns(arrays["qzeros"]).astype(np.int32), scales, group
        )

    def _packed(self) -> Integers:
        outputs, inputs = self.shape
        words = self.arrays["weight_packed"]
        bits = 4 if inputs > words.shape[1] * 4 else 8
        scales = _by_rows(self.arrays["weight_scale"], outputs).astype(np.float32)
        zeros = np.full(scales.shape, 1 << (bits - 1), np.int32)
        stored = self.arrays.get("weight_zero_point")
        if stored is not None and stored.dtype == np.int8:  # one for all: not packed
            zeros = zeros + _by_rows(stored, outputs).astype(np.int32)
        elif stored is not None:  # packed along the outputs
            zeros = _fields(stored.T, bits).T[:outputs].astype(np.int32)
        group = self.arrays.get("weight_g_idx")
        if group is None or (group < 0).any():
            group = np.arange(inputs) // _exactly(inputs, scales.shape[1])
        return Integers(bits, lambda: _fields(words, bits)[:, :inputs], zeros, scales, group)

    def _bytes(self) -> Integers:
        """int8 weights with one scale for all, for each row, for groups of a row or for blocks."""
        outputs, inputs = self.shape
        weight, scales = self.arrays["weight"], self.arrays["weight_scale"].astype(np.float32)
        block = self._block(scales)
        scales = scales.repeat(block[0], 0)[:outputs] if block else _by_rows(scales, outputs)
        group = np.arange(inputs) // (block[1] if block else _exactly(inputs, scales.shape[1]))
        zeros = np.full(scales.shape, 128, np.int32)
        if "weight_zero_point" in self.arrays:
            zeros = zeros + _by_rows(self.arrays["weight_zero_point"], outputs).astype(np.int32)
        return Integers(8, lambda: weight.view(np.uint8) ^ np.uint8(128), zeros, scales, group)

    def _block(self, scales: Floats) -> tuple[int, int] | None:
        """Rows and columns that share a scale; None where scales are those of whole rows or of their groups."""
        rows, columns = (min(wanted, there) for wanted, there in zip(self.scheme.block, self.shape, strict=True))
        blocked = (-(-self.shape[0] // rows), -(-self.shape[1] // columns))
        return (rows, columns) if scales.size > 1 and scales.shape == blocked else None

    def _floats(self) -> Floats:
        return self._nvfp4() if "weight_packed" in self.arrays else self._fp8()

    def _nvfp4(self) -> Floats:
        outputs, inputs = self.shape
        values = _FP4[_fields(self.arrays["weight_packed"], 4)]
        scales = _FP8[self.arrays["weight_scale"]] / self.arrays["weight_global_scale"].astype(np.float32).reshape(1, 1)
        if not np.isfinite(scales).all():
            raise ValueError("a scale that is not finite")
        if scales.shape[0] != outputs:
            raise ValueError(f"scales {scales.shape}")
        found: Floats = values * scales.repeat(_exactly(inputs, scales.shape[1]), 1)
        return found

    def _fp8(self) -> Floats:
        """E4M3 weights with one scale for all, for each row, for groups of a row or for blocks."""
        outputs, inputs = self.shape
        scales = self.arrays["weight_scale_inv"] if "weight_scale_inv" in self.arrays else self.arrays["weight_scale"]
        scales = scales.astype(np.float32)
        if not np.isfinite(scales).all():
            raise ValueError("a scale that is not finite")
        block = self._block(scales)
        if block:
            scales = scales.repeat(block[0], 0)[:outputs].repeat(block[1], 1)[:, :inputs]
        else:
            scales = _by_rows(scales, outputs)
            scales = scales.repeat(_exactly(inputs, scales.shape[1]), 1)
        found: Floats = _FP8[self.arrays["weight"]] * scales
        return found


def _fields(words: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """[rows, words] to [rows, fields], the lowest bits of a word first."""
    packed = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return packed
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = (packed[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return fields.reshape(len(words), -1)


def _by_rows(found: NDArray[Any], outputs: int) -> NDArray[Any]:
    """Scales or zeros as [N, G], whether stored so, as [N] or as one number."""
    found = found.reshape(-1, 1) if found.ndim < 2 else found
    found = found.repeat(outputs, 0) if len(found) == 1 else found
    if found.ndim != 2 or len(found) != outputs:
        raise ValueError(f"{len(found)} rows of scales for {outputs} outputs")
    return found


def _exactly(total: int, parts: int) -> int:
    if total % parts:
        raise ValueError(f"{total} inputs in {parts} groups")
    return total // parts
