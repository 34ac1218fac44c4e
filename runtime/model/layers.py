"""The parts of a decoder layer that hold weights: linear, norm, MLP. T tokens, E features in, N features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import WeightMismatch
from ...kernels import ops
from ..weights.checkpoint import Checkpoint
from .config import ModelConfig


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
        if name not in self.unread:
            raise WeightMismatch(f"{self.checkpoint.path}: tensor {name} {list(shape)} is missing")
        self.unread.discard(name)
        array = self.checkpoint.dense(name)
        if array.shape != shape:
            raise WeightMismatch(
                f"{self.checkpoint.path}: tensor {name} should be {list(shape)}, is {list(array.shape)}"
            )
        if not array.flags.writeable:
            array = array.copy()  # torch wants to own it
        return torch.from_numpy(array).to(self.device, dtype or self.dtype)


class Linear(NamedTuple):
    weight_NE: Tensor
    bias_N: Tensor | None

    def __call__(self, x_TE: Tensor) -> Tensor:
        return ops.linear(x_TE, self.weight_NE, self.bias_N)

    @classmethod
    def load(cls, weights: Weights, names: Sequence[str], rows: Sequence[int], columns: int) -> Linear:
        """Several projections of one input as one; a missing bias among present ones is zero."""
        parts = [weights.take(f"{name}.weight", n, columns) for name, n in zip(names, rows, strict=True)]
        weight_NE = parts[0] if len(parts) == 1 else torch.cat(parts)
        if not any(f"{name}.bias" in weights for name in names):
            return cls(ops.pack_linear(weight_NE), None)
        biases = [
            weights.take(f"{name}.bias", n) if f"{name}.bias" in weights else weight_NE.new_zeros(n)
            for name, n in zip(names, rows, strict=True)
        ]
        return cls(ops.pack_linear(weight_NE), torch.cat(biases))


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

    inner: Linear
    down: Linear
    activation: str
    is_gated: bool

    def __call__(self, x_TE: Tensor) -> Tensor:
        inner_TN = self.inner(x_TE)
        return self.down(
            ops.gated(inner_TN, self.activation) if self.is_gated else ops.activate(inner_TN, self.activation)
        )

    @classmethod
    def load(cls, weights: Weights, prefix: str, config: ModelConfig) -> Mlp:
        size, hidden = config.intermediate_size, config.hidden_size
        is_gated = f"{prefix}.gate_proj.weight" in weights
        names = [f"{prefix}.gate_proj", f"{prefix}.up_proj"] if is_gated else [f"{prefix}.up_proj"]
        inner = Linear.load(weights, names, [size] * len(names), hidden)
        return cls(inner, Linear.load(weights, [f"{prefix}.down_proj"], [hidden], size), config.activation, is_gated)
