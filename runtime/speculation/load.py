"""Loads the small model that drafts, and sees that it speaks the same tokens as the large one."""

from __future__ import annotations

import dataclasses
import logging

from ...errors import ConfigError
from ..config import EngineConfig
from ..model_files import ModelFiles, open_model
from ..model_runner.load import load_executor
from ..model_runner.plan import Executor
from ..tokenizer.interface import Tokenizer

logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class DraftModel:
    """Whoever loaded it closes it."""

    files: ModelFiles
    executor: Executor

    def close(self) -> None:
        self.executor.close()
        self.files.checkpoint.close()


def load_draft_model(config: EngineConfig, target: Tokenizer, *, max_context: int) -> DraftModel | None:
    """The model of --speculative-draft-model-path, on the same kind of executor; None where none is named.

    Raises ConfigError where its tokenizer is another one, and what opening and loading a model raise.
    """
    path = config.speculative_draft_model_path
    if path is None:
        return None
    own = dataclasses.replace(
        config,
        model_path=path,
        tokenizer_path=None,
        chat_template=None,
        context_length=None,
        max_total_tokens=0,
        quantize="none",
        speculative_algorithm="none",
        speculative_draft_model_path=None,
        enable_lora=False,
        lora_paths=(),
    )
    files = open_model(own)
    try:
        _check_same(target, files.tokenizer, config)
        own = dataclasses.replace(own, context_length=min(max_context, files.max_context))
        executor = load_executor(own, files.checkpoint)
    except BaseException:
        files.checkpoint.close()
        raise
    logger.info("%s drafts, on %s, %d KV slots", path, executor.device, executor.num_slots)
    return DraftModel(files, executor)


def _check_same(target: Tokenizer, draft: Tokenizer, config: EngineConfig) -> None:
    """Every id must mean the same text."""
    if target.digest == draft.digest:
        return
    both = min(target.vocab_size, draft.vocab_size)
    differs = next((i for i in range(both) if target.token_bytes(i) != draft.token_bytes(i)), None)
    if differs is None and target.vocab_size == draft.vocab_size:
        return
    why = (
        f"{draft.vocab_size} ids against {target.vocab_size}"
        if differs is None
        else f"id {differs} is {draft.token_bytes(differs)!r} against {target.token_bytes(differs)!r}"
    )
    raise ConfigError(
        f"--speculative-draft-model-path {config.speculative_draft_model_path}: its tokenizer is not that of "
        f"{config.model_path} ({why}); drafts must be tokens of the model, so take a smaller model of its family",
        param="speculative_draft_model_path",
    )
