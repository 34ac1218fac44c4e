"""The native step beside the reference, on every family: what it rounds must stay small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from radixlang.runtime.weights.open import open_checkpoint

PROMPT = np.random.default_rng(3).integers(3, 131, size=40).tolist()


def test_the_native_step_agrees_with_the_reference(
    family_name: str, make_family: Callable[[str], Any], native_divergence: Any
) -> None:
    checkpoint = open_checkpoint(make_family(family_name).path)
    divergence = native_divergence(checkpoint, PROMPT)
    assert divergence.max() < 5e-3  # bfloat16 weights and cache; a wrong norm, window or rope gives more than 5e-2
    assert divergence.mean() < 5e-4
