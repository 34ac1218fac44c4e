"""transformers' modelling code over our slots: the attention and the mask rule that it calls instead of its own.

T packed rows of B sequences, N rows of one, L slots, H query heads, K kv heads, G = H / K, D head dim (V's may differ).
A model asks the mask interface for a mask and gets its own rule back, unevaluated; every layer hands it on to the
attention, which asks it about the positions of each sequence. So causal, sliding and chunked layers come out right
without a word about the family. Source of the interfaces: transformers' masking_utils.py and modeling_utils.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import UnsupportedModel
from ...kernels.reference.batch import PackedBatch
from ...kernels.reference.cache import load_kv, store_kv

NAME = "radix"
"""What the hooks are called in transformers' tables."""
MaskFunction = Callable[[Any, Any, Tensor, Tensor], Tensor]


class MaskRule(NamedTuple):
    """What goes through a model in place of a mask tensor."""

    function: MaskFunction
    """(batch, head, query position, key position) -> visible; broadcasts."""

    def visible(self, queries_BN1: Tensor, keys_L: Tensor) -> Tensor:
        """[B, N, L] bool."""
        zero = queries_BN1.new_zeros(())
        return self.function(zero, zero, queries_BN1, keys_L).expand(*queries_BN1.shape[:2], len(keys_L))


def _causal(batch: Any, head: Any, query: Tensor, key: Tensor) -> Tensor:
    return key <= query


_CAUSAL = MaskRule(_causal)


@dataclass(slots=True)
class LayerKv:
    """K and V of one layer by slot; the scales of int8."""

    k_SKD: Tensor
    v_SKD: Tensor
    k_scale_SK: Tensor | None
    v_scale_SK: Tensor | None

    @classmethod
    def new(cls, num_slots: int, k_TKD: Tensor, v_TKD: Tensor, dtype: torch.dtype) -> LayerKv:
        def pool(rows: Tensor) -> Tensor:
            return torch.zeros((num_slots, *rows.shape[1:]), dtype=dtype, device=rows.device)

        def scale(rows: Tensor) -> Tensor | None:
            shape = (num_slots, rows.shape[1])
            return torch.zeros(shape, device=rows.device) if dtype == torch.int8 else None

        return cls(pool(k_TKD), pool(v_TKD), scale(k_TKD), scale(v_TKD))

    @property
    def bytes_per_token(self) -> int:
        tensors = (self.k_SKD, self.v_SKD, self.k_scale_SK, self.v_scale_SK)
        return sum(t[0].nbytes for t in tensors if t is not None)


class LazyKvPool:
    """A layer's memory is taken when it first writes: its heads and their sizes are known only then."""

    def __init__(self, num_slots: int, dtype: torch.dtype) -> None:
        self.num_slots = num_slots
        self._dtype = dtype
        self._layers: dict[int, LayerKv] = {}

    def write(self, layer: int, k_TKD: Tensor, v_TKD: Tensor, slots_T: Tensor) -> LayerKv:
        if layer not in self._layers:
            self._layers[layer] = LayerKv.new(self.num_slots, k_TKD, v_TKD, self._dtype)
        kv = self._layers[layer]
        store_kv(kv.k_SKD, kv.k_scale_SK, k_TKD, slots_T)
        store_kv(kv.v_SKD, kv.v_scale_SK, v_TKD, slots_T)
        return kv

    @property
    def bytes_per_token(self) -> int:
        """Of the layers that have written."""
        return sum(kv.bytes_per_token for kv in self._layers.values())


@dataclass(slots=True)
class PackedStep:
    """What the attention of every layer reads during one forward pass."""

    batch: PackedBatch
    slots_T: Tensor
    """int64: slot that each row writes."""
    pool: LazyKvPool
    _visible: dict[tuple[MaskRule, int], Tensor] = field(default_factory=dict)

    def visible(self, rule: MaskRule, piece: int, positions_BN: Tensor, num_slots: int) -> Tensor:
        """[B, N, L] bool of the pieces of this step, each computed once for all layers of a rule."""
        key = (rule, piece)
        if key not in self._visible:
            keys_L = torch.arange(num_slots, device=positions_BN.device)
            # No row sees past itself, whatever a rule says: those slots are padding.
            self._visible[key] = rule.visible(positions_BN[..., None], keys_L) & (keys_L <= positions_BN[..., None])
        return self._visible[key]


current_step: ContextVar[PackedStep] = ContextVar("current_step")
"""Set around a model's forward call."""


