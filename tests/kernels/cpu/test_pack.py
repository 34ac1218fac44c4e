"""Packing keeps every weight: against the gguf package's dequantiser, format by format; and the cached file."""

import ctypes
import logging
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest

from radixlang.errors import BadCheckpoint, UnsupportedModel
from radixlang.kernels.cpu import pack_cache
from radixlang.kernels.cpu.pack import FORMATS, MatrixSpec, pack_model

EXACT = ("F32", "F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "Q3_K", "IQ4_NL", "IQ4_XS")
AFFINE = ("Q4_1", "Q5_1", "Q4_K", "Q5_K")


def oracle(format_: str, data: np.ndarray, depth: int) -> np.ndarray:
    kind = gguf.GGMLQuantizationType[format_]
    return gguf.quants.dequantize(data, kind).reshape(len(data), depth).astype(np.float32)


@pytest.mark.parametrize("format_", EXACT)
@pytest.mark.parametrize("rows", [32, 83])
def test_a_format_without_offsets_comes_back_exactly(format_, rows, blocks, packed) -> None:
    data = blocks(format_, rows, 768, np.random.default_rng(rows))
    np.testing.assert_array_equal(packed([(format_, data)], 768).dense(), oracle(format_, data, 768))


@pytest.mark.parametrize("format_", AFFINE)
def test_offsets_are_within_one_part_in_16382_of_their_row(format_, blocks, packed) -> None:
    data = blocks(format_, 83, 768, np.random.default_rng(1))
    wanted = oracle(format_, data, 768)
    error = np.abs(packed([(format_, data)], 768).dense() - wanted).max(axis=1)
    # An offset is the middle of its group's range of codes, at most twice the largest weight of a group that uses half.
    assert (error <= 2 * np.abs(wanted).max(axis=1) / 16382 * 1.01).all()


def test_q6_k_and_q2_k_are_requantised_to_the_nearest_of_eight_bits(blocks, packed) -> None:
    for format_, steps in (("Q6_K", 254), ("Q2_K", 510)):
        data = blocks(format_, 64, 512, np.random.default_rng(2))
        wanted = oracle(format_, data, 512).reshape(64, -1, 32)
        error = np.abs(packed([(format_, data)], 512).dense().reshape(wanted.shape) - wanted).max(axis=2)
        reach = np.abs(wanted).max(axis=2) if format_ == "Q6_K" else wanted.max(axis=2) - wanted.min(axis=2)
        slack = np.abs(wanted).max(axis=(1, 2), keepdims=True)[:, :, 0] / 8191
        assert (error <= reach / steps * 1.01 + slack).all()


def test_a_depth_that_is_no_multiple_of_32_is_padded(blocks, packed) -> None:
    data = blocks("F32", 40, 50, np.random.default_rng(3))
    np.testing.assert_array_equal(packed([("F32", data)], 50).dense(), data.view(np.float32))


@pytest.mark.parametrize("formats", [("Q4_0", "Q4_0", "Q8_0"), ("Q4_1", "Q4_0"), ("Q8_0", "F32"), ("Q4_K", "Q6_K")])
def test_parts_of_several_formats_share_a_kind_that_holds_them_all(formats, blocks, packed) -> None:
    rng = np.random.default_rng(4)
    parts = [(format_, blocks(format_, 24, 256, rng)) for format_ in formats]
    wanted = np.concatenate([oracle(format_, data, 256) for format_, data in parts])
    error = np.abs(packed(parts, 256).dense() - wanted).max(axis=1)
    assert (error <= np.abs(wanted).max(axis=1) * (1 / 250 if "Q6_K" in formats else 1e-4)).all()


@pytest.mark.parametrize("rows", [48, 40])
def test_gate_and_up_alternate_by_sixteen_columns(rows, blocks, packed) -> None:
    rng = np.random.default_rng(5)
    gate, up = (blocks("Q8_0", rows, 64, rng) for _ in range(2))
    matrix = packed([("Q8_0", gate), ("Q8_0", up)], 64, gate_up=True)
    dense = matrix.dense(matrix.weight.packed_columns).reshape(-1, 2, 16, 64)
    for half, data in enumerate((gate, up)):
        columns = dense[:, half].reshape(-1, 64)
        np.testing.assert_array_equal(columns[:rows], oracle("Q8_0", data, 64))
        assert not columns[rows:].any()


def test_affine_blocks_of_our_own_hold_gptq_groups(packed) -> None:
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 16, (8, 3, 32)).astype(np.uint8)
    scales = rng.standard_normal((8, 3, 1)).astype(np.float32)
    zeros = rng.integers(0, 16, (8, 3, 1))
    offsets = (-scales * zeros).astype(np.float32)
    nibbles = codes[..., :16] | codes[..., 16:] << 4
    data = np.concatenate([nibbles, scales.view(np.uint8), offsets.view(np.uint8)], axis=2).reshape(8, -1)
    wanted = (scales * (codes.astype(np.float32) - zeros)).reshape(8, 96)
    error = np.abs(packed([("A4", np.ascontiguousarray(data))], 96).dense() - wanted)
    assert error.max() <= np.abs(wanted).max() * 1e-4


