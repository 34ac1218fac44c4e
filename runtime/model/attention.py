"""Self-attention of a layer: projections, q/k norms, rotary positions, the KV pool. T rows, H query heads, C = H + 2K.

K and V of all rows are written before any row attends, so rows of one step read each other's slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...kernels import ops
from ...kernels.reference.batch import PackedBatch
from .config import ModelConfig
from .kv_pool import KvPool
from .layers import AnyLinear, Norm, Weights, load_linear


@dataclass(slots=True)
class Step:
    """What all layers of one forward pass share."""

    batch: PackedBatch
    slots_T: Tensor
    """Slot that each row writes: int64, or int32 for the GPU's kernels."""
    rope_TR: tuple[Tensor, Tensor]
    """cos and sin."""
    local_rope_TR: tuple[Tensor, Tensor]
    """Of the sliding layers."""


@dataclass(slots=True)
class Attention:
    config: ModelConfig
    layer: int
    qkv: AnyLinear
    out: AnyLinear
    q_norm: Norm | None
    k_norm: Norm | None

    def __call__(self, x_TE: Tensor, step: Step, pool: KvPool) -> Tensor:
        config, layer = self.config, self.layer
        num_heads, num_kv_heads, window = config.num_heads, config.num_kv_heads, config.window(layer)
        num_turned = num_heads + num_kv_heads
        qkv_TCD = self.qkv(x_TE).view(len(x_TE), -1, config.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            _normalise(qkv_TCD[:, :num_heads], self.q_norm, config)
            _normalise(qkv_TCD[:, num_heads:num_turned], self.k_norm, config)
        rope_TR = (step.local_rope_TR if window else step.rope_TR) if config.rotates(layer) else None
        kv_SCD, scale_SC = pool.layers[layer], pool.scales[layer]
        q_THD = ops.rotate_and_store(
            qkv_TCD,
            rope_TR,
            kv_SCD,
            scale_SC,
            step.slots_T,
            num_heads=num_heads,
            interleaved=config.rope_of(layer).interleaved,
        )
        out_THD = ops.attention(
            q_THD,
            kv_SCD,
            scale_SC,
            step.batch,
            scale=config.softmax_scale,
            window=window,
            softcap=config.attention_softcap,
        )
        return self.out(out_THD.flatten(1))

    @classmethod
    def load(cls, weights: Weights, prefix: str, config: ModelConfig, layer: int) -> Attention:
        dim, num_heads, num_kv_heads = config.head_dim, config.num_heads, config.num_kv_heads
        rows = [num_heads * dim, num_kv_heads * dim, num_kv_heads * dim]
        qkv = load_linear(weights, [f"{prefix}.{n}_proj" for n in "qkv"], rows, config.hidden_size)
        out = load_linear(weights, [f"{prefix}.o_proj"], [config.hidden_size], num_heads * dim)
        q_norm = k_norm = None
        if config.qk_norm != "none":
            is_full = config.qk_norm == "full"
            q_norm = Norm.load(weights, f"{prefix}.q_norm", num_heads * dim if is_full else dim, config)
            k_norm = Norm.load(weights, f"{prefix}.k_norm", num_kv_heads * dim if is_full else dim, config)
        return cls(config, layer, qkv, out, q_norm, k_norm)


def _normalise(heads_THD: Tensor, norm: Norm, config: ModelConfig) -> None:
    if config.qk_norm == "full":
        heads_THD.copy_(norm(heads_THD.flatten(1)).view(heads_THD.shape))
    else:
        heads_THD.copy_(norm(heads_THD))
