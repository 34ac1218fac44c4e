"""The native step from Python: a plan of numpy arrays in, arrays of results out, in calls without the GIL.

One call a step, or two where another thread fills its masks meanwhile: the layers need none.

S samples, N scores, R hidden rows, W mask words; see runtime/model_runner/plan.py for the meaning of a plan.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, InternalError
from . import structs
from .adapters import AdapterTables
from .load import MESSAGE_BYTES, instruction_set, load

if TYPE_CHECKING:
    Burst = Any
    StepPlan = Any  # runtime/model_runner/plan.py: the layer above; its fields are read
    SamplePlan = Any
    ScorePlan = Any

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


PHASES = (
    *("embedding", "norms", "qkv", "rotation", "attention", "quantise", "output", "gate_up", "down", "head"),
    "sampling",
)
"""rx::Phase of csrc/phases.h. Norms and quantise: rows made ready for the product that follows."""


class StepResults(NamedTuple):
    """M = S + N; samples first. L: all samples' and scores' logprob_ids, one after the other."""

    token_ids_S: Int32
    logprobs_M: Float32
    top_ids_MK: Int32
    top_logprobs_MK: Float32
    id_logprobs_L: Float32
    hidden_RE: Float32


class NativeStep:
    """One loaded model with its KV pool and threads. One call at a time."""

    def __init__(
        self,
        model: structs.Model,
        *,
        num_slots: int,
        kv_dtype: str,
        num_threads: int,
        max_tokens: int,
        num_adapters: int = 0,
    ) -> None:
        """`model` and what it points to must outlive this. num_adapters: of a step, at most.

        Raises ConfigError when memory or threads are short.
        """
        self._library = load()
        structs.check_sizes(self._library)
        self.instruction_set = instruction_set()
        self._model = model
        self._message = ctypes.create_string_buffer(MESSAGE_BYTES)
        self._handle = ctypes.c_void_p()
        options = structs.StepOptions(
            num_threads=num_threads, kv_type=structs.KV_TYPES[kv_dtype], max_tokens=max_tokens, num_slots=num_slots
        )
        status = self._library.rx_step_new(
            ctypes.byref(model), ctypes.byref(options), ctypes.byref(self._handle), self._message, MESSAGE_BYTES
        )
        if status:
            raise ConfigError(
                f"the native step does not start: {self._text()} ({num_slots} KV slots, {num_threads} threads)",
                param="max_total_tokens",
            )
        self.kv_bytes_per_token = int(self._library.rx_step_entry_bytes(self._handle)) * model.num_layers
        self._plan = structs.Plan()
        self._adapters = AdapterTables(model.num_layers, num_adapters)

    def run(self, plan: StepPlan) -> list[StepResults]:
        """What each step drew: one, or as many of a burst as ran.

        Raises InternalError for a plan that is not sound, and what `fill_masks` raises; the next plan may run then.

        Masks that another thread fills are waited for when the layers are done. To start the threads once more costs up
        to 5 % of a step of one row, so all else is filled first.
        """
        keep: list[Any] = []  # until the call returns
        fill = plan.fill_masks
        if fill is not None and not plan.fill_waits:
            fill()
        self._place_layers(plan, keep)
        num_run = 1
        if plan.burst is not None:
            results = self._place_head(plan, keep)
            num_run = self._run_burst(plan.burst)
        elif fill is None or not plan.fill_waits:
            results = self._place_head(plan, keep)
            self._call(self._library.rx_step_run)
        else:
            self._call(self._library.rx_step_run_layers)
            fill()
            results = self._place_head(plan, keep)
            self._call(self._library.rx_step_run_head)
        return [StepResults(*(array[step] for array in results)) for step in range(num_run)]

    def _run_burst(self, burst: Burst) -> int:
        """Steps that ran."""
        end_ids = np.ascontiguousarray(burst.end_ids, np.int32)
        assert burst.halt.dtype == np.int32
        call = structs.BurstCall(end_ids.ctypes.data, burst.halt.ctypes.data, burst.num_steps, len(end_ids))
        self._call(self._library.rx_step_run_burst, ctypes.byref(call))
        return int(call.num_run)

    def _call(self, function: Any, *more: Any) -> None:
        status = function(self._handle, ctypes.byref(self._plan), *more, self._message, MESSAGE_BYTES)
        if status:
            raise InternalError(f"the native step refused its plan: {self._text()}")

    def _place(self, name: str, array: NDArray[Any], dtype: Any, keep: list[Any]) -> None:
        array = np.ascontiguousarray(array, dtype)
        keep.append(array)
        setattr(self._plan, name, array.ctypes.data)

    def _place_layers(self, plan: StepPlan, keep: list[Any]) -> None:
        """What the layers read."""
        target = self._plan
        num_tokens, num_sequences = len(plan.token_ids_T), len(plan.kv_lens_B)
        assert len(plan.positions_T) == len(plan.slots_T) == num_tokens
        assert len(plan.query_start_B1) == num_sequences + 1
        assert len(plan.table_rows_B) == num_sequences
        assert plan.page_table.dtype == np.int32
        assert plan.page_table.flags.c_contiguous
        for name, array in (
            ("token_ids", plan.token_ids_T),
            ("positions", plan.positions_T),
            ("slots", plan.slots_T),
            ("query_start", plan.query_start_B1),
            ("kv_lens", plan.kv_lens_B),
            ("table_rows", plan.table_rows_B),
            ("page_table", plan.page_table),
            ("groups", np.array(plan.groups, np.int32).reshape(-1, 3)),
            ("kept_rows", kept_K := _kept_rows(plan)),
        ):
            self._place(name, array, np.int32, keep)
        target.num_adapters = len(plan.adapters)
        if plan.adapters:
            self._place("adapters", self._adapters.tables(plan.adapters), np.uint64, keep)
            self._place("sequence_adapters", plan.adapters_B, np.int32, keep)
            assert len(plan.adapters_B) == num_sequences
        target.num_tokens, target.num_sequences = num_tokens, num_sequences
        target.table_height, target.table_width = plan.page_table.shape
        target.num_groups, target.num_kept = len(plan.groups), len(kept_K)

    def _place_head(self, plan: StepPlan, keep: list[Any]) -> tuple[NDArray[Any], ...]:
        """What the head reads, and where it writes: the fields of StepResults, for each step of a burst."""
        target = self._plan
        self._place("hidden_rows", plan.hidden_rows, np.int32, keep)
        target.num_hidden = len(plan.hidden_rows)
        self._place("masks", plan.masks_MW, np.uint32, keep)
        target.num_masks, target.mask_words = plan.masks_MW.shape

        ids: list[Int32] = []
        samples_S = self._samples(plan.samples, keep, ids)
        scores_N = _scores(plan.scores, sum(map(len, ids)), ids)
        self._place("samples", samples_S, structs.SAMPLE, keep)
        self._place("scores", scores_N, structs.SCORE, keep)
        flat_ids_L = np.concatenate(ids).astype(np.int32, copy=False) if ids else np.zeros(0, np.int32)
        self._place("logprob_ids", flat_ids_L, np.int32, keep)
        target.num_samples, target.num_scores = len(samples_S), len(scores_N)
        target.num_logprob_ids = len(flat_ids_L)

        num_places = len(samples_S) + len(scores_N)
        max_top = max(chain((s.num_top for s in plan.samples), (s.num_top for s in plan.scores)), default=0)
        target.max_top = max_top = max(0, max_top)
        num_steps = 1 if plan.burst is None else plan.burst.num_steps
        results = (
            np.empty((num_steps, len(samples_S)), np.int32),
            np.empty((num_steps, num_places), np.float32),
            np.empty((num_steps, num_places, max_top), np.int32),
            np.empty((num_steps, num_places, max_top), np.float32),
            np.empty((num_steps, len(flat_ids_L)), np.float32),
            np.empty((num_steps, target.num_hidden, self._model.hidden_size), np.float32),
        )
        for name, array in zip(
            ("sampled_ids", "logprobs", "top_ids", "top_logprobs", "id_logprobs", "hidden"), results, strict=True
        ):
            setattr(target, name, array.ctypes.data)
        return results

    def phase_seconds(self) -> dict[str, float]:
        """How long the phases of the last run took on its first thread, waits for other threads included.

        Of a burst: of all its steps.
        """
        seconds_P = np.zeros(len(PHASES))
        self._library.rx_step_phases(self._handle, seconds_P.ctypes.data)
        return dict(zip(PHASES, seconds_P.tolist(), strict=True))

    def close(self) -> None:
        """Ends the threads and frees the pool; the step must not be used again."""
        if self._handle:
            self._library.rx_step_free(self._handle)
            self._handle = ctypes.c_void_p()

    def _text(self) -> str:
        return self._message.value.decode(errors="replace")

    def _samples(self, samples: Sequence[SamplePlan], keep: list[Any], ids: list[Int32]) -> NDArray[np.void]:
        """The numpy form of the samples, column by column; their ragged parts go to flat arrays."""
        out_S = np.zeros(len(samples), structs.SAMPLE)
        biases: list[Float32] = []
        bias_ids: list[Int32] = []
        penalty_ids: list[Int32] = []
        penalty_counts: list[Int32] = []
        if samples:
            columns = dict(zip(samples[0]._fields, zip(*samples, strict=True), strict=True))
            for name in _COLUMNS:
                out_S[name] = columns[name]
            _ragged(out_S, "biases", columns["bias_ids"], bias_ids)
            biases = [v for v in columns["bias_values"] if len(v)]
            _ragged(out_S, "penalties", columns["penalty_ids"], penalty_ids)
            penalty_counts = [v for v in columns["penalty_counts"] if len(v)]
            _ragged(out_S, "logprob_ids", columns["logprob_ids"], ids)
        self._place("bias_ids", _joined(bias_ids, np.int32), np.int32, keep)
        self._place("bias_values", _joined(biases, np.float32), np.float32, keep)
        self._place("penalty_ids", _joined(penalty_ids, np.int32), np.int32, keep)
        self._place("penalty_counts", _joined(penalty_counts, np.int32), np.int32, keep)
        self._plan.num_biases = sum(map(len, bias_ids))
        self._plan.num_penalties = sum(map(len, penalty_ids))
        return out_S


def _kept_rows(plan: StepPlan) -> Int32:
    """The rows that are read behind the last layer, ascending: of the others it computes keys and values alone."""
    rows = {s.row for s in plan.samples}
    rows.update(s.row for s in plan.scores)
    rows.update(plan.hidden_rows.tolist())
    return np.fromiter(sorted(rows), np.int32, len(rows))


_COLUMNS = (
    *("row", "temperature", "top_k", "top_p", "min_p", "seed", "counter", "mask_row"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "num_top"),
)


def _scores(scores: Sequence[ScorePlan], begin: int, ids: list[Int32]) -> NDArray[np.void]:
    out_N = np.zeros(len(scores), structs.SCORE)
    if scores:
        rows, targets, tops, logprob_ids = zip(*scores, strict=True)
        out_N["row"], out_N["target"], out_N["num_top"] = rows, targets, tops
        _ragged(out_N, "logprob_ids", logprob_ids, ids, begin)
    return out_N


def _ragged(out: NDArray[np.void], field: str, parts: Sequence[Int32], flat: list[Int32], begin: int = 0) -> None:
    """Writes the slices of `parts` in their concatenation, which is appended to `flat`."""
    if not any(map(len, parts)):
        return
    counts = np.fromiter(map(len, parts), np.int32, len(parts))
    out[field]["count"] = counts
    out[field]["begin"] = begin + np.cumsum(counts) - counts
    flat.extend(p for p in parts if len(p))


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)
