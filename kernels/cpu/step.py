"""The native step from Python: a plan of numpy arrays in, arrays of results out, in calls without the GIL.

One call a step, or two where another thread fills its masks meanwhile: the layers need none.

S samples, N scores, R hidden rows, W mask words; see runtime/model_runner/plan.py for the meaning of a plan.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, InternalError
from . import structs
from .adapters import AdapterTables
from .draws import Draws
from .load import MESSAGE_BYTES, instruction_set, load

if TYPE_CHECKING:
    Burst = Any
    Guessing = Any
    StepPlan = Any  # runtime/model_runner/plan.py: the layer above; its fields are read

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


PHASES = (
    *("embedding", "norms", "qkv", "rotation", "attention", "quantise", "output", "gate_up", "down", "head"),
    "sampling",
)
"""rx::Phase of csrc/phases.h. Norms and quantise: rows made ready for the product that follows."""


class StepResults(NamedTuple):
    """M = S + N, samples first, or 0 where nobody asks for log-probabilities. L: all samples' and scores' logprob_ids,
    one after the other."""

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
                f"the native step does not start: {self._text()} ({num_slots} KV slots, {num_threads} threads); "
                "lower --max-total-tokens, --mem-fraction-static or --num-threads",
                param="max_total_tokens",
            )
        self.kv_bytes_per_token = int(self._library.rx_step_entry_bytes(self._handle)) * model.num_layers
        self._plan = structs.Plan()
        self._kept: list[NDArray[Any]] = []
        """What the plan points to."""
        self._max_tokens = max_tokens
        self._page_table: Int32 | None = None
        self._own = [np.zeros(max_tokens + 1, np.int32) for _ in _COPIED]
        for name, array in zip(_COPIED, self._own, strict=True):
            setattr(self._plan, name, array.ctypes.data)
        self._adapters = AdapterTables(model.num_layers, num_adapters)

    def run(self, plan: StepPlan) -> tuple[list[StepResults], structs.GuessCall | None]:
        """What was drawn: in one round, or in as many of a burst as ran; what came of its guesses, if it makes any.

        Raises InternalError for a plan that is not sound, and what `fill_masks` and the burst's `look` raise; the next
        plan may run then.

        Masks that another thread fills are waited for when the layers are done. To start the threads once more costs up
        to 5 % of a step of one row, so all else is filled first.
        """
        self._kept.clear()
        fill = plan.fill_masks
        if fill is not None and not plan.fill_waits:
            fill()
        self._place_layers(plan)
        if plan.burst is not None:
            results = self._place_head(plan)
            return self._run_burst(plan.burst, results)
        if fill is None or not plan.fill_waits:
            results = self._place_head(plan)
            self._call(self._library.rx_step_run)
        else:
            self._call(self._library.rx_step_run_layers)
            fill()
            results = self._place_head(plan)
            self._call(self._library.rx_step_run_head)
        return results, None

    def _run_burst(
        self, burst: Burst, results: list[StepResults]
    ) -> tuple[list[StepResults], structs.GuessCall | None]:
        end_ids = np.ascontiguousarray(burst.end_ids, np.int32)
        assert burst.halt.dtype == np.int32
        steps, errors = iter(results), list[BaseException]()

        def look() -> int:
            try:
                return int(burst.look(next(steps).token_ids_S))
            except BaseException as error:  # it cannot pass through the library
                errors.append(error)
                return 0

        looks = structs.LOOK() if burst.look is None else structs.LOOK(look)
        guesses = None if burst.guessing is None else self._guesses(burst.guessing)
        call = structs.BurstCall(end_ids.ctypes.data, burst.halt.ctypes.data, looks)
        call.guesses = None if guesses is None else ctypes.addressof(guesses)
        call.num_rounds, call.num_steps, call.num_end_ids = len(results), burst.num_steps, len(end_ids)
        self._call(self._library.rx_step_run_burst, ctypes.byref(call))
        if errors:
            raise errors[0]
        return results[: call.num_run], guesses

    def _guesses(self, guessing: Guessing) -> structs.GuessCall:
        ids = np.ascontiguousarray(guessing.ids, np.int32)
        self._kept.append(ids)
        call = structs.GuessCall(guessing.predictor.handle, ids.ctypes.data, ids.size)
        call.num_learned, call.streak = guessing.num_learned, guessing.streak
        call.most = min(structs.MOST_GUESSED, guessing.max_guessed)
        return call

    def _call(self, function: Any, *more: Any) -> None:
        status = function(self._handle, ctypes.byref(self._plan), *more, self._message, MESSAGE_BYTES)
        if status:
            raise InternalError(f"the native step refused its plan: {self._text()}")

    def _place(self, name: str, array: NDArray[Any], dtype: Any) -> None:
        if not array.size:
            setattr(self._plan, name, None)
            return
        array = np.ascontiguousarray(array, dtype)
        self._kept.append(array)
        setattr(self._plan, name, array.ctypes.data)

    def _place_layers(self, plan: StepPlan) -> None:
        """What the layers read."""
        target = self._plan
        num_tokens, num_sequences = len(plan.token_ids_T), len(plan.kv_lens_B)
        assert len(plan.positions_T) == len(plan.slots_T) == num_tokens
        assert len(plan.query_start_B1) == num_sequences + 1
        assert len(plan.table_rows_B) == num_sequences
        if max(num_tokens, num_sequences) > self._max_tokens:
            raise InternalError(f"a step of {num_tokens} tokens: more than the {self._max_tokens} that it was made for")
        given = plan.token_ids_T, plan.positions_T, plan.slots_T, plan.query_start_B1, plan.kv_lens_B, plan.table_rows_B
        for own, array in zip(self._own, given, strict=True):
            own[: len(array)] = array
        if plan.page_table is not self._page_table:  # the scheduler's, mostly the same
            assert plan.page_table.dtype == np.int32
            assert plan.page_table.flags.c_contiguous
            self._page_table = plan.page_table
            target.page_table = plan.page_table.ctypes.data
            target.table_height, target.table_width = plan.page_table.shape
        target.num_groups, target.num_kept = len(plan.groups), -1
        if plan.groups:
            self._place("groups", np.array(plan.groups, np.int32), np.int32)
        if len(plan.samples) < num_tokens:  # else most are read, if not all
            kept_K = _kept_rows(plan)
            self._place("kept_rows", kept_K, np.int32)
            target.num_kept = len(kept_K)
        target.num_adapters = len(plan.adapters)
        if plan.adapters:
            self._place("adapters", self._adapters.tables(plan.adapters), np.uint64)
            self._place("sequence_adapters", plan.adapters_B, np.int32)
            assert len(plan.adapters_B) == num_sequences
        target.num_tokens, target.num_sequences = num_tokens, num_sequences

    def _place_head(self, plan: StepPlan) -> list[StepResults]:
        """What the head reads, and where it writes: one for each round of a burst."""
        target = self._plan
        self._place("hidden_rows", plan.hidden_rows, np.int32)
        target.num_hidden = len(plan.hidden_rows)
        self._place("masks", plan.masks_MW, np.uint32)
        target.num_masks, target.mask_words = plan.masks_MW.shape

        draws = Draws(plan.samples, plan.scores)
        self._place("samples", draws.samples, np.uint8)
        self._place("scores", draws.scores, np.uint8)
        self._place("bias_ids", draws.bias_ids, np.int32)
        self._place("bias_values", draws.bias_values, np.float32)
        self._place("penalty_ids", draws.penalty_ids, np.int32)
        self._place("penalty_counts", draws.penalty_counts, np.int32)
        self._place("logprob_ids", draws.logprob_ids, np.int32)
        target.num_samples, target.num_scores = num_samples, num_scores = len(plan.samples), len(plan.scores)
        target.num_biases, target.num_penalties = draws.bias_ids.size, draws.penalty_ids.size
        target.num_logprob_ids = num_ids = draws.logprob_ids.size
        target.max_top = max_top = max(0, draws.max_top)

        num_rounds = 1
        if plan.burst is not None:
            guessing = plan.burst.guessing
            num_rounds = plan.burst.num_steps if guessing is None else guessing.num_rounds
        drawn = np.empty((num_rounds, num_samples), np.int32)
        target.sampled_ids = drawn.ctypes.data
        if draws.max_top < 0 and not num_ids and not target.num_hidden:
            return [StepResults(ids_S, *_NOTHING) for ids_S in drawn]
        num_places = num_samples + num_scores
        more = (
            np.empty((num_rounds, num_places), np.float32),
            np.empty((num_rounds, num_places, max_top), np.int32),
            np.empty((num_rounds, num_places, max_top), np.float32),
            np.empty((num_rounds, num_ids), np.float32),
            np.empty((num_rounds, target.num_hidden, self._model.hidden_size), np.float32),
        )
        for name, array in zip(("logprobs", "top_ids", "top_logprobs", "id_logprobs", "hidden"), more, strict=True):
            setattr(target, name, array.ctypes.data)
        return [StepResults(*fields) for fields in zip(drawn, *more, strict=True)]

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


_NOTHING = (
    *(np.zeros(0, np.float32), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32)),
    *(np.zeros(0, np.float32), np.zeros((0, 0), np.float32)),
)
"""Of StepResults, where only tokens are asked for."""
_COPIED = ("token_ids", "positions", "slots", "query_start", "kv_lens", "table_rows")
"""Small arrays of a plan, which are copied: to find an array's address takes longer."""


def _kept_rows(plan: StepPlan) -> Int32:
    """The rows that are read behind the last layer, ascending: of the others it computes keys and values alone."""
    rows = {s.row for s in plan.samples}
    rows.update(s.row for s in plan.scores)
    rows.update(plan.hidden_rows.tolist())
    return np.fromiter(sorted(rows), np.int32, len(rows))
