"""A model as both processes need it: found, opened, its tokenizer and its facts. No tensors, no scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .config import EngineConfig
from .model.config import FOREIGN
from .sampling_defaults import sampling_defaults_of
from .store.resolve import resolve_model
from .tokenizer.interface import Tokenizer
from .tokenizer.open import open_tokenizer
from .weights.checkpoint import Checkpoint
from .weights.open import open_checkpoint


@dataclass
class ModelFiles:
    """Opening reads headers and the tokenizer only."""

    config: EngineConfig
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    max_context: int
    eos_token_ids: frozenset[int]

    @cached_property
    def info(self) -> dict[str, Any]:
        """What /get_model_info tells of the model."""
        model, tokenizer, config = self.checkpoint.config, self.tokenizer, self.config
        bos = tokenizer.bos_token_id
        return {
            "model_path": config.model_path,
            "tokenizer_path": config.tokenizer_path or config.model_path,
            "is_generation": True,
            "preferred_sampling_params": None,
            "sampling_defaults": sampling_defaults_of(self.checkpoint),
            "weight_version": "default",
            "model_type": model.architecture.removeprefix(FOREIGN),
            "architectures": [model.architecture.removeprefix(FOREIGN)],
            "max_context": self.max_context,
            "vocab_size": model.vocab_size,
            "chat_template": _chat_template(config, tokenizer),
            "tool_template": tokenizer.tool_template if config.chat_template is None else None,
            "bos_token": tokenizer.token_text(bos) if bos is not None else None,
            "eos_token": tokenizer.token_text(min(tokenizer.eos_token_ids)) if tokenizer.eos_token_ids else None,
            "eos_token_ids": sorted(self.eos_token_ids),
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "joins_gens": True,
            "counts_programs": True,
        }


def open_model(config: EngineConfig, *, progress: bool = True, late_tokenizer: bool = False) -> ModelFiles:
    """late_tokenizer: it is read when it is first used, where that can be (see `open_tokenizer`).

    Raises ModelNotFound, BadCheckpoint, UnsupportedModel or ConfigError, each saying what to do.
    """
    path = resolve_model(config.model_path, progress=progress)
    checkpoint = open_checkpoint(path, dummy=config.load_format == "dummy")
    source = Path(config.tokenizer_path) if config.tokenizer_path else checkpoint
    tokenizer = open_tokenizer(source, late=late_tokenizer)
    if tokenizer.vocab_size > checkpoint.config.vocab_size:
        raise ConfigError(
            f"the tokenizer of {config.tokenizer_path or path} has {tokenizer.vocab_size} ids, the model "
            f"{checkpoint.config.vocab_size} embeddings; give this model's own with --tokenizer-path",
            param="tokenizer_path",
        )
    max_context = checkpoint.config.max_context
    if config.context_length is not None:
        if config.context_length > max_context:
            raise ConfigError(
                f"--context-length {config.context_length} is more than the model's own {max_context}; lower it",
                param="context_length",
            )
        max_context = config.context_length
    eos = frozenset(checkpoint.config.eos_token_ids) | tokenizer.eos_token_ids
    return ModelFiles(config, checkpoint, tokenizer, max_context, eos)


def _chat_template(config: EngineConfig, tokenizer: Tokenizer) -> str | None:
    given = config.chat_template
    if given is None:
        return tokenizer.chat_template
    from ..lang.chat_template import chat_template_registry

    if given in chat_template_registry:
        return chat_template_registry[given].to_jinja()
    path = Path(given)
    if path.suffix in (".jinja", ".j2", ".txt") or path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--chat-template {given}: {error.strerror}", param="chat_template") from None
    if "{%" in given or "{{" in given:
        return given
    names = ", ".join(sorted(chat_template_registry))
    raise ConfigError(
        f"--chat-template {given}: no file, no Jinja source and no known name ({names})", param="chat_template"
    )
