import contextlib
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from radixlang.errors import BadCheckpoint, ModelNotFound, RadixlangError, UnsupportedModel, WeightMismatch
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint
from radixlang.runtime.weights.safetensors_header import read_header

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def model(tmp_path, make_tiny_model):
    """A model of one's own, to be damaged."""
    return make_tiny_model(tmp_path / "model")


def rewrite(folder, change):
    """`change` gets the tensors and returns what is to be saved."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors), path)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def raw_file(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def test_tensors_are_those_of_the_library(tiny_model_dir):
    checkpoint = SafetensorsCheckpoint(tiny_model_dir)
    wanted = load_file(tiny_model_dir / "model.safetensors")
    assert set(checkpoint.names()) == set(wanted)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(checkpoint.dense(name), tensor)
        assert checkpoint.packed(name).shape == tensor.shape
        assert not checkpoint.packed(name).data.flags.owndata


@pytest.mark.parametrize(("dtype", "format_"), [("float16", "F16"), ("bfloat16", "BF16")])
def test_half_precision_is_kept_packed_and_widened_exactly(model, dtype, format_):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    path = model / "model.safetensors"
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_torch(path).items()}
    save_torch(tensors, path)
    checkpoint = SafetensorsCheckpoint(model)
    assert checkpoint.packed(UP).format == format_
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(checkpoint.dense(name), tensor.float().numpy())


def test_shards_are_one_model(model, tiny_model_dir):
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {f"model-{i}-of-2.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, model / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    checkpoint, whole = SafetensorsCheckpoint(model), SafetensorsCheckpoint(tiny_model_dir)
    for name in whole.names():
        np.testing.assert_array_equal(checkpoint.dense(name), whole.dense(name))
    (model / "model.safetensors.index.json").unlink()  # files without an index are read together as well
    assert set(SafetensorsCheckpoint(model).names()) == set(whole.names())


def test_fused_projections_are_split(model):
    wanted = load_file(model / "model.safetensors")

    def fuse(tensors):
        for layer in range(2):
            prefix = f"model.layers.{layer}."
            for fused, parts in {
                "self_attn.qkv_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                "mlp.gate_up_proj": ["mlp.gate_proj", "mlp.up_proj"],
            }.items():
                rows = [tensors.pop(f"{prefix}{part}.weight") for part in parts]
                tensors[f"{prefix}{fused}.weight"] = np.concatenate(rows)
        return tensors

    rewrite(model, fuse)
    edit(model / "config.json", model_type="phi3", architectures=["Phi3ForCausalLM"])
    checkpoint = SafetensorsCheckpoint(model)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(checkpoint.dense(name), tensor)


def test_a_tied_head_is_not_read_and_an_untied_one_is(model, tmp_path, make_tiny_model):
    rewrite(model, lambda tensors: tensors | {"lm_head.weight": np.zeros((320, 64), np.float32)})
    assert "lm_head.weight" not in SafetensorsCheckpoint(model).names()
    untied = make_tiny_model(tmp_path / "untied", tie_word_embeddings=False)
    assert "lm_head.weight" in SafetensorsCheckpoint(untied).names()


def test_the_language_part_of_a_multimodal_model_is_found(model):
    def nested(tensors):
        renamed = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
        return renamed | {"vision_tower.patch.weight": np.zeros((3, 3), np.float32)}

    rewrite(model, nested)
    assert UP in SafetensorsCheckpoint(model).names()
    assert not any("vision" in name for name in SafetensorsCheckpoint(model).names())


def test_nan_weights_load(model):
    rewrite(model, lambda tensors: tensors | {UP: np.full((128, 64), np.nan, np.float32)})
    assert np.isnan(SafetensorsCheckpoint(model).dense(UP)).all()


def test_another_weight_is_another_digest(model, tiny_model_dir):
    before = SafetensorsCheckpoint(tiny_model_dir).digest
    rewrite(model, lambda tensors: tensors | {UP: tensors[UP] + 1})
    assert SafetensorsCheckpoint(model).digest != before


DEEP = b"[" * 100_000
HOSTILE = {
    "no header": b"\0\0\0",
    "length of 2^63": struct.pack("<Q", 1 << 63) + b"{}",
    "length past the end": raw_file(b"{}", size=3),
    "not JSON": raw_file(b"hello"),
    "not UTF-8": raw_file(b'{"\xff": 1}'),
    "an array": raw_file(b"[]"),
    "nested": raw_file(b'{"a":' + DEEP),
    "nested objects": raw_file(b'{"a":' * 100_000),
    "tensor is a number": raw_file({"t": 3}),
    "no dtype": raw_file({"t": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "unknown dtype": raw_file({"t": {"dtype": "F12", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "dtype is a list": raw_file({"t": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "past the end": raw_file({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)),
    "reversed": raw_file({"t": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
    "negative offset": raw_file({"t": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, bytes(4)),
    "three offsets": raw_file({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, bytes(4)),
    "negative shape": raw_file({"t": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)),
    "overflowing shape": raw_file({"t": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}}, bytes(4)),
    "huge number": raw_file(
        b'{"t": {"dtype": "F32", "shape": [1' + b"0" * 5000 + b'], "data_offsets": [0, 4]}}', bytes(4)
    ),
    "shape of floats": raw_file({"t": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, bytes(4)),
    "shape of true": raw_file({"t": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4)),
    "wrong width": raw_file({"t": {"dtype": "F16", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "overlap": raw_file(
        {x: {"dtype": "F32", "shape": [1], "data_offsets": [i * 2, i * 2 + 4]} for i, x in enumerate("tu")}, bytes(8)
    ),
    "same name twice": raw_file(b'{"t": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}, "t": {}}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_lies_is_refused(model, name):
    (model / "model.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(BadCheckpoint) as caught:
        SafetensorsCheckpoint(model)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_header_is_read_or_refused_and_nothing_else(data, tiny_model_dir):
    raw = bytearray((tiny_model_dir / "model.safetensors").read_bytes())
    size = struct.unpack_from("<Q", raw)[0]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, size + 7))
        piece = data.draw(
            st.sampled_from([b"0", b"-", b"9999999", b"[", b"]", b"{", b"}", b'"', b"\xff", b"null", b"1e9", b""])
        )
        raw[at : at + data.draw(st.integers(0, 8))] = piece
    with contextlib.suppress(RadixlangError):
        read_header(memoryview(bytes(raw)), tiny_model_dir)


@pytest.mark.parametrize(
    "target", ["../../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", "..", "", 7]
)
def test_an_index_that_points_elsewhere_is_refused(model, target):
    (model.parent / "secret.safetensors").write_bytes(b"")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": target}}))
    with pytest.raises(BadCheckpoint, match="index"):
        SafetensorsCheckpoint(model)


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"a": "missing.safetensors"}}]
)
def test_an_index_without_its_files_is_refused(model, index):
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadCheckpoint, match="index"):
        SafetensorsCheckpoint(model)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_pickled_weights_are_refused_and_not_run(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(model / "marker")))
    with pytest.raises(BadCheckpoint, match="pickled"):
        SafetensorsCheckpoint(model)
    assert not (model / "marker").exists()


def test_code_in_the_folder_is_refused_and_not_run(model):
    (model / "modeling_evil.py").write_text(f"open({str(model / 'marker')!r}, 'w')")
    edit(model / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    with pytest.raises(BadCheckpoint, match="auto_map"):
        SafetensorsCheckpoint(model)
    assert not (model / "marker").exists()


def test_a_missing_tensor_and_a_wrong_shape_are_named(model):
    rewrite(model, lambda tensors: {name: t for name, t in tensors.items() if name != UP})
    with pytest.raises(BadCheckpoint, match="up_proj"):
        SafetensorsCheckpoint(model)
    rewrite(model, lambda tensors: tensors | {UP: np.zeros((64, 64), np.float32)})
    with pytest.raises(WeightMismatch, match=r"up_proj.*\[128, 64\].*\[64, 64\]"):
        SafetensorsCheckpoint(model)


def test_integers_where_weights_belong_are_refused(model):
    rewrite(model, lambda tensors: tensors | {UP: np.zeros((128, 64), np.int32)})
    with pytest.raises(UnsupportedModel, match="I32"):
        SafetensorsCheckpoint(model)


def test_a_folder_without_a_model_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match="config"):
        SafetensorsCheckpoint(tmp_path)
