"""What compressed-tensors and FP8 checkpoints store: integers, floats of 8 and 4 bits, their scales."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.errors import BadCheckpoint
from radixlang.runtime.weights.quantised import Compact, QuantisedLinear, Scheme, scheme_of


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("inputs", [128, 64, 60])
def test_compressed_tensors_packed_integers(by_hand, bits, symmetric, inputs):
    values, zeros, scales, group = by_hand.quantities(np.random.default_rng(2), 32, inputs, bits, inputs // 4)
    if symmetric:
        zeros[:] = 1 << (bits - 1)
    arrays = {
        "weight_packed": by_hand.words_along_columns(values, bits),
        "weight_scale": scales,
        "weight_shape": np.array([32, inputs]),
    }
    if not symmetric:
        arrays["weight_zero_point"] = by_hand.words_along_rows(zeros, bits)
    linear = QuantisedLinear(Scheme("stored"), arrays, "here")
    assert linear.shape == (32, inputs)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), by_hand.plain(values, zeros, scales, group))
    by_hand.check_blocks(linear, None if inputs < 128 else f"Q{bits}_0" if symmetric else f"A{bits}")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_zero_point_of_the_whole_matrix_is_not_packed(by_hand, bits):
    values, *_ = by_hand.quantities(np.random.default_rng(2), 32, 64, bits, 64)
    arrays = {
        "weight_packed": by_hand.words_along_columns(values, bits), "weight_shape": np.array([32, 64]),
        "weight_scale": np.array([0.25], np.float32), "weight_zero_point": np.array([-3], np.int8),
    }  # fmt: skip
    linear = QuantisedLinear(Scheme("stored"), arrays, "here")
    wanted = (values - (1 << (bits - 1)) + 3) * np.float32(0.25)
    np.testing.assert_array_equal(linear.dense(), wanted)
    by_hand.check_blocks(linear, f"A{bits}")


@pytest.mark.parametrize("shape", [(), (1,), (32,), (32, 1), (32, 4)])
def test_integers_of_eight_bits(by_hand, shape):
    random = np.random.default_rng(3)
    weight = random.integers(-128, 128, (32, 64)).astype(np.int8)
    scale = random.uniform(0.01, 0.1, shape).astype(np.float32)
    wanted = weight * np.broadcast_to(
        scale.reshape(-1, 1) if len(shape) < 2 else scale.repeat(64 // shape[1], 1), (32, 64)
    )
    linear = QuantisedLinear(Scheme("stored"), {"weight": weight, "weight_scale": np.array(scale)}, "here")
    np.testing.assert_array_equal(linear.dense(), wanted)
    assert linear.form() == (None if shape == (32, 4) else "A8")  # these scales do not fit into fp16
    linear.arrays["weight_scale"] = np.array(scale.astype(np.float16))
    by_hand.check_blocks(linear, None if shape == (32, 4) else "Q8_0")


def test_integers_of_eight_bits_with_zero_points_and_in_blocks(by_hand):
    random = np.random.default_rng(8)
    weight = random.integers(-128, 128, (40, 64)).astype(np.int8)
    scale = random.uniform(0.01, 0.1, (3, 2)).astype(np.float16)
    zero = random.integers(-128, 128, (40, 2)).astype(np.int8)
    parts = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    linear = QuantisedLinear(Scheme("stored", block=(16, 32)), parts, "here")
    scales = scale.astype(np.float32).repeat(16, 0)[:40].repeat(32, 1)
    np.testing.assert_array_equal(linear.dense(), (weight.astype(np.float32) - zero.repeat(32, 1)) * scales)
    by_hand.check_blocks(linear, "A8")
    assert QuantisedLinear(Scheme("stored"), {"weight": weight, "weight_scale": scale[:1, :1]}, "here").form() == "Q8_0"


def test_fp8_is_what_torch_makes_of_it():
    torch = pytest.importorskip("torch")
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = torch.from_numpy(codes).view(torch.float8_e4m3fn).float().numpy()
    linear = QuantisedLinear(Scheme("stored"), {"weight": codes, "weight_scale": np.ones(1, np.float32)}, "here")
    np.testing.assert_array_equal(linear.dense(), wanted)
    assert linear.form() is None


@pytest.mark.parametrize("shape", [(), (24, 1), (3, 4)])
def test_fp8_is_rounded_to_bfloat16_as_torch_does(shape):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(10)
    codes = random.integers(0, 256, (24, 64)).astype(np.uint8)
    scale = random.uniform(1e-3, 1, shape).astype(np.float32)
    linear = QuantisedLinear(
        Scheme("stored", block=(8, 16)), {"weight": codes, "weight_scale": np.array(scale)}, "here"
    )
    compact = linear.compact()
    assert compact == Compact("BF16")
    found = torch.from_numpy(linear.blocks(compact).view(np.int16)).view(torch.bfloat16)
    wanted = torch.from_numpy(linear.dense()).bfloat16()
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_fp8_in_blocks_with_a_rest():
    random = np.random.default_rng(4)
    codes = random.integers(0, 120, (40, 70)).astype(np.uint8)
    scale = random.uniform(0.5, 2, (3, 5)).astype(np.float32)
    linear = QuantisedLinear(Scheme("stored", block=(16, 16)), {"weight": codes, "weight_scale_inv": scale}, "here")
    base = QuantisedLinear(Scheme("stored"), {"weight": codes, "weight_scale": np.ones(1, np.float32)}, "here").dense()
    np.testing.assert_array_equal(linear.dense(), base * np.kron(scale, np.ones((16, 16), np.float32))[:40, :70])


EIGHT_BIT_INPUTS = {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 8, "dynamic": True}}


def test_which_checkpoints_round_their_inputs():
    def rounds(**config):
        return scheme_of(config, "here").rounds_inputs

    assert rounds(quant_method="fp8")
    assert rounds(quant_method="compressed-tensors", config_groups={"group_0": EIGHT_BIT_INPUTS})
    weights_only = {"weights": {"num_bits": 8}, "input_activations": None}
    assert not rounds(quant_method="compressed-tensors", config_groups={"group_0": weights_only})
    assert not rounds(
        quant_method="compressed-tensors", config_groups={"group_0": EIGHT_BIT_INPUTS, "group_1": weights_only}
    )
    assert not rounds(quant_method="gptq", bits=4)


@given(st.sampled_from([(1, 1), (40, 1), (3, 4), (40, 4)]), st.booleans())
def test_eights_are_the_numbers_of_dense(shape, is_float):
    random = np.random.default_rng(5)
    codes = random.integers(0, 120, (40, 64)).astype(np.uint8)
    weight = codes if is_float else codes.view(np.int8)
    scale = random.uniform(0.5, 2, shape).astype(np.float32)
    scheme = Scheme("stored", block=(16, 16), rounds_inputs=True)
    linear = QuantisedLinear(scheme, {"weight": weight, "weight_scale": scale}, "here")
    found = linear.eights()
    assert found.is_float == is_float
    ones = {"weight": weight, "weight_scale": np.ones(1, np.float32)}
    whole = QuantisedLinear(Scheme("stored"), ones, "here").dense()
    assert np.array_equal(found.codes_NK, codes)
    size = 64 // found.scales_NG.shape[1]
    np.testing.assert_array_equal(linear.dense(), whole * found.scales_NG.repeat(size, 1))


def test_what_has_no_equal_groups_or_zeros_of_its_own_is_not_multiplied_in_eight_bits():
    weight, scheme = np.zeros((40, 70), np.int8), Scheme("stored", block=(16, 16), rounds_inputs=True)

    def eights(scheme=scheme, **arrays):
        return QuantisedLinear(scheme, {"weight": weight, **arrays}, "here").eights()

    rows = np.ones((40, 1), np.float32)
    assert eights(weight_scale=rows) is not None
    assert eights(weight_scale=np.ones((3, 5), np.float32)) is None
    assert eights(weight_scale=rows, weight_zero_point=np.ones((40, 1), np.int8)) is None
    assert eights(Scheme("stored"), weight_scale=rows) is None
    with pytest.raises(BadCheckpoint, match="not finite"):
        eights(weight_scale=rows * np.inf)


def test_nvfp4():
    random = np.random.default_rng(5)
    codes = random.integers(0, 16, (8, 32))
    packed = (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)
    scale = random.integers(40, 80, (8, 2)).astype(np.uint8)
    arrays = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": np.array([4.0], np.float32)}
    found = QuantisedLinear(Scheme("stored"), arrays, "here").dense()
    magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    value = np.array([[(-1 if c & 8 else 1) * magnitudes[c & 7] for c in row] for row in codes], np.float32)
    exponent = [[(1 + (c & 7) / 8) * 2.0 ** ((c >> 3) - 7) / 4 for c in row] for row in scale.astype(int)]
    np.testing.assert_array_equal(found, value * np.array(exponent, np.float32).repeat(16, 1))
