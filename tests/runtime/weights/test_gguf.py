import numpy as np
import pytest

from radixlang.errors import BadCheckpoint, UnsupportedModel, WeightMismatch
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint

gguf = pytest.importorskip("gguf")


@pytest.fixture
def write(tmp_path, make_gguf_bytes):
    def write(metadata, tensors, **lies):
        path = tmp_path / "model.gguf"
        path.write_bytes(make_gguf_bytes(metadata, tensors, **lies))
        return path

    return write


def as_floats(tensors, name):
    kind, shape, raw = tensors[name]
    assert kind == 0
    return np.frombuffer(raw, np.float32).reshape(shape)


def test_a_gguf_has_the_tensors_of_the_directory_it_was_converted_from(tiny_gguf_path, tiny_model_dir):
    ours, theirs = GgufCheckpoint(tiny_gguf_path), SafetensorsCheckpoint(tiny_model_dir)
    assert set(ours.names()) == set(theirs.names())
    for name in theirs.names():
        np.testing.assert_array_equal(ours.dense(name), theirs.dense(name))


def test_its_config_is_that_of_the_directory(tiny_gguf_path, tiny_model_dir):
    ours, theirs = GgufCheckpoint(tiny_gguf_path).config, SafetensorsCheckpoint(tiny_model_dir).config
    for name in ours.__slots__:
        if name == "name":
            continue
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name)), name


def test_the_gguf_package_reads_the_same_header(tiny_gguf_path):
    ours, theirs = GgufCheckpoint(tiny_gguf_path).header, gguf.GGUFReader(tiny_gguf_path)
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        info = ours.tensors[tensor.name]
        assert info.start == tensor.data_offset
        assert info.shape == tuple(tensor.shape.tolist())[::-1]
        assert info.nbytes == tensor.n_bytes
    for key in ("llama.block_count", "general.name", "tokenizer.ggml.add_bos_token"):
        assert ours.metadata[key] == theirs.get_field(key).contents()


def test_packed_rows_are_views_of_the_file(tiny_gguf_path):
    checkpoint = GgufCheckpoint(tiny_gguf_path)
    tensor = checkpoint.packed("model.layers.0.mlp.up_proj.weight")
    assert tensor.format == "F32"
    assert tensor.shape == (128, 64)
    assert tensor.data.shape == (128, 256)
    assert not tensor.data.flags.owndata
    assert not tensor.data.flags.writeable


def test_unknown_names_are_key_errors(tiny_gguf_path):
    with pytest.raises(KeyError):
        GgufCheckpoint(tiny_gguf_path).packed("model.layers.9.mlp.up_proj.weight")


