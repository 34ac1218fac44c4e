"""GPTQ: the order of its words, zeros and groups, and the blocks that it becomes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from radixlang.errors import BadCheckpoint
from radixlang.runtime.weights.quantised import Compact, QuantisedLinear, Scheme, scheme_of
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq(by_hand, bits, version, act_order):
    random = np.random.default_rng(bits)
    values, zeros, scales, group = by_hand.quantities(random, 32, 64, bits, 16)
    if act_order:
        group = random.permutation(group)
    arrays = {
        "qweight": by_hand.words_along_rows(values.T, bits),
        "qzeros": by_hand.words_along_columns(zeros.T - (version == "gptq"), bits),
        "scales": np.ascontiguousarray(scales.T),
    }
    if act_order:
        arrays["g_idx"] = group.astype(np.int32)
    scheme = scheme_of(by_hand.config("gptq", bits=bits, checkpoint_format=version), "here")
    linear = QuantisedLinear(scheme, arrays, "here")
    assert linear.shape == (32, 64)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), by_hand.plain(values, zeros, scales, group))
    by_hand.check_blocks(linear, None)  # a scale for every 16
    assert linear.compact() is None


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero", ["middle", "any"])
@pytest.mark.parametrize("scale", ["fp16", "float32"])
@pytest.mark.parametrize("order", ["sorted", "runs of 32", "any"])
def test_gptq_in_groups_of_64_becomes_blocks_where_32_inputs_share_a_scale(by_hand, bits, zero, scale, order):
    random = np.random.default_rng(bits)
    values, zeros, scales, group = by_hand.quantities(random, 48, 256, bits, 64)
    if zero == "middle":
        zeros[:] = 1 << (bits - 1)
    if scale == "float32":
        scales = random.choice([0.5, 1.5], scales.shape).astype(np.float32) / 2**12 + 1  # sums stay exact
    if order == "runs of 32":
        group = random.permutation(group.reshape(-1, 32)).reshape(-1)
    elif order == "any":
        group = random.permutation(group)
    arrays = {
        "qweight": by_hand.words_along_rows(values.T, bits),
        "qzeros": by_hand.words_along_columns(zeros.T - 1, bits),
        "scales": np.ascontiguousarray(scales.T),
        "g_idx": group.astype(np.int32),
    }
    linear = QuantisedLinear(Scheme("gptq", bits), arrays, "here")
    np.testing.assert_array_equal(linear.dense(), by_hand.plain(values, zeros, scales, group))
    symmetric = zero == "middle" and scale == "fp16" and bits != 2  # codes of 2 bits have their middle at 2, not 8
    wide = 8 if bits == 8 else 4
    form = f"Q{wide}_0" if symmetric else f"A{wide}"
    if order == "any":
        by_hand.check_compact(linear, form)
    else:
        by_hand.check_blocks(linear, form)


def test_act_order_comes_with_blocks_of_its_inputs_by_group(by_hand, tmp_path, make_tiny_model):
    random = np.random.default_rng(11)

    def shuffled(values, zeros, scales):
        inputs_K = random.permutation(values.shape[1])
        values[:] = values[:, inputs_K]
        group = (np.arange(values.shape[1]) // 32)[inputs_K]
        return {**by_hand.gptq_parts(values, zeros, scales), "g_idx": group.astype(np.int32)}

    folder = make_tiny_model(tmp_path / "model")
    by_hand.quantise(folder, by_hand.config("gptq", desc_act=True), shuffled)
    checkpoint = SafetensorsCheckpoint(folder)
    for name in (name for name in checkpoint.names() if name.endswith("_proj.weight")):
        tensor = checkpoint.packed(name)
        assert (tensor.format, tensor.widened, tensor.compact.format) == ("F32", True, "A4")
        assert tensor.compact.nbytes == tensor.compact.data.nbytes == tensor.nbytes * 6 // 32
        found = np.empty(tensor.shape, np.float32)
        found[:, tensor.compact.inputs_K] = by_hand.numbers("A4", tensor.compact.data)
        np.testing.assert_array_equal(found, checkpoint.dense(name))
        np.testing.assert_array_equal(tensor.data.view(np.float32), found)


def test_quantised_and_fused_is_split(by_hand, tmp_path, make_tiny_model):
    folder = make_tiny_model(tmp_path / "model", model_type="phi3", architectures=["Phi3ForCausalLM"])
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(2):
        prefix = f"model.layers.{layer}.self_attn."
        rows = [tensors.pop(f"{prefix}{part}_proj.weight") for part in "qkv"]
        tensors[f"{prefix}qkv_proj.weight"] = np.concatenate(rows)
    save_file(tensors, path)
    wanted = by_hand.quantise(folder, by_hand.config("gptq"), by_hand.gptq_parts)
    found = SafetensorsCheckpoint(folder)
    parts = [found.dense(f"model.layers.1.self_attn.{part}_proj.weight") for part in "qkv"]
    np.testing.assert_array_equal(np.concatenate(parts), wanted["model.layers.1.self_attn.qkv_proj.weight"])


@pytest.mark.parametrize("part", ["qweight", "qzeros", "scales", "g_idx"])
@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(0, 9), max_size=3), low=st.integers(-5, 5))
def test_parts_that_do_not_fit_are_refused(by_hand, part, shape, low):
    values, zeros, scales, _ = by_hand.quantities(np.random.default_rng(7), 32, 64, 4, 32)
    parts = {name: np.ascontiguousarray(array) for name, array in by_hand.gptq_parts(values, zeros, scales).items()}
    assume(tuple(shape) != parts[part].shape)
    parts[part] = np.full(shape, low, parts[part].dtype)
    for read in (QuantisedLinear.dense, QuantisedLinear.form, lambda linear: linear.blocks(Compact("A4"))):
        with pytest.raises(BadCheckpoint, match="fit together"):
            read(QuantisedLinear(Scheme("gptq"), parts, "here"))
