"""Linears that adapters add to (LoRA): y = W x + scale · up (down x), with each row's own adapter. S slots, R rank.

The adapters of a step lie in slots: stacked matrices, padded with zeros to the largest rank. Who has waited longest
gives up its slot, so any number of adapters is served with a few slots; a step has at most as many as there are slots.
Matrices are rounded to the model's type once, when an adapter is first used; from then on a slot is filled by copies.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ...kernels import ops
from ..lora.adapter import Adapter, LowRank
from ..lora.names import SlotSize
from ..model_runner.cuda.staging import send
from ..model_runner.plan import Int32, StepPlan
from .config import ModelConfig
from .decoder import Decoder
from .layers import AnyLinear, Mlp


class _Rows:
    """What the rows that are being computed take; None: no row has an adapter."""

    adapter_T: Tensor | None = None
    modules: frozenset[str] = frozenset()
    """Those that adapters of this step adapt."""


class _Staged(NamedTuple):
    """A projection's matrices as its slots hold them, in memory that a device copies from without anybody waiting."""

    down_RE: Tensor
    up_NR: Tensor
    scale: float


class _Part:
    """The slots of one projection: columns [begin, end) of a linear's output."""

    def __init__(self, module: str, shape: tuple[int, int], begin: int, like: Tensor, size: SlotSize) -> None:
        """shape: features out and in; like: for type and device."""
        self.module = module
        self.begin, self.end = begin, begin + shape[0]
        self.down_SRE = like.new_zeros(size.num_slots, size.max_rank, shape[1])
        self.up_SNR = like.new_zeros(size.num_slots, shape[0], size.max_rank)
        self.scale_S = torch.zeros(size.num_slots, device=like.device)

    def stage(self, adapter: Adapter) -> _Staged | None:
        """None where the adapter leaves the projection as it is."""
        found = adapter.parts.get(self.module)
        if found is None:
            return None
        rank, is_cuda = len(found.down_RE), self.down_SRE.is_cuda
        down_RE = torch.zeros(self.down_SRE.shape[1:], dtype=self.down_SRE.dtype, pin_memory=is_cuda)
        up_NR = torch.zeros(self.up_SNR.shape[1:], dtype=self.up_SNR.dtype, pin_memory=is_cuda)
        down_RE[:rank].copy_(torch.from_numpy(found.down_RE))
        up_NR[:, :rank].copy_(torch.from_numpy(found.up_NR))
        return _Staged(down_RE, up_NR, found.scale)

    def put(self, slot: int, staged: _Staged | None) -> None:
        if staged is None:
            self.scale_S[slot] = 0.0  # whatever the matrices hold, they are finite
            return
        self.down_SRE[slot].copy_(staged.down_RE, non_blocking=True)
        self.up_SNR[slot].copy_(staged.up_NR, non_blocking=True)
        self.scale_S[slot] = staged.scale


class AdaptedLinear:
    """A linear, and what the rows' adapters add to it."""

    def __init__(self, base: AnyLinear, parts: list[_Part], rows: _Rows) -> None:
        self._base, self._parts, self._rows = base, parts, rows

    def __call__(self, x_TE: Tensor) -> Tensor:
        out_TN = self._base(x_TE)
        adapter_T = self._rows.adapter_T
        if adapter_T is not None:
            for part in self._parts:
                if part.module in self._rows.modules:
                    ops.add_lora(
                        out_TN[:, part.begin : part.end], x_TE, part.down_SRE, part.up_SNR, part.scale_S, adapter_T
                    )
        return out_TN


