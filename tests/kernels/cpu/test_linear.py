"""The native linears: against float64, the same bits in every batch, and each instruction set against the others."""

import ctypes
import math

import numpy as np
import pytest

FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q6_K", "Q5_K")  # every kind of weight
QUANTISED = FORMATS[3:]
STORE, ADD, GATED, ACT = range(4)


def quantise(library, isa: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, depth = x.shape
    groups = -(-depth // 32)
    codes = np.empty((rows, groups * 32), np.int8)
    scales, sums = (np.empty((rows, groups), np.float32) for _ in range(2))
    addresses = codes.ctypes.data, scales.ctypes.data, sums.ctypes.data
    assert library.rx_linear_quantise(isa.encode(), x.ctypes.data, rows, depth, *addresses) == 0
    return codes, scales, sums


def rows_of(count: int, depth: int, seed: int = 0) -> np.ndarray:
    """Activations of very different size from row to row and within a row."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, depth)) * np.exp(rng.standard_normal((count, 1)))
    x[:, 7] *= 30
    return x.astype(np.float32)


def test_rows_become_int8_in_groups_of_32(isa, library) -> None:
    x = rows_of(5, 100)
    codes, scales, sums = quantise(library, isa, x)
    padded = np.pad(x, ((0, 0), (0, 28))).reshape(5, 4, 32)
    largest = np.abs(padded).max(axis=2)
    exact = largest / np.float32(127)
    assert (scales >= exact).all()
    assert (scales <= exact * 1.25).all()
    mantissas = np.frexp(scales)[0] * 8  # three significant bits
    np.testing.assert_array_equal(mantissas, np.rint(mantissas))
    assert np.abs(codes.reshape(5, 4, 32) - padded / scales[:, :, None]).max() <= 0.5 + 1e-4
    exact = scales * codes.reshape(5, 4, 32).sum(axis=2, dtype=np.int32)
    assert (np.abs(sums - exact) <= np.abs(exact).max(axis=1, keepdims=True) / 16382 * 1.01).all()


def test_zeros_stay_zero_and_what_is_not_finite_spreads_over_its_row_alone(isa, library, blocks, packed) -> None:
    matrix = packed([("Q4_1", blocks("Q4_1", 40, 96, np.random.default_rng(0)))], 96)
    x = rows_of(4, 96)
    x[0] = 0
    x[1, 5] = np.nan
    x[2, 70] = np.inf
    y = matrix.multiply(isa, x)
    assert not y[0].any()
    assert np.isnan(y[1]).all()
    assert not np.isfinite(y[2]).any()
    np.testing.assert_array_equal(y[3:], matrix.multiply(isa, x[3:]))
    many = matrix.multiply(isa, np.tile(x, (8, 1)))
    np.testing.assert_array_equal(np.isnan(many), np.tile(np.isnan(y), (8, 1)))
    assert not many[::4].any()


@pytest.mark.parametrize("format_", FORMATS)
def test_products_equal_float64(format_, isa, library, blocks, packed) -> None:
    for depth, columns in ((256, 83), (2560, 33)):  # 2560: offsets are summed in more than one span of 32 groups
        x = rows_of(9, depth)
        matrix = packed([(format_, blocks(format_, columns, depth, np.random.default_rng(depth)))], depth)
        weights, y = matrix.dense().astype(np.float64), matrix.multiply(isa, x).astype(np.float64)
        exact = x.astype(np.float64) @ weights.T
        size = np.abs(exact).max(axis=1, keepdims=True)
        assert (np.abs(y - exact) <= size * (0.03 if format_ in QUANTISED else 0.004)).all()
        if format_ in QUANTISED:  # against the rows as they were quantised it is tight
            codes, scales, _ = quantise(library, isa, x)
            rows = (codes.reshape(9, -1, 32) * scales[:, :, None].astype(np.float64)).reshape(9, depth)
            affine = format_ in ("Q4_1", "Q4_K", "Q5_1", "Q5_K")
            assert (np.abs(y - rows @ weights.T) <= size * (5e-4 if affine else 2e-6)).all()


@pytest.mark.parametrize("depth", [32, 96, 576, 1536])
def test_odd_numbers_of_groups(depth, isa, blocks, packed) -> None:
    x = rows_of(3, depth)
    matrix = packed([("Q4_1", blocks("Q4_1", 64, depth, np.random.default_rng(depth)))], depth)
    exact = x.astype(np.float64) @ matrix.dense().T.astype(np.float64)
    assert (np.abs(matrix.multiply(isa, x) - exact) <= np.abs(exact).max(axis=1, keepdims=True) * 0.03).all()


@pytest.mark.parametrize("depth", [32, 96, 576, 1056])
def test_inputs_in_another_order(depth, isa, blocks, packed) -> None:
    """The same bits as rows that were put into that order, and weights that come back in the rows' own."""
    parts = [("Q4_1", blocks("Q4_1", 64, depth, np.random.default_rng(depth)))]
    x, order = rows_of(9, depth), np.random.default_rng(1).permutation(depth).astype(np.int32)
    plain, ordered = packed(parts, depth), packed(parts, depth, inputs=order)
    np.testing.assert_array_equal(ordered.multiply(isa, x), plain.multiply(isa, x[:, order]))
    np.testing.assert_array_equal(ordered.dense()[:, order], plain.dense())


def test_a_depth_that_is_no_multiple_of_32(isa, blocks, packed) -> None:
    x = rows_of(3, 50)
    for format_ in ("F32", "F16", "BF16"):
        matrix = packed([(format_, blocks(format_, 40, 50, np.random.default_rng(1)))], 50)
        exact = x.astype(np.float64) @ matrix.dense().T.astype(np.float64)
        assert (np.abs(matrix.multiply(isa, x) - exact) <= np.abs(exact).max(axis=1, keepdims=True) * 0.004).all()


@pytest.mark.parametrize("format_", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q6_K", "Q5_K"])
def test_a_row_has_the_same_bits_in_every_batch(format_, isa, blocks, packed) -> None:
    matrix = packed([(format_, blocks(format_, 72, 256, np.random.default_rng(2)))], 256)
    x = rows_of(70, 256)
    whole = matrix.multiply(isa, x)
    for count in range(1, 71):
        np.testing.assert_array_equal(matrix.multiply(isa, x[70 - count :]), whole[70 - count :])


def test_groups_without_a_scale_have_their_offset_in_every_batch(isa, blocks, packed) -> None:
    data = blocks("Q4_1", 40, 96, np.random.default_rng(9))
    data.reshape(40, 3, 20)[:, 1, :2] = 0  # the fp16 scale of the second group
    data.reshape(40, 3, 20)[20:, :, :4] = 0  # half of the columns are zero altogether
    matrix = packed([("Q4_1", data)], 96)
    x = rows_of(30, 96)
    whole = matrix.multiply(isa, x)
    assert not whole[:, 20:].any()
    exact = x.astype(np.float64) @ matrix.dense().T.astype(np.float64)
    assert (np.abs(whole - exact) <= np.abs(exact).max(axis=1, keepdims=True) * 0.03).all()
    np.testing.assert_array_equal(whole[:2], matrix.multiply(isa, x[:2]))


def test_columns_may_be_split_anywhere_between_strips(isa, blocks, packed) -> None:
    matrix = packed([("Q4_1", blocks("Q4_1", 120, 96, np.random.default_rng(3)))], 96)
    x = rows_of(7, 96)
    out = np.full((7, 120), np.nan, np.float32)
    for first, last in ((96, 128), (0, 32), (32, 96)):
        matrix.multiply(isa, x, out=out, columns=(first, last))
    np.testing.assert_array_equal(out, matrix.multiply(isa, x))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu2(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) ** 2


@pytest.mark.parametrize("number", range(4))
def test_activations_and_gates(number, isa, blocks, packed) -> None:
    f = (silu, gelu, gelu_tanh, relu2)[number]
    rng = np.random.default_rng(4)
    x = rng.standard_normal((5, 64)).astype(np.float32)
    gate, up = (blocks("Q8_0", 40, 64, rng) for _ in range(2))
    plain_gate, plain_up = (packed([("Q8_0", data)], 64).multiply(isa, x) for data in (gate, up))
    assert np.abs(plain_gate).max() > 10  # both ends of the functions are met
    y = packed([("Q8_0", gate)], 64).multiply(isa, x, epilogue=ACT, activation=number)
    np.testing.assert_allclose(y, f(plain_gate.astype(np.float64)), rtol=2e-5, atol=2e-5)
    y = packed([("Q8_0", gate), ("Q8_0", up)], 64, gate_up=True).multiply(isa, x, epilogue=GATED, activation=number)
    np.testing.assert_allclose(y, f(plain_gate.astype(np.float64)) * plain_up, rtol=2e-5, atol=1e-3)


def test_bias_and_residual(isa, blocks, packed) -> None:
    rng = np.random.default_rng(5)
    data, x = blocks("Q4_1", 40, 64, rng), rows_of(8, 64)
    bias = np.zeros(64, np.float32)
    bias[:40] = rng.standard_normal(40)
    plain = packed([("Q4_1", data)], 64).multiply(isa, x)
    matrix = packed([("Q4_1", data)], 64, bias=bias)
    np.testing.assert_array_equal(matrix.multiply(isa, x), plain + bias[:40])
    residual = rng.standard_normal((8, 40)).astype(np.float32)
    out = matrix.multiply(isa, x, epilogue=ADD, multiplier=0.25, out=residual.copy())
    np.testing.assert_allclose(out, residual + 0.25 * (plain + bias[:40]), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("format_", ["Q8_0", "Q4_1", "BF16"])
def test_chosen_columns_are_those_of_the_whole_product(format_, isa, library, blocks, packed) -> None:
    matrix = packed([(format_, blocks(format_, 203, 96, np.random.default_rng(6)))], 96)
    x = rows_of(1, 96)
    whole = matrix.multiply(isa, x)[0]
    for ids in ([0], [202], [3, 4, 17, 18, 100, 202], list(range(203))):
        chosen = np.array(ids, np.int32)
        out = np.empty(len(ids), np.float32)
        arguments = x.ctypes.data, chosen.ctypes.data, len(ids), out.ctypes.data
        assert library.rx_linear_gather(isa.encode(), ctypes.addressof(matrix.weight), *arguments) == 0
        np.testing.assert_array_equal(out, whole[chosen])


def test_embedding_rows_are_the_stored_weights(isa, library, blocks, packed) -> None:
    for format_ in ("Q8_0", "Q4_1", "F16"):
        matrix = packed([(format_, blocks(format_, 70, 96, np.random.default_rng(7)))], 96)
        ids = np.array([69, 0, 33, 33], np.int32)
        out = np.empty((4, 96), np.float32)
        arguments = ids.ctypes.data, 4, 3.0, out.ctypes.data
        assert library.rx_linear_embed(isa.encode(), ctypes.addressof(matrix.weight), *arguments) == 0
        np.testing.assert_array_equal(out, matrix.dense()[ids] * np.float32(3))


@pytest.mark.parametrize("format_", QUANTISED)
def test_instruction_sets_agree_but_for_rounding(format_, isa, blocks, packed) -> None:
    matrix = packed([(format_, blocks(format_, 48, 512, np.random.default_rng(8)))], 512)
    x = rows_of(4, 512)
    y, plain = matrix.multiply(isa, x), matrix.multiply("scalar", x)
    np.testing.assert_allclose(y, plain, rtol=0, atol=float(np.abs(plain).max()) * 3e-6)