def test_affine_bytes_of_our_own_hold_gptq_groups(packed) -> None:
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 256, (40, 3, 32)).astype(np.uint8)
    scales = rng.standard_normal((40, 3, 1)).astype(np.float32)
    zeros = rng.integers(0, 256, (40, 3, 1))
    offsets = (-scales * zeros).astype(np.float32)
    data = np.concatenate([codes, scales.view(np.uint8), offsets.view(np.uint8)], axis=2).reshape(40, -1)
    wanted = (scales * (codes.astype(np.float32) - zeros)).reshape(40, 96)
    error = np.abs(packed([("A8", np.ascontiguousarray(data))], 96).dense() - wanted).max(axis=1)
    assert (error <= np.abs(wanted).max(axis=1) / 8191).all()


@dataclass
class Tensor:
    name: str
    format: str
    shape: tuple[int, ...]
    data: np.ndarray
    compact: "Tensor | None" = None
    inputs_K: np.ndarray | None = None


class FakeCheckpoint:
    """Tensors by name, as runtime/weights/checkpoint.py promises them."""

    def __init__(self, tensors: dict[str, tuple[str, np.ndarray]], depths: dict[str, int], digest: str = "d1") -> None:
        self.tensors, self.depths, self.digest = tensors, depths, digest

    def names(self) -> list[str]:
        return list(self.tensors)

    def packed(self, name: str) -> Tensor:
        format_, data = self.tensors[name]
        return Tensor(name, format_, (len(data), self.depths[name]), data)

    def dense(self, name: str) -> np.ndarray:
        return self.tensors[name][1].view(np.float32)


@pytest.fixture
def checkpoint(blocks) -> FakeCheckpoint:
    rng = np.random.default_rng(7)
    tensors = {
        f"{n}.weight": ("Q4_0", blocks("Q4_0", rows, 64, rng)) for n, rows in zip("qkv", (64, 20, 20), strict=True)
    }
    tensors["k.bias"] = ("F32", rng.standard_normal(20).astype(np.float32).view(np.uint8))
    return FakeCheckpoint(tensors, dict.fromkeys(tensors, 64))


SPECS = [MatrixSpec("qkv", ("q", "k", "v")), MatrixSpec("gu", ("k", "v"), gate_up=True)]


def unpacked(library, weight) -> np.ndarray:
    out = np.empty((weight.packed_columns, weight.depth), np.float32)
    library.rx_pack_unpack(ctypes.byref(weight), 0, weight.packed_columns, out.ctypes.data)
    return out


def bias_of(weight) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(weight.bias, ctypes.POINTER(ctypes.c_float)), (weight.packed_columns,))


def test_a_file_that_is_gone_before_it_is_mapped_is_not_missed(checkpoint, library, tmp_path, monkeypatch) -> None:
    kept = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path / "kept")
    monkeypatch.setattr(pack_cache, "map_file", lambda *_: None)
    model = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path / "gone")
    assert model.nbytes == kept.nbytes
    for spec in SPECS:
        found, wanted = (unpacked(library, packed.weight(spec.name)) for packed in (model, kept))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_model_is_packed_with_fused_rows_and_biases(use_cache, checkpoint, library, tmp_path) -> None:
    model = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path, use_cache=use_cache)
    wanted = np.concatenate([oracle("Q4_0", checkpoint.tensors[f"{n}.weight"][1], 64) for n in "qkv"])
    weight = model.weight("qkv")
    assert (weight.columns, weight.packed_columns, weight.depth) == (104, 128, 64)
    np.testing.assert_array_equal(unpacked(library, weight)[:104], wanted)
    bias = checkpoint.dense("k.bias")
    np.testing.assert_array_equal(bias_of(weight)[64:84], bias)
    assert not bias_of(weight)[:64].any()
    assert not bias_of(weight)[84:].any()
    gated = bias_of(model.weight("gu")).reshape(-1, 2, 16)
    np.testing.assert_array_equal(gated[:, 0].reshape(-1)[:20], bias)
    assert not gated[:, 1].any()
    assert bool(list(tmp_path.iterdir())) == use_cache
    with pytest.raises(KeyError):
        model.weight("nothing")
    model.close()