class AdapterSlots:
    """The slots of a decoder, whose linears it makes adapted ones."""

    def __init__(self, decoder: Decoder, size: SlotSize) -> None:
        self._device = decoder.device
        self._rows = _Rows()
        self._parts: list[_Part] = []
        self._slots: OrderedDict[Adapter, int] = OrderedDict()
        """Resident adapters, the one that was used longest ago first."""
        self._staged: WeakKeyDictionary[Adapter, list[_Staged | None]] = WeakKeyDictionary()
        self._free = list(range(size.num_slots))
        self._adapter_T: Tensor | None = None
        self._size = size
        self._adapt(decoder, decoder.config)
        self._modules = frozenset(part.module for part in self._parts)

    def use(self, plan: StepPlan) -> None:
        """Brings the step's adapters into slots; the linears that follow compute all of its rows."""
        if not plan.adapters:
            self.release()
            return
        self._place(plan.adapters)
        slots_T = np.repeat(self.slots_of(plan), np.diff(plan.query_start_B1))
        (self._adapter_T,) = send([slots_T], self._device)  # waits for nothing, as a plain copy would
        self._rows.adapter_T = self._adapter_T
        self._rows.modules = frozenset().union(*(adapter.parts for adapter in plan.adapters))

    def slots_of(self, plan: StepPlan) -> Int32:
        """The slot of each sequence's adapter, -1: none; after `use`."""
        slot_of = np.array([*(self._slots[adapter] for adapter in plan.adapters), -1], np.int32)
        return slot_of[plan.adapters_B]

    def bind(self, adapter_T: Tensor) -> None:
        """The linears that follow read the slots of their rows (-1: none) from here, whichever those will be."""
        self._rows.adapter_T, self._rows.modules = adapter_T, self._modules

    def release(self) -> None:
        """The linears that follow compute rows without adapters."""
        self._adapter_T = self._rows.adapter_T = None

    def keep(self, rows_R: list[int]) -> None:
        """The linears that follow (the head) compute these rows of the step alone."""
        if self._adapter_T is not None:
            (there,) = send([np.array(rows_R, np.int32)], self._device)
            self._rows.adapter_T = self._adapter_T[there.long()]

    def blank(self) -> Adapter:
        """One that adapts every linear and adds nothing."""
        parts = {
            part.module: LowRank(
                np.zeros((1, part.down_SRE.shape[2]), np.float32), np.zeros((part.up_SNR.shape[1], 1), np.float32), 0.0
            )
            for part in self._parts
        }
        return Adapter(Path(), 1, parts, "blank")

    def forget(self, adapter: Adapter) -> None:
        """Its slot is free; no step is under way that uses it."""
        self._free.append(self._slots.pop(adapter))
        self._staged.pop(adapter, None)

    def _place(self, adapters: list[Adapter]) -> None:
        for adapter in adapters:
            if adapter in self._slots:
                self._slots.move_to_end(adapter)
        for adapter in adapters:
            if adapter not in self._slots:
                # Those of this step were moved to the end, or are put there.
                slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1]
                if adapter not in self._staged:
                    self._staged[adapter] = [part.stage(adapter) for part in self._parts]
                for part, staged in zip(self._parts, self._staged[adapter], strict=True):
                    part.put(slot, staged)
                self._slots[adapter] = slot

    def _adapt(self, decoder: Decoder, config: ModelConfig) -> None:
        hidden, inner, dim = config.hidden_size, config.intermediate_size, config.head_dim
        queries, keys = config.num_heads * dim, config.num_kv_heads * dim
        like = decoder.embedding_VE

        def adapted(base: AnyLinear, prefix: str, rows: dict[str, int], columns: int) -> AdaptedLinear:
            parts, begin = [], 0
            for name, features in rows.items():
                parts.append(_Part(prefix + name, (features, columns), begin, like, self._size))
                begin += features
            self._parts += parts
            return AdaptedLinear(base, parts, self._rows)

        for i, layer in enumerate(decoder.layers):
            prefix, attention = f"model.layers.{i}.", layer.attention
            qkv = {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": keys}
            attention.qkv = adapted(attention.qkv, prefix, qkv, hidden)
            attention.out = adapted(attention.out, prefix, {"self_attn.o_proj": hidden}, queries)
            if isinstance(mlp := layer.mlp, Mlp):
                gate_up = ("mlp.gate_proj", "mlp.up_proj") if mlp.is_gated else ("mlp.up_proj",)
                layer.mlp = mlp._replace(
                    inner=adapted(mlp.inner, prefix, dict.fromkeys(gate_up, inner), hidden),
                    down=adapted(mlp.down, prefix, {"mlp.down_proj": hidden}, inner),
                )
        decoder.head = adapted(decoder.head, "", {"lm_head": config.vocab_size}, hidden)
