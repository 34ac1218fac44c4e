"""Which drafters an engine gets."""

from __future__ import annotations

import pytest

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.scheduler.rows import Rows
from radixlang.runtime.speculation.select import make_speculator


def make(options, executor, draft_executor=None):
    config = EngineConfig(**options)
    return make_speculator(
        config,
        Rows(2, 16, 1),
        page_size=1,
        max_context=16,
        executor=executor,
        draft_executor=draft_executor,
        branches=False,
    )


@pytest.mark.parametrize(
    ("options", "has_model", "names"),
    [
        ({}, False, ["tree", "ngram"]),
        ({"speculative_draft_model_path": "d"}, True, ["tree", "ngram", "draft"]),
        ({"speculative_algorithm": "tree"}, False, ["tree"]),
        ({"speculative_algorithm": "NGRAM"}, False, ["ngram"]),
        ({"speculative_algorithm": "draft", "speculative_draft_model_path": "d"}, True, ["draft"]),
        ({"disable_radix_cache": True}, False, ["ngram"]),
        ({"speculative_algorithm": "tree", "disable_radix_cache": True}, False, []),
        ({"speculative_algorithm": "none"}, False, []),
    ],
)
def test_drafters_follow_the_configuration(make_executor, options, has_model, names) -> None:
    executor = make_executor(16, lambda prefix, sample: 0)
    speculator = make(options, executor, executor if has_model else None)
    assert [drafter.name for drafter in (speculator._drafters if speculator is not None else [])] == names


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 4),
        ({"speculative_algorithm": "ngram", "speculative_num_draft_tokens": 3}, 3),
        ({"speculative_algorithm": "tree"}, None),
    ],
)
def test_bursts_guess_where_text_is_looked_up_and_the_executor_predicts(make_executor, options, most) -> None:
    executor = make_executor(16, lambda prefix, sample: 0)
    assert make(options, executor).predictions is None
    executor.max_guessed, executor.new_predictor = 4, lambda habits: None
    predictions = make(options, executor).predictions
    assert (None if predictions is None else predictions.max_guessed) == most