def test_the_second_start_maps_the_file_of_the_first(checkpoint, library, tmp_path) -> None:
    first = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
    checkpoint.tensors["q.weight"][1][:] = 0  # would show if it were packed again
    again = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
    np.testing.assert_array_equal(unpacked(library, again.weight("qkv")), unpacked(library, first.weight("qkv")))
    assert unpacked(library, again.weight("qkv"))[:64].any()
    assert len(list(tmp_path.iterdir())) == 1


def test_another_checkpoint_or_another_plan_has_a_file_of_its_own(checkpoint, library, tmp_path) -> None:
    pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
    pack_model(checkpoint, SPECS[:1], library=library, cache_dir=tmp_path)
    checkpoint.digest = "d2"
    pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("*.packed"))) == 3


def test_a_damaged_file_is_packed_again(checkpoint, library, tmp_path) -> None:
    whole = unpacked(library, pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path).weight("qkv"))
    (file,) = tmp_path.iterdir()
    for damaged in (file.read_bytes()[:-1], b"x" + file.read_bytes()[1:], b""):
        file.unlink()  # the mapping of the first model keeps its own
        file.write_bytes(damaged)
        model = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
        np.testing.assert_array_equal(unpacked(library, model.weight("qkv")), whole)


def test_a_folder_that_cannot_be_written_costs_only_the_cache(checkpoint, library, tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        model = pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path / "file")
    assert "not kept" in caplog.text
    assert unpacked(library, model.weight("qkv")).any()


def test_what_cannot_be_packed_is_refused_and_leaves_nothing_behind(checkpoint, library, tmp_path, blocks) -> None:
    rng = np.random.default_rng(8)
    checkpoint.tensors["w.weight"], checkpoint.depths["w.weight"] = ("Q4_0", blocks("Q4_0", 8, 32, rng)), 32
    with pytest.raises(BadCheckpoint, match="shapes"):
        pack_model(checkpoint, [MatrixSpec("x", ("q", "w"))], library=library, cache_dir=tmp_path)
    with pytest.raises(BadCheckpoint, match="one shape"):
        pack_model(checkpoint, [MatrixSpec("x", ("q", "k"), gate_up=True)], library=library, cache_dir=tmp_path)
    checkpoint.depths["w.weight"] = 64
    with pytest.raises(BadCheckpoint, match="bytes"):
        pack_model(checkpoint, [MatrixSpec("x", ("w",))], library=library, cache_dir=tmp_path)
    checkpoint.tensors["w.weight"] = ("IQ1_S", checkpoint.tensors["w.weight"][1])
    with pytest.raises(UnsupportedModel, match="IQ1_S"):
        pack_model(checkpoint, [MatrixSpec("x", ("w",))], library=library, cache_dir=tmp_path)
    checkpoint.tensors["k.bias"] = ("F32", np.zeros(4, np.uint8))  # found out while packing: too short
    with pytest.raises(BadCheckpoint, match="bias"):
        pack_model(checkpoint, SPECS, library=library, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_format_has_a_number(library) -> None:
    assert [library.rx_pack_kind_for(i) >= 0 for i in range(len(FORMATS) + 1)] == [True] * len(FORMATS) + [False]


@pytest.mark.model
def test_the_default_model_packs_into_little_more_than_its_file(library, tmp_path) -> None:
    from radixlang.runtime.weights.open import open_checkpoint

    path = Path.home() / ".cache/radixlang/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        pytest.skip("the default model is not here")
    checkpoint = open_checkpoint(path)
    layer = "model.layers.3"
    specs = [
        MatrixSpec("gu", (f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj"), gate_up=True),
        MatrixSpec("embedding", ("model.embed_tokens",)),
    ]
    model = pack_model(checkpoint, specs, library=library, cache_dir=tmp_path, use_cache=False)
    stored = sum(checkpoint.packed(f"{part}.weight").data.nbytes for spec in specs for part in spec.parts)
    assert model.nbytes <= 1.05 * stored
    wanted = checkpoint.dense("model.embed_tokens.weight")
    np.testing.assert_array_equal(unpacked(library, model.weight("embedding")), wanted)
    gate = unpacked(library, model.weight("gu")).reshape(-1, 2, 16, 576)[:, 0].reshape(-1, 576)
    wanted = checkpoint.dense(f"{layer}.mlp.gate_proj.weight")
    assert (np.abs(gate - wanted).max(axis=1) <= np.abs(wanted).max(axis=1) * 1e-4).all()
