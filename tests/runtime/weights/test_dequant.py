import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.runtime.weights.dequant import DEQUANTISERS, dequantise, row_bytes
from radixlang.runtime.weights.gguf_header import BLOCKS

gguf = pytest.importorskip("gguf")


def test_every_format_that_is_read_can_be_dequantised():
    assert set(DEQUANTISERS) == set(BLOCKS)


@pytest.mark.parametrize("format_", sorted(DEQUANTISERS))
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 4), blocks=st.integers(1, 5))
def test_any_bytes_give_what_the_gguf_package_gives(format_, seed, rows, blocks):
    values, size = BLOCKS[format_]
    data = np.random.default_rng(seed).integers(0, 256, (rows, blocks * size), dtype=np.uint8)
    kind = gguf.GGMLQuantizationType[format_]
    with np.errstate(all="ignore"):  # random scales are NaN and infinite too
        view = {"F32": np.float32, "F16": np.float16}.get(format_)
        wanted = gguf.quants.dequantize(data.view(view) if view else data, kind)
    found = dequantise(data, format_, (rows, blocks * values))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


@pytest.mark.parametrize("format_", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_what_was_quantised_comes_back_nearly(format_):
    wanted = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    packed = gguf.quants.quantize(wanted, gguf.GGMLQuantizationType[format_])
    assert packed.shape == (8, row_bytes(format_, 64))
    error = np.abs(dequantise(packed, format_, wanted.shape) - wanted).max()
    assert 0 < error < 0.4


def test_large_tensors_are_done_in_parts_and_misaligned_ones_too():
    raw = np.random.default_rng(2).integers(0, 256, 34 * 200_000 + 1, dtype=np.uint8)
    data = raw[1:]
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(data.reshape(1000, -1).copy(), gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(dequantise(data, "Q8_0", (1000, 6400)), wanted)
    floats = np.frombuffer(b"x" + np.arange(5, dtype=np.float32).tobytes(), np.uint8)[1:]
    np.testing.assert_array_equal(dequantise(floats, "F32", (5,)), np.arange(5))
