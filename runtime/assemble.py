"""Puts an engine together: model, tokenizer, executor, grammars, scheduler. Both kinds of engine start here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..constrained.compiler import GrammarCompiler
from ..constrained.vocabulary import Vocabulary
from ..errors import ConfigError
from .config import EngineConfig
from .messages import FromEngine
from .model_runner.load import load_executor
from .model_runner.plan import Executor
from .scheduler.scheduler import Scheduler
from .store.resolve import resolve_model
from .tokenizer.interface import Tokenizer
from .tokenizer.open import open_tokenizer
from .weights.checkpoint import Checkpoint
from .weights.open import open_checkpoint

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ModelFiles:
    """A model as both processes need it; opening reads headers and the tokenizer only."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    info: dict[str, Any]
    max_context: int
    eos_token_ids: frozenset[int]


def open_model(config: EngineConfig, *, progress: bool = True) -> ModelFiles:
    """Raises ModelNotFound, BadCheckpoint, UnsupportedModel or ConfigError, each saying what to do."""
    path = resolve_model(config.model_path, progress=progress)
    checkpoint = open_checkpoint(path)
    tokenizer = open_tokenizer(Path(config.tokenizer_path) if config.tokenizer_path else checkpoint)
    model = checkpoint.config
    max_context = model.max_context
    if config.context_length is not None:
        if config.context_length > max_context:
            raise ConfigError(
                f"--context-length {config.context_length} is more than the model's own {max_context}; lower it",
                param="context_length",
            )
        max_context = config.context_length
    eos = frozenset(model.eos_token_ids) | tokenizer.eos_token_ids
    bos = tokenizer.bos_token_id
    info = {
        "model_path": config.model_path,
        "tokenizer_path": config.tokenizer_path or config.model_path,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "model_type": model.architecture,
        "architectures": [model.architecture],
        "max_context": max_context,
        "vocab_size": model.vocab_size,
        "chat_template": _chat_template(config, tokenizer),
        "bos_token": tokenizer.token_text(bos) if bos is not None else None,
        "eos_token": tokenizer.token_text(min(tokenizer.eos_token_ids)) if tokenizer.eos_token_ids else None,
        "eos_token_ids": sorted(eos),
        "has_image_understanding": False,
        "has_audio_understanding": False,
    }
    return ModelFiles(checkpoint, tokenizer, info, max_context, eos)


def _chat_template(config: EngineConfig, tokenizer: Tokenizer) -> str | None:
    given = config.chat_template
    if given is None:
        return tokenizer.chat_template
    path = Path(given)
    if path.suffix in (".jinja", ".j2", ".txt") or path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--chat-template {given}: {error.strerror}", param="chat_template") from None
    if "{%" in given or "{{" in given:
        return given
    raise ConfigError(f"--chat-template {given}: not a file and not Jinja source", param="chat_template")


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
