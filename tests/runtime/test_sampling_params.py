"""Sampling values at the border: what no sampler could use is refused, naming its field."""

import pytest

from radixlang.errors import InvalidSampling
from radixlang.runtime.sampling_params import SamplingParams


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampling_seed", 10**400),
        ("max_new_tokens", 1 << 20000),
        ("temperature", float("nan")),
        ("top_p", float("inf")),
        ("logit_bias", {10**400: 1.0}),
        ("stop_token_ids", (1 << 20000,)),
        ("stop_regex", ("(",)),
        ("stop_regex", ("",)),
        ("stop_regex", ("a",) * 1000),
        ("stop", ("",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",  # some integers are too long to be shown
)
def test_a_useless_value_is_named(field, value):
    with pytest.raises(InvalidSampling) as caught:
        SamplingParams(**{field: value}).check(vocab_size=100)
    assert caught.value.param == field


def test_the_bounds_themselves_are_allowed():
    SamplingParams(temperature=0, top_p=1, top_k=-1, n=128, sampling_seed=2**64 - 1, stop_regex=("a+",)).check(100)
