"""The native step beside the reference, on every family: what it rounds must stay small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from radixlang.errors import UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.open import open_checkpoint

PROMPT = np.random.default_rng(3).integers(3, 131, size=40).tolist()


def test_the_native_step_agrees_with_the_reference(
    family_name: str, make_family: Callable[[str], Any], driver: Any
) -> None:
    checkpoint = open_checkpoint(make_family(family_name).path)
    try:
        native = NativeExecutor(checkpoint, EngineConfig(num_threads=1, weight_cache=False), 256)
    except UnsupportedModel as error:
        pytest.skip(f"no native step here: {error}")
    found, wanted = (
        ours.logprobs([(ours.new(), PROMPT)])[0]
        for ours in (driver(native), driver(TorchExecutor(checkpoint, num_slots=256)))
    )
    native.close()
    divergence = (np.exp(wanted.astype(np.float64)) * (wanted - found)).sum(-1)
    assert divergence.max() < 5e-3  # bfloat16 weights and cache; a wrong norm, window or rope gives more than 5e-2
    assert divergence.mean() < 5e-4
