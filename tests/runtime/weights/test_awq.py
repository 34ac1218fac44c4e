"""AWQ: the order of its nibbles, and the blocks that it becomes."""

import numpy as np
import pytest

from radixlang.runtime.weights.quantised import QuantisedLinear, Scheme


def test_awq(by_hand):
    values, zeros, scales, group = by_hand.quantities(np.random.default_rng(1), 32, 64, 4, 16)
    arrays = by_hand.awq_parts(values, zeros, scales)
    linear = QuantisedLinear(Scheme("awq"), arrays, "here")
    assert linear.shape == (32, 64)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), by_hand.plain(values, zeros, scales, group))


@pytest.mark.parametrize("group_size", [32, 128])
def test_awq_becomes_blocks(by_hand, group_size):
    values, zeros, scales, _ = by_hand.quantities(np.random.default_rng(1), 32, 256, 4, group_size)
    arrays = by_hand.awq_parts(values, zeros, scales)
    by_hand.check_blocks(QuantisedLinear(Scheme("awq"), arrays, "here"), "A4")
