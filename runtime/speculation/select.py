"""Which drafters an engine has, from its configuration."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..config import EngineConfig
from ..model_runner.plan import Executor, Predicts
from .drafter import Drafter
from .lookup import LookupDrafter
from .model import ModelDrafter
from .predictions import Predictions
from .speculator import Speculator
from .tree import TreeDrafter

if TYPE_CHECKING:
    from ...kernels.cpu.predictor import HabitTables
    from ..scheduler.rows import Rows

logger = logging.getLogger(__name__)

_MAX_ROWS = 32
"""Steps of more rows are left alone: there the rows of others pay better than guesses (SGLang's table says so too)."""


def make_speculator(
    config: EngineConfig,
    rows: Rows,
    *,
    page_size: int,
    max_context: int,
    executor: Executor,
    draft_executor: Executor | None,
    branches: bool,
    habits: HabitTables | None = None,
) -> Speculator | None:
    """None where it is off. branches: whether drafts may; see `plan.TakesTrees`. habits: see `Predictions`."""
    algorithm = config.speculative_algorithm
    if algorithm == "none":
        return None
    drafters: list[Drafter] = []
    if algorithm in ("auto", "tree") and not config.disable_radix_cache:
        drafters.append(TreeDrafter(page_size, branches=branches))
    if algorithm in ("auto", "ngram"):
        drafters.append(LookupDrafter())
    if draft_executor is not None:
        drafters.append(ModelDrafter(draft_executor, num_rows=_MAX_ROWS, max_context=max_context))
    if not drafters:
        return None
    max_draft_len, predictions = config.speculative_num_draft_tokens, None
    if algorithm in ("auto", "ngram") and isinstance(executor, Predicts):
        predictions = Predictions(executor, max_guessed=max_draft_len, habits=habits)
    return Speculator(drafters, rows, max_draft_len=max_draft_len, max_rows=_MAX_ROWS, predictions=predictions)