def attention(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: object,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: [1, T, H, D of V] and no weights. s_aux: a sink's logit for each head."""
    if attention_mask is None:
        attention_mask = _CAUSAL
    if not isinstance(attention_mask, MaskRule):
        raise UnsupportedModel(f"{type(module).__name__} makes a mask of its own")
    step = current_step.get()
    batch = step.batch
    kv = step.pool.write(module.layer_idx, key_1KTD[0].transpose(0, 1), value_1KTD[0].transpose(0, 1), step.slots_T)
    q_THD = query_1HTD[0].transpose(0, 1)
    out_THD = q_THD.new_empty((*q_THD.shape[:2], value_1KTD.shape[-1]))
    scale = q_THD.shape[-1] ** -0.5 if scaling is None else scaling
    for index, group in enumerate(batch.decode_groups()):
        visible_BNL = step.visible(attention_mask, index, group.positions_B[:, None], group.slots_BL.shape[1])
        out_THD[group.rows_B] = _attend(
            q_THD[group.rows_B].unsqueeze(1), kv, group.slots_BL, visible_BNL, scale, softcap, s_aux
        ).squeeze(1)
    for sequence in batch.extends():
        rows = slice(sequence.first, sequence.end)
        visible_BNL = step.visible(
            attention_mask, -1 - sequence.first, batch.positions_T[None, rows], len(sequence.slots_L)
        )
        out_THD[rows] = _attend(q_THD[None, rows], kv, sequence.slots_L[None], visible_BNL, scale, softcap, s_aux)[0]
    return out_THD.unsqueeze(0), None


def _attend(
    q_BNHD: Tensor,
    kv: LayerKv,
    slots_BL: Tensor,
    visible_BNL: Tensor,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """[B, N, H, D of V], in q's dtype; scores and sums in float32."""
    size, length = slots_BL.shape
    num_rows, num_heads = q_BNHD.shape[1:3]
    slots = slots_BL.flatten()
    k_BLKD = load_kv(kv.k_SKD, kv.k_scale_SK, slots, torch.float32).view(size, length, *kv.k_SKD.shape[1:])
    v_BLKD = load_kv(kv.v_SKD, kv.v_scale_SK, slots, torch.float32).view(size, length, *kv.v_SKD.shape[1:])
    num_kv_heads = k_BLKD.shape[2]
    q_BKGND = q_BNHD.float().view(size, num_rows, num_kv_heads, -1, q_BNHD.shape[-1]).permute(0, 2, 3, 1, 4)
    scores_BKGNL = torch.matmul(q_BKGND, k_BLKD.permute(0, 2, 3, 1).unsqueeze(2)) * scale
    if softcap is not None:
        scores_BKGNL = torch.tanh(scores_BKGNL / softcap) * softcap
    scores_BKGNL = scores_BKGNL.masked_fill(~visible_BNL[:, None, None], float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.float().view(1, num_kv_heads, -1, 1, 1).expand(*scores_BKGNL.shape[:-1], 1)
        weights_BKGNL = torch.softmax(torch.cat([scores_BKGNL, sinks], dim=-1), dim=-1)[..., :-1]
    else:
        weights_BKGNL = torch.softmax(scores_BKGNL, dim=-1)
    out_BKGND = torch.matmul(weights_BKGNL, v_BLKD.transpose(1, 2).unsqueeze(2))
    return out_BKGND.permute(0, 3, 1, 2, 4).reshape(size, num_rows, num_heads, -1).to(q_BNHD.dtype)


def _mask(*, mask_function: MaskFunction, use_vmap: bool = False, **_: Any) -> MaskRule:
    """transformers' mask interface: the rule itself."""
    if use_vmap:
        raise UnsupportedModel("a mask rule of the model's own that does not broadcast")
    return MaskRule(mask_function)


def register() -> None:
    """Makes both known to transformers under NAME; again is harmless."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _mask)


def fix_rotary_scaling(model: torch.nn.Module, served_context: int) -> None:
    """Takes the frequencies that a sequence of `served_context` tokens gets, for all of them.

    Dynamic scalings look at the longest position of a call: packed with others, or with a cached prefix, a request's
    rotation would depend on its neighbours.
    """
    device = next(model.parameters()).device
    last = torch.tensor([[served_context - 1]], device=device)
    for module in model.modules():
        kind = getattr(module, "rope_type", None)
        of_layers: dict[str, Any] = kind if isinstance(kind, dict) else {}
        found = [name for name, of_layer in of_layers.items() if _depends_on_length(of_layer)]
        for name in found:
            module(torch.zeros(1, 1, 1, device=device), last, layer_type=name)
        if found:
            fixed: Any = {**of_layers, **dict.fromkeys(found, "fixed")}
            module.rope_type = fixed
        elif _depends_on_length(kind):
            module(torch.zeros(1, 1, 1, device=device), last)
            whole: Any = "fixed"
            module.rope_type = whole


def _depends_on_length(kind: object) -> bool:
    return isinstance(kind, str) and ("dynamic" in kind or kind == "longrope")
