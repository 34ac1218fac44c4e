"""Rounding a model of floats to 4 or 8 bits: no worse than the nearest of plain scales, and honest about what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from radixlang.errors import BadCheckpoint, ConfigError
from radixlang.runtime.weights.blocks import make_blocks
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.rounded import RoundedCheckpoint, to_bytes, to_nibbles

UP, EMBEDDING = "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"
TYPES = {"w4": ("Q4_1", gguf.GGMLQuantizationType.Q4_1), "w8": ("Q8_0", gguf.GGMLQuantizationType.Q8_0)}


def read_back(bits: str, weights: np.ndarray) -> np.ndarray:
    """Groups of 32, rounded, packed, and unpacked by the gguf package."""
    found = to_nibbles(weights) if bits == "w4" else to_bytes(weights)
    format_, kind = TYPES[bits]
    offsets = found.offsets[:, None] if bits == "w4" else None
    return gguf.quants.dequantize(make_blocks(format_, found.codes, found.scales[:, None], offsets), kind)


@pytest.mark.parametrize("bits", ["w4", "w8"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-3, 0.02, 1.0, 30.0]), tails=st.integers(3, 30))
def test_no_group_is_worse_than_by_its_range(bits: str, seed: int, size: float, tails: int) -> None:
    weights = np.random.default_rng(seed).standard_t(tails, (8, 32)).astype(np.float32) * np.float32(size)
    kind = TYPES[bits][1]
    plain = gguf.quants.dequantize(gguf.quants.quantize(weights, kind), kind)
    ours, theirs = (((found - weights) ** 2).sum(1) for found in (read_back(bits, weights), plain))
    assert (ours <= theirs * 1.02).all()  # the scale of the plain one is rounded to fp16 after the codes
    assert ours.sum() <= theirs.sum()


@pytest.mark.parametrize("bits", ["w4", "w8"])
def test_what_lies_on_the_grid_comes_back(bits: str) -> None:
    random = np.random.default_rng(1)
    top = 16 if bits == "w4" else 256
    codes = random.integers(1, top, (50, 32))
    codes[:, 3] = top - 1
    codes[:, 7] = 0 if bits == "w4" else 40
    scales = (2.0 ** -random.integers(3, 9, (50, 1))).astype(np.float32)
    weights = (codes - (5 if bits == "w4" else 128)).astype(np.float32) * scales
    np.testing.assert_array_equal(read_back(bits, weights), weights)


@pytest.mark.parametrize("bits", ["w4", "w8"])
def test_a_group_of_one_number_comes_back(bits: str) -> None:
    for number in (0.0, -0.5, 0.75):
        weights = np.full((2, 32), number, np.float32)
        np.testing.assert_array_equal(read_back(bits, weights), weights)


@pytest.mark.parametrize("bits", ["w4", "w8"])
def test_a_checkpoint_is_rounded_but_for_its_vectors(bits: Any, tiny_model_dir: Path) -> None:
    plain = open_checkpoint(tiny_model_dir)
    rounded = RoundedCheckpoint(plain, bits)
    assert rounded.names() == plain.names()
    assert rounded.formats() == sorted({"F32", "Q8_0", TYPES[bits][0]})
    assert rounded.digest != plain.digest
    assert rounded.packed(EMBEDDING).format == "Q8_0"
    assert rounded.packed(UP).format == TYPES[bits][0]
    assert rounded.packed(UP).nbytes == rounded.packed(UP).data.nbytes
    for name in plain.names():
        wanted, found = plain.dense(name), rounded.dense(name)
        assert found.shape == wanted.shape
        if wanted.ndim == 1:
            np.testing.assert_array_equal(found, wanted)
        else:
            eight = bits == "w8" or name == EMBEDDING
            error = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
            assert (0 < error < 0.007) if eight else (0.02 < error < 0.085)


def test_w4_w8_and_none_are_cached_apart(tiny_model_dir: Path) -> None:
    plain = open_checkpoint(tiny_model_dir)
    assert len({plain.digest, RoundedCheckpoint(plain, "w4").digest, RoundedCheckpoint(plain, "w8").digest}) == 3


def test_rows_of_no_whole_groups_stay(tmp_path: Path, make_tiny_model: Any) -> None:
    rounded = RoundedCheckpoint(open_checkpoint(make_tiny_model(tmp_path / "model", intermediate_size=72)), "w4")
    down = "model.layers.1.mlp.down_proj.weight"
    assert rounded.packed(down).format == "F32"
    np.testing.assert_array_equal(rounded.dense(down), open_checkpoint(tmp_path / "model").dense(down))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("bits", ["w4", "w8"])
def test_weights_that_cannot_be_rounded_are_named(number: float, bits: Any, tmp_path: Path, make_tiny_model: Any):
    path = make_tiny_model(tmp_path / "model") / "model.safetensors"
    tensors = load_file(path)
    tensors[UP][3, 40] = number
    save_file(tensors, path)
    with pytest.raises(BadCheckpoint, match=UP):
        _ = RoundedCheckpoint(open_checkpoint(tmp_path / "model"), bits).packed(UP).data


def test_a_quantised_model_is_not_rounded_again(tmp_path: Path, make_gguf_bytes: Any, gguf_parts: Any) -> None:
    metadata, tensors = gguf_parts
    name = "blk.0.ffn_up.weight"
    shape = tensors[name][1]
    raw = gguf.quants.quantize(
        np.frombuffer(tensors[name][2], np.float32).reshape(shape), gguf.GGMLQuantizationType.Q8_0
    )
    tensors[name] = (8, shape, raw.tobytes())
    (tmp_path / "q.gguf").write_bytes(make_gguf_bytes(metadata, tensors))
    with pytest.raises(ConfigError, match=r"--quantize w4: q.gguf is quantised already \(Q8_0\)") as caught:
        RoundedCheckpoint(open_checkpoint(tmp_path / "q.gguf"), "w4")
    assert caught.value.param == "quantize"