@pytest.mark.parametrize("format_", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantised_q_and_k_are_put_in_order_without_being_unpacked(write, gguf_parts, format_):
    metadata, tensors = gguf_parts
    kind = gguf.GGMLQuantizationType[format_]
    plain = write(metadata, tensors)
    wanted = GgufCheckpoint(plain)
    for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"):
        packed = gguf.quants.quantize(as_floats(tensors, name), kind)
        tensors[name] = (kind.value, tensors[name][1], packed.tobytes())
    expected = {
        name: gguf.quants.dequantize(gguf.quants.quantize(wanted.dense(name), kind), kind)
        for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight")
    }
    found = GgufCheckpoint(write(metadata, tensors))
    for name, values in expected.items():  # rows are quantised one by one: their order does not change them
        assert found.packed(name).format == format_
        np.testing.assert_array_equal(found.dense(name), values)


def rename_architecture(metadata, name):
    return {
        key.replace("llama.", f"{name}.") if key.startswith("llama.") else key: value for key, value in metadata.items()
    } | {"general.architecture": name}


def test_gemma_norms_lose_the_one_that_the_converter_added(write, gguf_parts):
    metadata, tensors = gguf_parts
    norms = {name: as_floats(tensors, name) for name in tensors if "norm" in name}
    checkpoint = GgufCheckpoint(write(rename_architecture(metadata, "gemma"), tensors))
    np.testing.assert_array_equal(checkpoint.dense("model.norm.weight"), norms["output_norm.weight"] - np.float32(1))
    assert checkpoint.config.norm_offset == 1.0
    assert checkpoint.config.embedding_multiplier == 8.0


def test_phi3_fused_projections_are_split(write, gguf_parts):
    metadata, tensors = gguf_parts
    metadata = rename_architecture(metadata, "phi3")
    q, k, v = (as_floats(tensors, f"blk.0.attn_{x}.weight") for x in "qkv")
    gate, up = (as_floats(tensors, f"blk.0.ffn_{x}.weight") for x in ("gate", "up"))
    for layer in range(2):
        fused = np.concatenate([as_floats(tensors, f"blk.{layer}.attn_{x}.weight") for x in "qkv"])
        both = np.concatenate([as_floats(tensors, f"blk.{layer}.ffn_{x}.weight") for x in ("gate", "up")])
        for part in ("attn_q", "attn_k", "attn_v", "ffn_gate"):
            del tensors[f"blk.{layer}.{part}.weight"]
        tensors[f"blk.{layer}.attn_qkv.weight"] = (0, fused.shape, fused.tobytes())
        tensors[f"blk.{layer}.ffn_up.weight"] = (0, both.shape, both.tobytes())
    found = GgufCheckpoint(write(metadata, tensors))
    for name, values in {
        "self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "mlp.gate_proj": gate, "mlp.up_proj": up,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(found.dense(f"model.layers.0.{name}.weight"), values)


def test_an_untied_head_is_read(write, gguf_parts):
    metadata, tensors = gguf_parts
    tensors["output.weight"] = tensors["token_embd.weight"]
    assert not GgufCheckpoint(write(metadata, tensors)).config.tie_embeddings


def test_rope_factors_go_to_the_config(write, gguf_parts):
    metadata, tensors = gguf_parts
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    tensors["rope_freqs.weight"] = (0, (8,), factors.tobytes())
    checkpoint = GgufCheckpoint(write(metadata, tensors))
    assert checkpoint.config.rope.freq_factors == tuple(factors.tolist())
    assert not any("rope" in name for name in checkpoint.names())


def test_tokens_that_end_a_turn_are_known_by_name(write, gguf_parts):
    metadata, tensors = gguf_parts
    metadata["tokenizer.ggml.eos_token_id"] = 0  # <|endoftext|>, as some converters write
    assert GgufCheckpoint(write(metadata, tensors)).config.eos_token_ids == (0, 2)


def test_other_weights_have_another_digest(write, gguf_parts, tiny_gguf_path):
    metadata, tensors = gguf_parts
    kind, shape, raw = tensors["blk.1.ffn_up.weight"]
    tensors["blk.1.ffn_up.weight"] = (kind, shape, raw[:-4] + b"\x00\x00\x80\x3f")
    changed, before = GgufCheckpoint(write(metadata, tensors)), GgufCheckpoint(tiny_gguf_path)
    assert changed.digest != before.digest
    assert changed.tokenizer_digest() == before.tokenizer_digest()


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"llama.attention.head_count": 0}, BadCheckpoint, "head_count"),
        ({"llama.block_count": 1 << 30}, BadCheckpoint, "block_count"),
        ({"llama.block_count": 3}, BadCheckpoint, "model.layers.2"),
        ({"llama.embedding_length": 96}, WeightMismatch, "embed_tokens"),
        ({"llama.attention.head_count_kv": 3}, BadCheckpoint, "heads"),
        ({"llama.attention.head_count": "four"}, BadCheckpoint, "head_count"),
        ({"llama.rope.freq_base": float("nan")}, BadCheckpoint, "freq_base"),
        ({"llama.rope.dimension_count": 7}, BadCheckpoint, "rotary"),
        ({"llama.expert_count": 8}, BadCheckpoint, "no layer has experts"),
        ({"llama.rope.scaling.type": "spiral"}, UnsupportedModel, "spiral"),
        ({"tokenizer.ggml.eos_token_id": 320}, BadCheckpoint, "special token id 320"),
        ({"split.count": 3}, BadCheckpoint, "3 parts"),
        ({"general.architecture": "mamba"}, UnsupportedModel, "llama"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_is_refused_by_name(write, gguf_parts, change, error, named):
    metadata, tensors = gguf_parts
    with pytest.raises(error, match=named):
        GgufCheckpoint(write(metadata | change, tensors))


def test_a_missing_tensor_is_named(write, gguf_parts):
    metadata, tensors = gguf_parts
    del tensors["blk.1.ffn_down.weight"]
    with pytest.raises(BadCheckpoint, match=r"model\.layers\.1\.mlp\.down_proj"):
        GgufCheckpoint(write(metadata, tensors))


@pytest.mark.slow  # the package takes many seconds to read that header
@pytest.mark.model
def test_the_default_model_opens_and_equals_the_gguf_package(default_model_path):
    ours, theirs = GgufCheckpoint(default_model_path), gguf.GGUFReader(default_model_path)
    packages = {tensor.name: tensor for tensor in theirs.tensors}
    assert (ours.config.num_layers, ours.config.hidden_size, ours.config.eos_token_ids) == (30, 576, (2,))
    for name, theirs_name in {
        "model.embed_tokens.weight": "token_embd.weight", "model.layers.7.mlp.up_proj.weight": "blk.7.ffn_up.weight",
        "model.layers.29.self_attn.v_proj.weight": "blk.29.attn_v.weight", "model.norm.weight": "output_norm.weight",
    }.items():  # fmt: skip
        tensor = packages[theirs_name]
        wanted = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.dense(name), wanted.reshape(ours.packed(name).shape))
