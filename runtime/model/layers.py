"""The parts of a decoder layer that hold weights: linear, norm, MLP. T tokens, E features in, N features out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import WeightMismatch
from ...kernels import ops
from ...kernels.reference.matmul import pack_w4
from ..weights.blocks import BLOCK, read_nibbles
from ..weights.checkpoint import Checkpoint
from .config import ModelConfig

NIBBLES = ("Q4_0", "Q4_1", "A4")
"""Formats of 4-bit groups that `ops.linear_w4` computes on."""


class Weights:
    """A checkpoint's tensors as torch ones; remembers which were read, so that none is overlooked."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.device = device
        self.unread = set(checkpoint.names())

    def __contains__(self, name: str) -> bool:
        return name in self.unread

    def take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Raises WeightMismatch when the tensor is missing or not of that shape."""
        self._read(name, shape)
        packed, wanted = self.checkpoint.packed(name), dtype or self.dtype
        if wanted == torch.bfloat16 and packed.format == "BF16":  # as it lies in the file
            if packed.repeated is not None:
                return _copies(torch.from_numpy(packed.repeated().view(np.int16)).to(self.device), shape)
            bits = packed.data.view(np.uint16).reshape(shape)
            return torch.from_numpy(bits.copy()).view(torch.bfloat16).to(self.device)
        array = self.checkpoint.dense(name)
        if not array.flags.writeable:
            array = array.copy()  # torch wants to own it
        return torch.from_numpy(array).to(self.device, wanted)

    def keeps_nibbles(self, names: Sequence[str]) -> bool:
        """Whether linears of these weights are computed on as they are stored: 4-bit groups, by a kernel."""
        nothing = torch.empty((0, 0), dtype=torch.uint8, device=self.device)
        if not ops.computes_as_stored("linear_w4", nothing) or not all(name in self.unread for name in names):
            return False
        packed = [self.checkpoint.packed(name) for name in names]
        return all(p.format in NIBBLES and p.shape[1] % (2 * BLOCK) == 0 for p in packed)

    def take_nibbles(self, name: str, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
        """(packed as `ops.linear_w4` wants it, scales, offsets) of a weight that `keeps_nibbles`."""
        self._read(name, shape)
        packed = self.checkpoint.packed(name)
        codes_NE, scales_NG, offsets_NG = map(torch.from_numpy, read_nibbles(packed.format, packed.data))
        dtype = torch.float32 if packed.format == "A4" else torch.float16  # as stored; offsets are stored or -8 scales
        packed_NE = pack_w4(codes_NE.to(self.device), BLOCK)
        return packed_NE, scales_NG.to(self.device, dtype), offsets_NG.to(self.device, dtype)

    def take_eights(self, names: Sequence[str], rows: Sequence[int], columns: int) -> tuple[Tensor, Tensor] | None:
        """(weights of 8 bits as `ops.linear_w8a8` wants them, scales) of several linears as one.

        None, and nothing is read, where no kernel computes on them so.
        """
        if not all(name in self.unread for name in names):
            return None
        tells = [self.checkpoint.packed(name).eights for name in names]
        found = [eights for tell in tells if tell is not None and (eights := tell()) is not None]
        if len(found) < len(names) or len({(e.is_float, e.scales_NG.shape[1]) for e in found}) > 1:
            return None
        dtype, groups = torch.float8_e4m3fn if found[0].is_float else torch.int8, found[0].scales_NG.shape[1]
        if groups > 1 and columns // groups % 32:
            return None
        if not ops.computes_as_stored("linear_w8a8", torch.empty((0, 0), dtype=dtype, device=self.device)):
            return None
        for name, n in zip(names, rows, strict=True):
            self._read(name, (n, columns))
        weight_NE = torch.cat([torch.from_numpy(e.codes_NK.copy()).to(self.device) for e in found]).view(dtype)
        return weight_NE, torch.cat([torch.from_numpy(e.scales_NG.copy()).to(self.device) for e in found])

    def _read(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self.unread:
            raise WeightMismatch(f"{self.checkpoint.path}: tensor {name} {list(shape)} is missing")
        self.unread.discard(name)
        found = self.checkpoint.packed(name).shape
        if found != shape:
            raise WeightMismatch(f"{self.checkpoint.path}: tensor {name} should be {list(shape)}, is {list(found)}")


def _copies(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """bfloat16 of that shape: the bits (int16), one copy behind the other. No such matrix ever lies in host memory."""
    out = torch.empty(math.prod(shape), dtype=torch.int16, device=bits.device)
    whole = len(out) // len(bits) * len(bits)
    out[:whole].view(-1, len(bits)).copy_(bits)
    out[whole:].copy_(bits[: len(out) - whole])
    return out.view(torch.bfloat16).view(shape)


class Linear(NamedTuple):
    weight_NE: Tensor
    bias_N: Tensor | None

    def __call__(self, x_TE: Tensor) -> Tensor:
        return ops.linear(x_TE, self.weight_NE, self.bias_N)


class NibbleLinear(NamedTuple):
    """4-bit groups as stored."""

    packed_NE: Tensor
    scale_NG: Tensor
    offset_NG: Tensor
    bias_N: Tensor | None

    def __call__(self, x_TE: Tensor) -> Tensor:
        return ops.linear_w4(x_TE, self.packed_NE, self.scale_NG, self.offset_NG, self.bias_N)


class EightLinear(NamedTuple):
    """8-bit weights as stored; rows are rounded to 8 bits as well."""

    weight_NE: Tensor
    scale_NG: Tensor
    bias_N: Tensor | None

    def __call__(self, x_TE: Tensor) -> Tensor:
        return ops.linear_w8a8(x_TE, self.weight_NE, self.scale_NG, self.bias_N)


class AnyLinear(Protocol):
    """From [T, E] to [T, N]."""

    def __call__(self, x_TE: Tensor) -> Tensor: ...


def load_linear(weights: Weights, names: Sequence[str], rows: Sequence[int], columns: int) -> AnyLinear:
    """Several projections of one input as one; a missing bias among present ones is zero."""
    bias_N = None
    if any(f"{name}.bias" in weights for name in names):
        biases = [
            weights.take(f"{name}.bias", n)
            if f"{name}.bias" in weights
            else torch.zeros(n, dtype=weights.dtype, device=weights.device)
            for name, n in zip(names, rows, strict=True)
        ]
        bias_N = torch.cat(biases)
    if (eights := weights.take_eights([f"{name}.weight" for name in names], rows, columns)) is not None:
        return EightLinear(*eights, bias_N)
    if weights.keeps_nibbles([f"{name}.weight" for name in names]):
        parts = [weights.take_nibbles(f"{name}.weight", n, columns) for name, n in zip(names, rows, strict=True)]
        packed_NE, scale_NG, offset_NG = (torch.cat(same) for same in zip(*parts, strict=True))
        return NibbleLinear(packed_NE, scale_NG, offset_NG, bias_N)
    weight_NE = torch.cat([weights.take(f"{name}.weight", n, columns) for name, n in zip(names, rows, strict=True)])
    return Linear(ops.pack_linear(weight_NE), bias_N)


class Norm(NamedTuple):
    """RMS or layer norm; weights in float32, the model's offset added."""

    weight_E: Tensor
    bias_E: Tensor | None
    eps: float
    is_rms: bool

    def __call__(self, x: Tensor) -> Tensor:
        if self.is_rms:
            return ops.rms_norm(x, self.weight_E, self.eps)
        return ops.layer_norm(x, self.weight_E, self.bias_E, self.eps)

    def after(self, x_TE: Tensor, added_TE: Tensor | None, alpha: float) -> Tensor:
        """The norm of x + alpha · added, which is left in x."""
        if added_TE is None:
            return self(x_TE)
        if self.is_rms:
            return ops.add_rms_norm(x_TE, added_TE, self.weight_E, self.eps, alpha)
        return self(x_TE.add_(added_TE, alpha=alpha))

    @classmethod
    def load(cls, weights: Weights, name: str, size: int, config: ModelConfig) -> Norm:
        bias = f"{name}.bias"
        return cls(
            weights.take(f"{name}.weight", size, dtype=torch.float32) + config.norm_offset,
            weights.take(bias, size, dtype=torch.float32) if bias in weights else None,
            config.norm_eps,
            config.norm_kind == "rms",
        )


class Mlp(NamedTuple):
    """Gate and up as one linear where the checkpoint has a gate."""

    inner: AnyLinear
    down: AnyLinear
    activation: str
    is_gated: bool

    def __call__(self, x_TE: Tensor) -> Tensor:
        inner_TN = self.inner(x_TE)
        return self.down(
            ops.gated(inner_TN, self.activation) if self.is_gated else ops.activate(inner_TN, self.activation)
        )

    @classmethod
    def load(cls, weights: Weights, prefix: str, config: ModelConfig, size: int) -> Mlp:
        hidden = config.hidden_size
        is_gated = f"{prefix}.gate_proj.weight" in weights
        names = [f"{prefix}.gate_proj", f"{prefix}.up_proj"] if is_gated else [f"{prefix}.up_proj"]
        inner = load_linear(weights, names, [size] * len(names), hidden)
        return cls(inner, load_linear(weights, [f"{prefix}.down_proj"], [hidden], size), config.activation, is_gated)
