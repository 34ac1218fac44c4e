"""Tracks over plain lists of ids, without a scheduler."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.messages import Submit
from radixlang.runtime.request import Request
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.speculation.drafter import Track


def make(ids, *, prompt_len=None, temperature=0.0, namespace="", group=None, rid="r", width=512) -> Track:
    row = np.full(width, 999, np.int32)
    row[: len(ids)] = ids
    submit = Submit(
        rid=rid,
        token_ids=list(ids),
        sampling=SamplingParams(temperature=temperature, max_new_tokens=64),
        namespace=namespace,
        group=group,
    )
    request = Request(submit, row[: len(ids) if prompt_len is None else prompt_len].copy(), seq=1, now_s=0.0)
    return Track(request, row, len(ids))


@pytest.fixture
def make_track():
    return make
