"""The executor on the native CPU step: packs a checkpoint, owns the KV pool, turns plans into results."""

from __future__ import annotations

from ...errors import ConfigError
from ...kernels.cpu import load
from ...kernels.cpu.describe import ModelDescription
from ...kernels.cpu.pack import pack_model
from ...kernels.cpu.predictor import HabitTables, NativePredictor
from ...kernels.cpu.step import NativeStep, StepResults
from ...kernels.cpu.structs import MOST_GUESSED
from ..config import EngineConfig
from ..lora.names import SlotSize
from ..weights.checkpoint import Checkpoint
from .plan import Guessed, Logprobs, StepOutput, StepPlan

_MIN_ROWS = 4096
"""Rows of one step that scratch is reserved for, at least; untouched scratch costs only address space."""


class NativeExecutor:
    """Implements `Executor`: batch-invariant to the last bit. Not thread-safe. `Predicts`, too."""

    max_guessed = MOST_GUESSED

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, num_slots: int, lora: SlotSize | None = None
    ) -> None:
        """Raises UnsupportedModel (NativeUnavailable where there is no library), WeightMismatch or BadCheckpoint for a
        checkpoint that the step does not run, ConfigError when the memory does not suffice."""
        if num_slots < 1:
            raise ConfigError(f"num_slots must be at least 1, found {num_slots}", param="num_slots")
        model = checkpoint.config
        library = load.load()
        threads = config.num_threads or load.default_threads()
        self._description = ModelDescription(checkpoint, config.context_length or model.max_context)
        self._packed = pack_model(
            checkpoint,
            self._description.specs,
            library=library,
            cache_dir=load.cache_folder() / "packed",
            use_cache=config.weight_cache,
            num_threads=threads,
        )
        checkpoint.forget_pages()
        isa = load.instruction_set()
        kv_dtype = _kv_dtype(isa) if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
        self._step = NativeStep(
            self._description.model(self._packed),
            num_slots=num_slots,
            kv_dtype=kv_dtype,
            num_threads=threads,
            num_adapters=0 if lora is None else lora.num_slots,
            max_tokens=max(_MIN_ROWS, config.chunked_prefill_size + config.max_running_requests),
        )
        self.vocab_size = model.vocab_size
        self.num_slots = num_slots
        self.hidden_size = model.hidden_size
        self.kv_bytes_per_token = self._step.kv_bytes_per_token
        self.device = f"cpu (native, {isa}, {threads} threads, {kv_dtype} cache)"

    def execute(self, plan: StepPlan) -> StepOutput:
        """See `Executor`. Masks are filled before the head: which of its columns are computed depends on them."""
        rounds, guesses = self._step.run(plan)
        first, *further = (_output(plan, results) for results in rounds)
        first.further = further
        if guesses is not None:
            first.guessed = Guessed(
                guesses.num_learned,
                guesses.streak,
                guesses.num_steps,
                guesses.num_tries,
                guesses.num_guessed,
                guesses.num_right,
            )
        return first

    def new_predictor(self, habits: HabitTables | None = None) -> NativePredictor:
        """See `Predicts`."""
        return NativePredictor(self.vocab_size, habits)

    def phase_seconds(self) -> dict[str, float]:
        """See `NativeStep.phase_seconds`."""
        return self._step.phase_seconds()

    def close(self) -> None:
        """Frees weights, pool and threads; the executor must not be used again."""
        self._step.close()
        self._packed.close()


def _kv_dtype(isa: str) -> str:
    """What attention is fastest on: bfloat16 where one instruction multiplies pairs of it, else float16."""
    return "bfloat16" if isa == "avx512bf16" else "float16"


def _output(plan: StepPlan, results: StepResults) -> StepOutput:
    num_samples = len(plan.samples)
    begin = sum(len(s.logprob_ids) for s in plan.samples) if plan.scores else 0
    return StepOutput(
        token_ids_S=results.token_ids_S,
        logprobs_S=_sample_logprobs(plan, results),
        scores_N=[
            _logprobs(results, num_samples + i, score.num_top, at, len(score.logprob_ids))
            for i, (score, at) in enumerate(
                zip(plan.scores, _starts(begin, [len(s.logprob_ids) for s in plan.scores]), strict=True)
            )
        ],
        hidden_RE=results.hidden_RE,
    )


def _starts(begin: int, counts: list[int]) -> list[int]:
    starts = []
    for count in counts:
        starts.append(begin)
        begin += count
    return starts


def _sample_logprobs(plan: StepPlan, results: StepResults) -> list[Logprobs | None]:
    if not results.logprobs_M.size:
        return [None] * len(plan.samples)
    starts = _starts(0, [len(s.logprob_ids) for s in plan.samples])
    return [
        _logprobs(results, i, s.num_top, at, len(s.logprob_ids)) if s.num_top >= 0 else None
        for i, (s, at) in enumerate(zip(plan.samples, starts, strict=True))
    ]


def _logprobs(results: StepResults, place: int, num_top: int, ids_begin: int, num_ids: int) -> Logprobs:
    top = max(0, num_top)
    return Logprobs(
        logprob=float(results.logprobs_M[place]),
        top_ids=results.top_ids_MK[place, :top].tolist(),
        top_logprobs=results.top_logprobs_MK[place, :top].tolist(),
        id_logprobs=results.id_logprobs_L[ids_begin : ids_begin + num_ids].tolist(),
    )
