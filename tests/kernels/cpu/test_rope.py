"""The native step's rotary frequencies are those of the torch decoder."""

import numpy as np
import pytest

from radixlang.kernels.cpu import rope as native
from radixlang.runtime.model import rope as torch_rope
from radixlang.runtime.model.config import ModelConfig, RopeConfig

KINDS = [
    RopeConfig(theta=500000.0),
    RopeConfig(dim=16, interleaved=True),
    RopeConfig(kind="linear", factor=4.0),
    RopeConfig(kind="llama3", factor=8.0, original_max_context=8192, theta=500000.0),
    RopeConfig(kind="yarn", factor=4.0, original_max_context=2048),
    RopeConfig(kind="yarn", factor=4.0, original_max_context=2048, mscale=0.7, mscale_all_dim=1.0),
    RopeConfig(kind="yarn", factor=4.0, original_max_context=2048, truncate=False),
    RopeConfig(kind="yarn", factor=4.0, original_max_context=8, theta=100.0, beta_slow=2.0, truncate=False),
    RopeConfig(kind="dynamic", factor=2.0, original_max_context=1024),
    RopeConfig(kind="longrope", short_factor=(1.1,) * 16, long_factor=(3.0,) * 16, original_max_context=1024),
    RopeConfig(freq_factors=tuple(1.0 + i for i in range(16))),
    RopeConfig(kind="linear", factor=2.0, attention_factor=1.7),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("served", [512, 4096])
def test_frequencies_are_those_of_the_torch_decoder(kind: RopeConfig, served: int) -> None:
    config = ModelConfig(
        architecture="llama", vocab_size=8, hidden_size=32, intermediate_size=8, num_layers=1, num_heads=1,
        num_kv_heads=1, head_dim=32, max_context=4096, rope=kind,
    )  # fmt: skip
    [found] = native.of_model(config, served)
    wanted = torch_rope.frequencies(kind, 32, max_context=4096, served_context=served)
    np.testing.assert_allclose(found.inverse_R, wanted.inverse_R.numpy(), rtol=2e-6)
    assert found.magnitude == pytest.approx(wanted.magnitude)
    assert found.interleaved == kind.interleaved
