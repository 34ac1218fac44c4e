"""Puts an engine together: model, executor, grammars, scheduler. Both kinds of engine start here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .config import EngineConfig
from .heap import give_back_freed
from .late_grammars import LateGrammars
from .messages import FromEngine
from .model_files import ModelFiles, open_model
from .model_runner.load import load_executor
from .model_runner.plan import Executor, Predicts
from .scheduler.scheduler import Scheduler
from .speculation.load import DraftModel, load_draft_model

if TYPE_CHECKING:
    from ..constrained.compiler import GrammarCompiler
    from ..kernels.cpu.predictor import HabitTables
    from .lora.names import AdapterNames, SlotSize
    from .weights.checkpoint import Checkpoint

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Assembled:
    files: ModelFiles
    executor: Executor
    grammars: LateGrammars
    scheduler: Scheduler
    facts: dict[str, Any]
    """What is known of the model once it is loaded; goes over `files.info`."""
    draft_model: DraftModel | None

    def close(self) -> None:
        self.grammars.close()
        self.executor.close()
        if self.draft_model is not None:
            self.draft_model.close()
        self.files.checkpoint.close()


def assemble(
    config: EngineConfig,
    send: Callable[[FromEngine], None],
    *,
    progress: bool = True,
    late_tokenizer: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> Assembled:
    """Loads everything; `send` gets what the scheduler has to tell, on the scheduler's thread.

    late_tokenizer: see `open_model`. `tell` is told what is being loaded. Raises what those and `load_executor` raise,
    ConfigError when the memory does not suffice.
    """
    try:
        return _assemble(config, send, progress, late_tokenizer, tell)
    except MemoryError as error:
        raise ConfigError(
            f"the memory does not suffice ({error}); lower --max-running-requests, --context-length or "
            "--chunked-prefill-size, or take a smaller model",
            param="model_path",
        ) from error


def _assemble(
    config: EngineConfig,
    send: Callable[[FromEngine], None],
    progress: bool,
    late_tokenizer: bool,
    tell: Callable[[str], None],
) -> Assembled:
    started = time.perf_counter()
    tell(f"finding {config.model_path}")
    files = open_model(config, progress=progress, late_tokenizer=late_tokenizer)
    checkpoint = files.checkpoint
    what = f"the weights of {checkpoint.path.name} ({', '.join(checkpoint.formats())})"
    tell(what)
    logger.info("loading %s", what)
    names, room = _adapters(config, checkpoint)
    executor = load_executor(config, checkpoint, lora=room)
    vocab_size = executor.vocab_size
    grammars = LateGrammars(lambda: _compiler(files, vocab_size))
    max_context = min(files.max_context, executor.num_slots)
    draft_model = load_draft_model(config, files.tokenizer, max_context=max_context)
    scheduler = Scheduler(
        config,
        executor,
        files.tokenizer,
        grammars,
        send,
        max_context=max_context,
        eos_token_ids=files.eos_token_ids,
        draft_executor=None if draft_model is None else draft_model.executor,
        adapter_names=names,
        habits=_habits(config, files, executor),
    )
    logger.info(
        "ready in %.2f s: %s on %s, %d KV slots, context %d",
        time.perf_counter() - started, config.model_path, executor.device, executor.num_slots, max_context,
    )  # fmt: skip
    facts = {"max_context": max_context, "device": executor.device, "adapters": names.paths() if names else {}}
    return Assembled(files, executor, grammars, scheduler, facts=facts, draft_model=draft_model)


def _adapters(config: EngineConfig, checkpoint: Checkpoint) -> tuple[AdapterNames | None, SlotSize | None]:
    """Those of the start, and what room the executor keeps for adapters."""
    if not config.enable_lora:
        return None, None
    from .lora.names import AdapterNames, SlotSize

    names = AdapterNames(checkpoint, max_rank=config.max_lora_rank)
    names.start(config.lora_paths)
    return names, SlotSize(config.max_loras_per_batch, names.max_rank)


def _habits(config: EngineConfig, files: ModelFiles, executor: Executor) -> HabitTables | None:
    """What guesses begin with, where there are any that use it."""
    if config.speculative_algorithm == "none" or not isinstance(executor, Predicts):
        return None
    from .speculation.habits import find_habits

    return find_habits(files.tokenizer.digest, executor.vocab_size)


def _compiler(files: ModelFiles, vocab_size: int) -> GrammarCompiler:
    from ..constrained.compiler import GrammarCompiler
    from .tokenizer.vocabulary import vocabulary_of

    vocabulary = vocabulary_of(files.tokenizer, files.eos_token_ids, vocab_size)
    give_back_freed()
    return GrammarCompiler(vocabulary)
