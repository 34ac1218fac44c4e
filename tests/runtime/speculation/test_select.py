"""Which drafters an engine gets."""

from __future__ import annotations

import pytest

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.scheduler.rows import Rows
from radixlang.runtime.speculation.select import make_speculator


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
    executor = make_executor(16, lambda prefix, sample: 0) if has_model else None
    speculator = make_speculator(
        EngineConfig(**options), Rows(2, 16, 1), page_size=1, max_context=16, draft_executor=executor, branches=False
    )
    assert [drafter.name for drafter in (speculator._drafters if speculator is not None else [])] == names
