"""Our slots as a transformers Cache, for models whose attention is not asked for through the interface (Bloom, GPT-J).

They call `update` for K and V of their new tokens and attend over what it returns: the whole sequence, gathered from
its slots. One sequence a call. L tokens of the sequence, K kv heads, D head dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from ...kernels.reference.cache import load_kv
from .transformers_hooks import LazyKvPool

if TYPE_CHECKING:
    _Layer = object
    _Cache = object
else:
    _Layer, _Cache = CacheLayerMixin, Cache


class _SlotLayer(_Layer):
    def __init__(self, pool: LazyKvPool, layer: int, done: int, slots_L: Tensor) -> None:
        super().__init__()
        self.pool, self.layer, self.length, self.slots_L = pool, layer, done, slots_L

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the pool takes memory when a layer first writes."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """[1, K, new tokens, D] in; [1, K, L, D] out."""
        new = self.slots_L[self.length :]
        kv = self.pool.write(self.layer, key_states[0].transpose(0, 1), value_states[0].transpose(0, 1), new)
        self.length = len(self.slots_L)
        keys = load_kv(kv.k_SKD, kv.k_scale_SK, self.slots_L, key_states.dtype)
        values = load_kv(kv.v_SKD, kv.v_scale_SK, self.slots_L, value_states.dtype)
        return keys.transpose(0, 1)[None], values.transpose(0, 1)[None]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return len(self.slots_L), 0

    def get_max_length(self) -> int:
        return -1


class SlotCache(_Cache):
    """What one sequence has, for one call of the model."""

    def __init__(self, pool: LazyKvPool, num_layers: int, done: int, slots_L: Tensor) -> None:
        """done: tokens before those of the call; slots_L: int64, theirs included."""
        layers: Any = [_SlotLayer(pool, i, done, slots_L) for i in range(num_layers)]
        super().__init__(layers=layers)  # type: ignore[call-arg]
