"""Any other decoder family: transformers' own modelling code over our slots. T packed rows, R rows with logits.

No line here is about a family: attention and masks go through the hooks of runtime/model/transformers_hooks.py, the
head, its scale and its softcap stay the model's. A model that calls no such hook gets its sequences one by one, with
our slots as its cache. What neither can carry (recurrent states, masks of a model's own) is found by trying at load:
the loaded model must say the same in chunks and through slots as it does whole.

Rows agree with those of other batches and chunkings to rounding (about 1e-5 relative in float32).
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UnsupportedModel, WeightMismatch
from ...kernels.reference.batch import Extend, PackedBatch, padded_slots
from ..model.transformers_cache import SlotCache
from ..model.transformers_hooks import NAME, LazyKvPool, PackedStep, current_step, fix_rotary_scaling, register
from ..weights.checkpoint import Checkpoint
from .plan import Int32, StepOutput, StepPlan
from .torch_batch import index, packed_batch
from .torch_sampler import output_of

logger = logging.getLogger(__name__)

_TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
_TOLERANCE = {"float32": 1e-3, "bfloat16": 8e-2, "float16": 2e-2}
"""Of a logit at the check, relative to the spread of its row."""
_CHECKED = 12
"""Tokens of the check's longer sequence."""


class TransformersExecutor:
    """Implements `Executor`. Not thread-safe."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        plan_slots: Callable[[int], int],
        dtype: str = "float32",
        kv_dtype: str = "auto",
        num_threads: int = 0,
        device: str = "cpu",
        context_length: int | None = None,
    ) -> None:
        """plan_slots: the number of KV slots, told the bytes of one, which are known once the model has run.

        dtype, kv_dtype, num_threads, device, context_length: as for `TorchExecutor`.
        Raises UnsupportedModel for a model that the hooks cannot carry, WeightMismatch for missing weights, what
        plan_slots raises.
        """
        if num_threads:
            torch.set_num_threads(num_threads)
        self._device = torch.device(device)
        if dtype == "auto":
            dtype = "float32" if self._device.type == "cpu" else "bfloat16"
        kv_type = _TYPES[dtype if kv_dtype == "auto" else kv_dtype]
        self._model = _load(checkpoint, _TYPES[dtype], self._device)
        fix_rotary_scaling(self._model, context_length or checkpoint.config.max_context)
        self._parameters = inspect.signature(self._model.forward).parameters
        self._num_layers = int(self._model.config.get_text_config().num_hidden_layers)
        self._is_packed = True
        self._normed_RE: Tensor | None = None
        self._model.get_output_embeddings().register_forward_pre_hook(self._see_head_input)
        self._check(checkpoint, _TOLERANCE[dtype])
        self.kv_bytes_per_token = self._measure(kv_type)
        self.num_slots = plan_slots(self.kv_bytes_per_token)
        self._pool = LazyKvPool(self.num_slots, kv_type)
        threads = f", {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        calls = "" if self._is_packed else ", one sequence a call"
        self.device = f"{device} (transformers{calls}, {dtype}{threads})"

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepOutput:
        """See `Executor`."""
        rows_R = sorted({s.row for s in plan.samples} | {s.row for s in plan.scores})
        logits_RV, normed_RE = self._forward(
            plan.token_ids_T,
            plan.slots_T,
            packed_batch(plan, self._device),
            self._pool,
            rows_R + plan.hidden_rows.tolist(),
        )
        return output_of(logits_RV[: len(rows_R)], rows_R, normed_RE[len(rows_R) :], plan)

    def close(self) -> None:
        """Frees weights and pool; the executor must not be used again."""
        del self._model, self._pool

    def _forward(
        self, token_ids_T: Int32, slots_T: Int32, batch: PackedBatch, pool: LazyKvPool, keep: list[int]
    ) -> tuple[Tensor, Tensor]:
        """(float32 logits, what the head read) of the rows `keep`; writes all rows' K and V to their slots."""
        ids_T = index(token_ids_T, self._device)
        if self._is_packed:
            token = current_step.set(PackedStep(batch, index(slots_T, self._device), pool))
            try:
                logits_RV, normed_RE = self._call(ids_T, batch.positions_T, len(ids_T), keep, use_cache=False)
            finally:
                current_step.reset(token)
            return logits_RV, normed_RE
        found: dict[int, tuple[Tensor, Tensor]] = {}
        # A sequence whose prefix another one of the step computes begins behind it.
        for sequence in sorted(batch.sequences, key=lambda s: int(batch.positions_T[s.first])):
            rows = slice(sequence.first, sequence.end)
            mine = [row for row in keep if sequence.first <= row < sequence.end]
            positions_N = batch.positions_T[rows]
            first, end = int(positions_N[0]), int(positions_N[-1]) + 1
            cache = SlotCache(pool, self._num_layers, first, sequence.slots_L[:end])
            wanted = [row - sequence.first for row in mine]
            outputs = self._call(ids_T[rows], positions_N, end, wanted, use_cache=True, past_key_values=cache)
            found.update({row: (outputs[0][i], outputs[1][i]) for i, row in enumerate(mine)})
            last = outputs
        if not keep:
            return last
        return torch.stack([found[row][0] for row in keep]), torch.stack([found[row][1] for row in keep])

    def _call(
        self, ids_T: Tensor, positions_T: Tensor, num_visible: int, keep: list[int], **options: Any
    ) -> tuple[Tensor, Tensor]:
        """One call of the model on one row of tokens; num_visible: length of its mask, which hides nothing."""
        # Some families cannot compute no row at all.
        keep_R = torch.tensor(keep or [len(ids_T) - 1], device=self._device)
        if "position_ids" in self._parameters:
            options["position_ids"] = positions_T[None]
        keeps = "logits_to_keep" in self._parameters
        if keeps:
            options["logits_to_keep"] = keep_R
        # Without a mask, positions that start again would split the rows.
        mask_1L = torch.ones((1, num_visible), dtype=torch.long, device=self._device)
        output = self._model(input_ids=ids_T[None], attention_mask=mask_1L, **options)
        logits_RV, normed_RE = output.logits[0], self._normed_RE
        assert normed_RE is not None
        if not keeps:
            logits_RV, normed_RE = logits_RV[keep_R], normed_RE[keep_R]
        return logits_RV[: len(keep)].float(), normed_RE[: len(keep)]

    def _see_head_input(self, module: Any, args: tuple[Tensor, ...]) -> None:
        self._normed_RE = args[0][0]

    def _packed(self, work: list[tuple[Int32, int, Int32]], pool: LazyKvPool) -> list[Tensor]:
        """Logits of all rows of each (ids, tokens before them, slots of the sequence)."""
        starts = np.cumsum([0, *(len(ids) for ids, _, _ in work)]).tolist()
        sequences = [
            Extend(first, end, index(padded_slots(slots[: done + len(ids)]), self._device))
            for (ids, done, slots), (first, end) in zip(work, pairwise(starts), strict=True)
        ]
        positions = np.concatenate([np.arange(done, done + len(ids), dtype=np.int32) for ids, done, _ in work])
        logits_TV, _ = self._forward(
            np.concatenate([ids for ids, _, _ in work]),
            np.concatenate([slots[done : done + len(ids)] for ids, done, slots in work]),
            PackedBatch(sequences, index(positions, self._device)),
            pool,
            list(range(starts[-1])),
        )
        return [logits_TV[first:end] for first, end in pairwise(starts)]

    def _check(self, checkpoint: Checkpoint, tolerance: float) -> None:
        """Takes the way of calling the model that gives what it gives alone: packed, else one sequence a call."""
        kind = checkpoint.config.architecture.rpartition(":")[2]
        where = f"{checkpoint.path}: {kind} models cannot be served through transformers here"
        if getattr(self._model, "_is_stateful", False):  # what a short check in 16 bits might not show
            raise UnsupportedModel(f"{where}: their layers keep a recurrent state", param="model")
        reasons = []
        for is_packed in (True, False):
            self._is_packed = is_packed
            try:
                reasons.append(self._difference(checkpoint.config.vocab_size, tolerance))
            except Exception as error:  # whatever the family's code makes of hooks that it does not know
                logger.debug("the check of %s failed", checkpoint.path, exc_info=True)
                text = " ".join(str(error).split())[:200]
                reasons.append(f"attention is none of the usual ones ({type(error).__name__}: {text})")
            if not reasons[-1]:
                return
        raise UnsupportedModel(f"{where}: {reasons[0]}", param="model")

    @torch.inference_mode()
    def _difference(self, vocab_size: int, tolerance: float) -> str:
        """Two sequences in chunks, over scattered slots, against the model's own attention on each alone: what is wrong
        with the first, or nothing."""
        random = np.random.default_rng(0)
        ids = [random.integers(0, vocab_size, n).astype(np.int32) for n in (_CHECKED, _CHECKED // 2)]
        slots = np.split(random.permutation(2 * _CHECKED).astype(np.int32), 2)
        self._model.set_attn_implementation("eager")
        whole = [self._model(input_ids=index(i, self._device)[None], use_cache=False).logits[0].float() for i in ids]
        if self._is_packed:
            self._model.set_attn_implementation(NAME)
        pool = LazyKvPool(2 * _CHECKED, self._model.dtype)
        parts: list[list[Tensor]] = [[], []]
        for (a, b), (c, d) in zip(pairwise((0, 5, 6, _CHECKED)), pairwise((0, 1, 4, _CHECKED // 2)), strict=True):
            found = self._packed([(ids[0][a:b], a, slots[0]), (ids[1][c:d], c, slots[1])], pool)
            for part, logits in zip(parts, found, strict=True):
                part.append(logits)
        for wanted_TV, part in zip(whole, parts, strict=True):
            spread = float(wanted_TV.amax() - wanted_TV.amin())
            off = float((torch.cat(part) - wanted_TV).abs().amax()) / max(spread, 1e-30)
            if not off < tolerance:
                return (
                    f"in chunks they do not say what they say whole (off by {off:.1e}); they keep more than keys and "
                    "values, or attend in a way of their own"
                )
        self.vocab_size = int(whole[0].shape[-1])
        assert self._normed_RE is not None
        self.hidden_size = int(self._normed_RE.shape[-1])
        return ""

    @torch.inference_mode()
    def _measure(self, kv_type: torch.dtype) -> int:
        """Bytes of a slot in all layers."""
        pool = LazyKvPool(1, kv_type)
        self._packed([(np.zeros(1, np.int32), 0, np.zeros(1, np.int32))], pool)
        return pool.bytes_per_token


def _load(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> Any:
    """Nothing is fetched, and no code of the directory is run. Raises UnsupportedModel or WeightMismatch."""
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    register()
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # whatever its classes make of a config.json or a file that lies
        text = " ".join(str(error).split())[:300]
        raise UnsupportedModel(
            f"{checkpoint.path}: transformers {transformers.__version__} does not load it ({text})", param="model"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise WeightMismatch(f"{checkpoint.path}: {len(missing)} tensors are missing, the first is {missing[0]}")
    return model.to(device).eval().requires_grad_(False)
