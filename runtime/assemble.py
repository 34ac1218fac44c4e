"""Puts an engine together: model, tokenizer, executor, grammars, scheduler. Both kinds of engine start here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..constrained.compiler import GrammarCompiler
from ..constrained.vocabulary import Vocabulary
from .config import EngineConfig
from .messages import FromEngine
from .model_files import ModelFiles, open_model
from .model_runner.load import load_executor
from .model_runner.plan import Executor
from .scheduler.scheduler import Scheduler

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Assembled:
    files: ModelFiles
    executor: Executor
    grammars: GrammarCompiler
    scheduler: Scheduler

    def close(self) -> None:
        self.grammars.close()
        self.executor.close()
        self.files.checkpoint.close()


def assemble(config: EngineConfig, send: Callable[[FromEngine], None], *, progress: bool = True) -> Assembled:
    """Loads everything; `send` gets what the scheduler has to tell, on the scheduler's thread."""
    started = time.perf_counter()
    files = open_model(config, progress=progress)
    executor = load_executor(config, files.checkpoint)
    tokenizer = files.tokenizer
    vocabulary = Vocabulary(
        token_bytes=[tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)],
        eos_token_ids=files.eos_token_ids,
        special_token_ids=tokenizer.special_token_ids,
        size=executor.vocab_size,
        digest=tokenizer.digest,
        encode=tokenizer.encode_continuation,
    )
    grammars = GrammarCompiler(vocabulary)
    max_context = min(files.max_context, executor.num_slots)
    files.info["max_context"] = max_context
    files.info["device"] = executor.device
    scheduler = Scheduler(
        config,
        executor,
        tokenizer,
        grammars,
        send,
        max_context=max_context,
        eos_token_ids=files.eos_token_ids,
    )
    logger.info(
        "ready in %.2f s: %s on %s, %d KV slots, context %d",
        time.perf_counter() - started, config.model_path, executor.device, executor.num_slots, max_context,
    )  # fmt: skip
    return Assembled(files, executor, grammars, scheduler)
