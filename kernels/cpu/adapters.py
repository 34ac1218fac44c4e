"""LoRA adapters as the native step reads them: one table of pairs for each. R rank, E features in, N out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import structs

if TYPE_CHECKING:
    Adapter = Any  # runtime/lora/adapter.py: the layer above; its parts are read

_PARTS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
"""rx::LayerPart of csrc/lora.h."""


class _Table:
    """Owns the arrays that its addresses point to."""

    def __init__(self, adapter: Adapter, num_layers: int) -> None:
        names = [f"model.layers.{layer}.{part}" for layer in range(num_layers) for part in _PARTS]
        self.parts = np.zeros(len(names) + 1, structs.ADAPTER_PART)
        self._kept: list[NDArray[np.float32]] = []
        for place, name in enumerate([*names, "lm_head"]):
            found = adapter.parts.get(name)
            if found is None:
                continue
            down_RE = np.ascontiguousarray(found.down_RE, np.float32)
            up_RN = np.ascontiguousarray(found.up_NR.T * np.float32(found.scale))
            self._kept += [down_RE, up_RN]
            self.parts[place] = (down_RE.ctypes.data, up_RN.ctypes.data, *up_RN.shape)


class AdapterTables:
    """Those of the adapters used last; the one that was used longest ago goes first."""

    def __init__(self, num_layers: int, most: int) -> None:
        """most: adapters of one step; so many are kept."""
        self._num_layers, self._most = num_layers, most
        self._tables: OrderedDict[Adapter, _Table] = OrderedDict()

    def tables(self, adapters: Sequence[Adapter]) -> NDArray[np.uint64]:
        """The addresses of their tables, valid until other adapters are asked for."""
        assert len(adapters) <= self._most
        for adapter in adapters:
            if adapter not in self._tables:
                self._tables[adapter] = _Table(adapter, self._num_layers)
            self._tables.move_to_end(adapter)
        while len(self._tables) > self._most:
            self._tables.popitem(last=False)
        return np.array([self._tables[adapter].parts.ctypes.data for adapter in adapters], np.uint64)
