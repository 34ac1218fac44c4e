"""The reference executor: any covered model, in eager torch. T packed rows, B sequences, R rows with logits.

Batch invariance: attention is computed for each sequence over its own slots, so a row never reads what another row
holds. Packed linears and padded shapes keep the order of every sum: on a CPU with AVX-512 a row's logits have the same
bits in every batch and chunking. Elsewhere they agree to rounding (about 1e-5 relative in float32), and a greedy token
may differ where two logits are that close.
"""

from __future__ import annotations

import torch

from ...errors import ConfigError
from ..lora.names import SlotSize
from ..model.adapted import AdapterSlots
from ..model.decoder import Decoder
from ..model.kv_pool import KvPool
from ..weights.checkpoint import Checkpoint
from .plan import StepOutput, StepPlan
from .torch_batch import index, packed_batch
from .torch_sampler import output_of

_TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}


class TorchExecutor:
    """Implements `Executor` and `TakesTrees`. Not thread-safe."""

    takes_trees = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        num_slots: int,
        dtype: str = "float32",
        kv_dtype: str = "auto",
        num_threads: int = 0,
        device: str = "cpu",
        context_length: int | None = None,
        lora: SlotSize | None = None,
    ) -> None:
        """dtype, kv_dtype: as in EngineConfig; "auto" is float32 on the CPU, bfloat16 elsewhere; for the cache, dtype.

        num_threads sets torch's threads of this process; 0 leaves them. context_length: the longest sequence that will
        be served (length-dependent rotary scalings are fixed by it); None: the model's own. lora: room for adapters.
        Raises ConfigError, WeightMismatch or UnsupportedModel.
        """
        if num_slots < 1:
            raise ConfigError(f"num_slots must be at least 1, found {num_slots}", param="num_slots")
        if num_threads:
            torch.set_num_threads(num_threads)
        self._device = torch.device(device)
        if dtype == "auto":
            dtype = "float32" if self._device.type == "cpu" else "bfloat16"
        config = checkpoint.config
        with torch.inference_mode():
            self._decoder = Decoder(checkpoint, dtype=_TYPES[dtype], device=self._device, served_context=context_length)
            self._adapters = None if lora is None else AdapterSlots(self._decoder, lora)
            self._pool = KvPool(config, num_slots, _TYPES[dtype if kv_dtype == "auto" else kv_dtype], self._device)
        self.vocab_size = config.vocab_size
        self.num_slots = num_slots
        self.hidden_size = config.hidden_size
        self.kv_bytes_per_token = self._pool.bytes_per_token
        threads = f", {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        self.device = f"{device} (torch, {dtype}{threads})"

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepOutput:
        """See `Executor`."""
        if self._adapters is not None:
            self._adapters.use(plan)
        hidden_TE = self._decoder.forward(
            index(plan.token_ids_T, self._device),
            index(plan.slots_T, self._device),
            packed_batch(plan, self._device),
            self._pool,
        )
        rows_R = sorted({s.row for s in plan.samples} | {s.row for s in plan.scores})
        if self._adapters is not None:
            self._adapters.keep(rows_R)
        normed_E = self._decoder.norm(hidden_TE[rows_R + plan.hidden_rows.tolist()])
        logits_RV = self._decoder.logits(normed_E[: len(rows_R)])
        return output_of(logits_RV, rows_R, normed_E[len(rows_R) :], plan)

    def close(self) -> None:
        """Frees weights and pool; the executor must not be used again."""
        del self._decoder, self._pool, self._adapters
