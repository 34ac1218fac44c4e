"""Reading a peft folder: what is in it reaches the linears, and every bad one is refused by name."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from radixlang.errors import BadAdapter, ModelNotFound
from radixlang.runtime.lora.adapter import linears_of, read_adapter
from radixlang.runtime.weights.open import open_checkpoint

Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def linears(tiny_model_dir):
    return linears_of(open_checkpoint(tiny_model_dir))


@pytest.fixture
def folder(tmp_path, tiny_model_dir, make_adapter):
    return make_adapter(tmp_path / "a", tiny_model_dir, rank=4, targets=("q_proj", "down_proj"))


def change(folder, change_tensors=None, **config):
    file = folder / "adapter_model.safetensors"
    if change_tensors is not None:
        tensors = load_file(file)
        change_tensors(tensors)
        save_file(tensors, file)
    whole = json.loads((folder / "adapter_config.json").read_text()) | config
    (folder / "adapter_config.json").write_text(json.dumps(whole))
    return folder


def put(name, value):
    return lambda tensors: tensors.update({name: value})


def test_the_linears_of_a_model_are_its_projections_and_its_tied_head(linears):
    assert len(linears) == 2 * 7 + 1
    assert linears["model.layers.1.self_attn.k_proj"] == (32, 64)
    assert linears["lm_head"] == (320, 64)


def test_tensors_and_scales_come_as_they_lie_in_the_folder(folder, linears):
    adapter = read_adapter(folder, linears)
    stored = load_file(folder / "adapter_model.safetensors")
    assert set(adapter.parts) == {
        f"model.layers.{i}.{m}" for i in (0, 1) for m in ("self_attn.q_proj", "mlp.down_proj")
    }
    part = adapter.parts["model.layers.0.self_attn.q_proj"]
    assert np.array_equal(part.down_RE, stored[f"{Q}.lora_A.weight"])
    assert np.array_equal(part.up_NR, stored[f"{Q}.lora_B.weight"])
    assert (part.scale, adapter.rank) == (8.0 / 4, 4)


@pytest.mark.parametrize(
    ("config", "module", "scale"),
    [
        ({"use_rslora": True}, "self_attn.q_proj", 8.0 / 2),
        ({"alpha_pattern": {"q_proj": 2.0}}, "self_attn.q_proj", 2.0 / 4),
        ({"alpha_pattern": {"q_proj": 2.0}}, "mlp.down_proj", 8.0 / 4),
        ({"alpha_pattern": {r"layers\.1\..*": 2.0}}, "self_attn.q_proj", 8.0 / 4),
        ({"alpha_pattern": {r"layers\.[0-9]\..*": 2.0, "q_proj": 4.0}}, "self_attn.q_proj", 2.0 / 4),
    ],
)
def test_scales(folder, linears, config, module, scale):
    assert read_adapter(change(folder, **config), linears).parts[f"model.layers.0.{module}"].scale == scale


def test_a_rank_of_its_own_by_pattern(tmp_path, tiny_model_dir, make_adapter, linears):
    folder = make_adapter(tmp_path / "a", tiny_model_dir, rank=4, rank_pattern={"k_proj": 9})
    adapter = read_adapter(folder, linears)
    assert adapter.rank == 9
    assert adapter.parts["model.layers.1.self_attn.k_proj"].scale == 8.0 / 9


def test_half_precision_and_the_name_of_an_adapter_inside_of_keys_are_read(folder, linears):
    wanted = read_adapter(folder, linears).parts["model.layers.0.self_attn.q_proj"].down_RE

    def halve(tensors):
        tensors[f"{Q}.lora_A.default.weight"] = tensors.pop(f"{Q}.lora_A.weight").astype(np.float16)

    found = read_adapter(change(folder, halve), linears).parts["model.layers.0.self_attn.q_proj"].down_RE
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 1e-3


def test_bfloat16_is_widened_exactly(folder, linears):
    file = folder / "adapter_model.safetensors"
    bits = np.arange(0x3F80, 0x3F80 + 4 * 64, dtype=np.uint16).reshape(4, 64)
    other = np.ones((64, 4), np.float32)
    header = json.dumps(
        {
            f"{Q}.lora_A.weight": {"dtype": "BF16", "shape": [4, 64], "data_offsets": [0, 512]},
            f"{Q}.lora_B.weight": {"dtype": "F32", "shape": [64, 4], "data_offsets": [512, 1536]},
        }
    ).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes() + other.tobytes())
    found = read_adapter(folder, linears).parts["model.layers.0.self_attn.q_proj"].down_RE
    assert np.array_equal(found, (bits.astype(np.uint32) << 16).view(np.float32))


def test_the_copy_of_the_head_that_peft_writes_is_not_read(tmp_path, tiny_model_dir, make_adapter, linears):
    folder = make_adapter(tmp_path / "a", tiny_model_dir, targets=("lm_head",))
    change(folder, put("base_model.model.lm_head.base_layer.weight", np.zeros((320, 64), np.float32)))
    assert set(read_adapter(folder, linears).parts) == {"lm_head"}


def test_equal_folders_have_equal_digests_and_others_have_others(folder, linears):
    first = read_adapter(folder, linears)
    assert read_adapter(folder, linears).digest == first.digest
    assert read_adapter(change(folder, lora_alpha=9.0), linears).digest != first.digest


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "transposed"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"r": 0}, "r must be in"),
        ({"r": "many"}, "r must be a number"),
        ({"r": 2.5}, "whole number"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a number"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"(": 1.0}}, "no regular expression"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj must be in"),
        ({"r": 5}, r"lora_A of .*down_proj should be \[5, 128\] .* is \[4, 128\]"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(folder, linears, config, told):
    with pytest.raises(BadAdapter, match=told) as caught:
        read_adapter(change(folder, **config), linears)
    assert str(folder) in str(caught.value)
    assert caught.value.status == 400


NOT_FINITE = np.ones((4, 64), np.float32)
NOT_FINITE[3, 5] = np.nan


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (lambda t: t.pop(f"{Q}.lora_B.weight"), "q_proj has no lora_B"),
        (lambda t: t.pop(f"{Q}.lora_A.weight"), "q_proj has no lora_A"),
        (put(f"{Q}.lora_A.weight", NOT_FINITE), "q_proj.lora_A.weight holds values that are not finite"),
        (put(f"{Q}.lora_A.weight", np.ones((4, 32), np.float32)), r"should be \[4, 64\]"),
        (put(f"{Q}.lora_B.weight", np.ones((48, 4), np.float32)), r"should be \[64, 4\]"),
        (put(f"{Q}.lora_A.weight", np.ones((4, 8, 8), np.float32)), "no matrix"),
        (put(f"{Q}.lora_A.weight", np.ones((4, 64), np.int32)), "I32"),
        (put(f"{Q}.lora_A.default.weight", np.ones((4, 64), np.float32)), "the same half"),
        (put(f"{Q}.lora_magnitude_vector", np.ones(64, np.float32)), "DoRA"),
        (put(f"{Q}.bias", np.ones(64, np.float32)), "is no lora_A or lora_B"),
        (put("base_model.model.model.embed_tokens.lora_embedding_A", np.ones((4, 320), np.float32)), "embedding"),
        (
            lambda t: t.update({k.replace("layers.0", "layers.7"): v for k, v in list(t.items())}),
            r"adapts model.layers.7.*no linear of this model",
        ),
        (lambda t: t.clear(), "holds no lora_A"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(folder, linears, tensors, told):
    with pytest.raises(BadAdapter, match=told) as caught:
        read_adapter(change(folder, tensors), linears)
    assert "adapter_model.safetensors" in str(caught.value)


def test_a_fused_linear_is_split_and_may_not_be_there_twice(folder, linears):
    fused, low = Q.replace("q_proj", "qkv_proj"), np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    up = np.random.default_rng(1).standard_normal((128, 4)).astype(np.float32)

    def fuse(tensors):
        tensors.clear()
        tensors.update({f"{fused}.lora_A.weight": low, f"{fused}.lora_B.weight": up})

    parts = read_adapter(change(folder, fuse), linears).parts
    assert [len(part.up_NR) for part in parts.values()] == [64, 32, 32]
    assert np.array_equal(np.concatenate([part.up_NR for part in parts.values()]), up)
    change(folder, put(f"{Q}.lora_A.weight", low))
    with pytest.raises(BadAdapter, match="adapted twice"):
        read_adapter(change(folder, put(f"{Q}.lora_B.weight", up[:64])), linears)


def test_pickled_weights_are_refused_and_missing_files_named(folder, linears, tmp_path):
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"adapter_model\.safetensors"):
        read_adapter(folder, linears)
    (folder / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(BadAdapter, match="safe_serialization=True"):
        read_adapter(folder, linears)
    with pytest.raises(ModelNotFound, match=r"adapter_config\.json"):
        read_adapter(tmp_path / "nothing", linears)


@pytest.mark.parametrize("cut", [0, 7, 100, 4000])
def test_a_cut_file_is_refused(folder, linears, cut):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BadAdapter, match=r"adapter_model\.safetensors"):
        read_adapter(folder, linears)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": 1, "r": 2}', "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(folder, linears, text):
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(BadAdapter, match=r"adapter_config\.json"):
        read_adapter(folder, linears)
