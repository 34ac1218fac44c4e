"""Quantised checkpoints are packed here by hand, value by value, and read back: what is read must be exact."""

import json

import gguf
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from radixlang.errors import BadCheckpoint, RadixlangError, UnsupportedModel
from radixlang.runtime.weights.quantised import Compact, QuantisedLinear, Scheme, scheme_of
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
CT = {"quant_method": "compressed-tensors", "format": "pack-quantized"}


def words_along_columns(values, bits):
    """[rows, fields] to [rows, words]: field i of a word at bit i * bits."""
    per_word = 32 // bits
    out = np.zeros((values.shape[0], -(-values.shape[1] // per_word)), np.uint32)
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            out[row, column // per_word] |= np.uint32(int(values[row, column]) << bits * (column % per_word))
    return out.view(np.int32)


def words_along_rows(values, bits):
    return np.ascontiguousarray(words_along_columns(values.T, bits).T)


def quantities(random, outputs, inputs, bits, group):
    """Integers [N, K], zeros [N, G], scales [N, G] and the group of each input."""
    groups = inputs // group
    values = random.integers(0, 1 << bits, (outputs, inputs))
    zeros = random.integers(1, 1 << bits, (outputs, groups))
    scales = random.uniform(0.01, 0.1, (outputs, groups)).astype(np.float16)
    return values, zeros, scales, np.arange(inputs) // group


def plain(values, zeros, scales, group):
    return (values - zeros[:, group]).astype(np.float32) * scales.astype(np.float32)[:, group]


def numbers(form, blocks):
    """What blocks of 32 say, by the gguf package; A4 and A8 by hand: codes, float32 scale, float32 offset."""
    if form in ("Q4_0", "Q8_0"):
        return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[form])
    size = 24 if form == "A4" else 40
    rows = blocks.reshape(len(blocks), -1, size)
    floats = np.ascontiguousarray(rows[:, :, size - 8 :]).view(np.float32)
    codes = rows[:, :, : size - 8]
    if form == "A4":
        codes = np.concatenate([codes % 16, codes // 16], axis=2)
    return (codes * floats[:, :, :1] + floats[:, :, 1:]).reshape(len(blocks), -1)


def check_blocks(linear, form):
    """The blocks hold the very numbers of `dense`, in the smallest form that can."""
    assert linear.form() == form
    if form is not None:
        np.testing.assert_array_equal(numbers(form, linear.blocks(Compact(form))), linear.dense())


def check_compact(linear, form):
    """So do those whose inputs are in another order."""
    assert linear.form() is None
    found = linear.compact()
    assert found.format == form
    assert sorted(found.inputs_K) == list(range(linear.shape[1]))
    np.testing.assert_array_equal(numbers(form, linear.blocks(found)), linear.dense()[:, found.inputs_K])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq(bits, version, act_order):
    random = np.random.default_rng(bits)
    values, zeros, scales, group = quantities(random, 32, 64, bits, 16)
    if act_order:
        group = random.permutation(group)
    arrays = {
        "qweight": words_along_rows(values.T, bits),
        "qzeros": words_along_columns(zeros.T - (version == "gptq"), bits),
        "scales": np.ascontiguousarray(scales.T),
    }
    if act_order:
        arrays["g_idx"] = group.astype(np.int32)
    scheme = scheme_of({**GPTQ, "bits": bits, "checkpoint_format": version}, "here")
    linear = QuantisedLinear(scheme, arrays, "here")
    assert linear.shape == (32, 64)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), plain(values, zeros, scales, group))
    check_blocks(linear, None)  # a scale for every 16
    assert linear.compact() is None


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero", ["middle", "any"])
@pytest.mark.parametrize("scale", ["fp16", "float32"])
@pytest.mark.parametrize("order", ["sorted", "runs of 32", "any"])
def test_gptq_in_groups_of_64_becomes_blocks_where_32_inputs_share_a_scale(bits, zero, scale, order):
    random = np.random.default_rng(bits)
    values, zeros, scales, group = quantities(random, 48, 256, bits, 64)
    if zero == "middle":
        zeros[:] = 1 << (bits - 1)
    if scale == "float32":
        scales = random.choice([0.5, 1.5], scales.shape).astype(np.float32) / 2**12 + 1  # sums stay exact
    if order == "runs of 32":
        group = random.permutation(group.reshape(-1, 32)).reshape(-1)
    elif order == "any":
        group = random.permutation(group)
    arrays = {
        "qweight": words_along_rows(values.T, bits),
        "qzeros": words_along_columns(zeros.T - 1, bits),
        "scales": np.ascontiguousarray(scales.T),
        "g_idx": group.astype(np.int32),
    }
    linear = QuantisedLinear(Scheme("gptq", bits), arrays, "here")
    np.testing.assert_array_equal(linear.dense(), plain(values, zeros, scales, group))
    symmetric = zero == "middle" and scale == "fp16" and bits != 2  # codes of 2 bits have their middle at 2, not 8
    wide = 8 if bits == 8 else 4
    form = f"Q{wide}_0" if symmetric else f"A{wide}"
    if order == "any":
        check_compact(linear, form)
    else:
        check_blocks(linear, form)


def awq_words(values):
    """AutoAWQ: of each eight columns, nibble i holds column (0, 2, 4, 6, 1, 3, 5, 7)[i]."""
    ordered = values.reshape(values.shape[0], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(values.shape)
    return words_along_columns(ordered, 4)


def test_awq():
    values, zeros, scales, group = quantities(np.random.default_rng(1), 32, 64, 4, 16)
    arrays = {"qweight": awq_words(values.T), "qzeros": awq_words(zeros.T), "scales": np.ascontiguousarray(scales.T)}
    linear = QuantisedLinear(Scheme("awq"), arrays, "here")
    assert linear.shape == (32, 64)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), plain(values, zeros, scales, group))


@pytest.mark.parametrize("group_size", [32, 128])
def test_awq_becomes_blocks(group_size):
    values, zeros, scales, _ = quantities(np.random.default_rng(1), 32, 256, 4, group_size)
    arrays = {"qweight": awq_words(values.T), "qzeros": awq_words(zeros.T), "scales": np.ascontiguousarray(scales.T)}
    check_blocks(QuantisedLinear(Scheme("awq"), arrays, "here"), "A4")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("inputs", [128, 64, 60])
def test_compressed_tensors_packed_integers(bits, symmetric, inputs):
    values, zeros, scales, group = quantities(np.random.default_rng(2), 32, inputs, bits, inputs // 4)
    if symmetric:
        zeros[:] = 1 << (bits - 1)
    arrays = {
        "weight_packed": words_along_columns(values, bits),
        "weight_scale": scales,
        "weight_shape": np.array([32, inputs]),
    }
    if not symmetric:
        arrays["weight_zero_point"] = words_along_rows(zeros, bits)
    linear = QuantisedLinear(Scheme("stored"), arrays, "here")
    assert linear.shape == (32, inputs)
    assert linear.dense().dtype == np.float32
    np.testing.assert_array_equal(linear.dense(), plain(values, zeros, scales, group))
    check_blocks(linear, None if inputs < 128 else f"Q{bits}_0" if symmetric else f"A{bits}")


@pytest.mark.parametrize("shape", [(), (1,), (32,), (32, 1), (32, 4)])
def test_integers_of_eight_bits(shape):
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
    check_blocks(linear, None if shape == (32, 4) else "Q8_0")


def test_integers_of_eight_bits_with_zero_points_and_in_blocks():
    random = np.random.default_rng(8)
    weight = random.integers(-128, 128, (40, 64)).astype(np.int8)
    scale = random.uniform(0.01, 0.1, (3, 2)).astype(np.float16)
    zero = random.integers(-128, 128, (40, 2)).astype(np.int8)
    parts = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    linear = QuantisedLinear(Scheme("stored", block=(16, 32)), parts, "here")
    scales = scale.astype(np.float32).repeat(16, 0)[:40].repeat(32, 1)
    np.testing.assert_array_equal(linear.dense(), (weight.astype(np.float32) - zero.repeat(32, 1)) * scales)
    check_blocks(linear, "A8")
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


def test_a_scale_that_is_not_finite_is_refused():
    values, zeros, scales, _ = quantities(np.random.default_rng(9), 32, 64, 4, 32)
    scales[3, 1] = np.nan
    linear = QuantisedLinear(Scheme("awq"), {**awq_parts(values, zeros, scales)}, "model: layer")
    weight = np.zeros((4, 32), np.uint8)
    fp8 = QuantisedLinear(Scheme("stored"), {"weight": weight, "weight_scale": np.full(1, np.inf, "f")}, "model: layer")
    for read in (linear.dense, linear.form, linear.compact, fp8.dense, lambda: fp8.blocks(Compact("BF16"))):
        with pytest.raises(BadCheckpoint, match=r"model: layer.*not finite"):
            read()


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


def quantise(folder, config, pack):
    """Every projection of the model in `folder` packed; returns what each must read as."""
    path = folder / "model.safetensors"
    tensors, wanted = load_file(path), {}
    random = np.random.default_rng(6)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        outputs, inputs = tensors.pop(name).shape
        values, zeros, scales, group = quantities(random, outputs, inputs, 4, 32)
        wanted[name] = plain(values, zeros, scales, group)
        for suffix, array in pack(values, zeros, scales).items():
            tensors[f"{name.removesuffix('weight')}{suffix}"] = np.ascontiguousarray(array)
    save_file(tensors, path)
    values = json.loads((folder / "config.json").read_text()) | {"quantization_config": config}
    (folder / "config.json").write_text(json.dumps(values))
    return wanted


def gptq_parts(values, zeros, scales):
    return {
        "qweight": words_along_rows(values.T, 4), "qzeros": words_along_columns(zeros.T - 1, 4), "scales": scales.T,
        "g_idx": (np.arange(values.shape[1]) // 32).astype(np.int32),
    }  # fmt: skip


def awq_parts(values, zeros, scales):
    return {"qweight": awq_words(values.T), "qzeros": awq_words(zeros.T), "scales": scales.T}


def ct_parts(values, zeros, scales):
    return {
        "weight_packed": words_along_columns(values, 4), "weight_scale": scales,
        "weight_zero_point": words_along_rows(zeros, 4), "weight_shape": np.array(values.shape),
        "input_scale": np.ones(1, np.float32),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "pack"), [(GPTQ, gptq_parts), (AWQ, awq_parts), (CT, ct_parts)], ids=["gptq", "awq", "ct"]
)
def test_a_quantised_checkpoint_is_a_checkpoint(config, pack, tmp_path, make_tiny_model, tiny_model_dir):
    folder = make_tiny_model(tmp_path / "model")
    wanted = quantise(folder, config, pack)
    checkpoint = SafetensorsCheckpoint(folder)
    assert set(checkpoint.names()) == set(SafetensorsCheckpoint(tiny_model_dir).names())
    assert {"I32", "F16", "F32"} < set(checkpoint.formats())
    for name, values in wanted.items():
        np.testing.assert_array_equal(checkpoint.dense(name), values)
        tensor = checkpoint.packed(name)
        assert tensor.format == "A4"
        assert tensor.nbytes == tensor.data.nbytes == values.size * 6 // 8
        np.testing.assert_array_equal(numbers(tensor.format, tensor.data), values)


def test_act_order_comes_with_blocks_of_its_inputs_by_group(tmp_path, make_tiny_model):
    random = np.random.default_rng(11)

    def shuffled(values, zeros, scales):
        inputs_K = random.permutation(values.shape[1])
        values[:] = values[:, inputs_K]
        group = (np.arange(values.shape[1]) // 32)[inputs_K]
        return {**gptq_parts(values, zeros, scales), "g_idx": group.astype(np.int32)}

    folder = make_tiny_model(tmp_path / "model")
    quantise(folder, {**GPTQ, "desc_act": True}, shuffled)
    checkpoint = SafetensorsCheckpoint(folder)
    for name in (name for name in checkpoint.names() if name.endswith("_proj.weight")):
        tensor = checkpoint.packed(name)
        assert (tensor.format, tensor.widened, tensor.compact.format) == ("F32", True, "A4")
        assert tensor.compact.nbytes == tensor.compact.data.nbytes == tensor.nbytes * 6 // 32
        found = np.empty(tensor.shape, np.float32)
        found[:, tensor.compact.inputs_K] = numbers("A4", tensor.compact.data)
        np.testing.assert_array_equal(found, checkpoint.dense(name))
        np.testing.assert_array_equal(tensor.data.view(np.float32), found)


def test_quantised_and_fused_is_split(tmp_path, make_tiny_model):
    folder = make_tiny_model(tmp_path / "model", model_type="phi3", architectures=["Phi3ForCausalLM"])
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(2):
        prefix = f"model.layers.{layer}.self_attn."
        rows = [tensors.pop(f"{prefix}{part}_proj.weight") for part in "qkv"]
        tensors[f"{prefix}qkv_proj.weight"] = np.concatenate(rows)
    save_file(tensors, path)
    wanted = quantise(folder, GPTQ, gptq_parts)
    found = SafetensorsCheckpoint(folder)
    parts = [found.dense(f"model.layers.1.self_attn.{part}_proj.weight") for part in "qkv"]
    np.testing.assert_array_equal(np.concatenate(parts), wanted["model.layers.1.self_attn.qkv_proj.weight"])


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "bitsandbytes"}, {**GPTQ, "bits": 3}, {**GPTQ, "checkpoint_format": "marlin"},
        {**AWQ, "version": "gemv"}, {**AWQ, "bits": 8}, {"quant_method": ["x"]}, {"quant_method": None},
    ],
)  # fmt: skip
def test_other_methods_are_told_which_are_read(config, tmp_path, make_tiny_model):
    with pytest.raises(UnsupportedModel, match="GPTQ"):
        SafetensorsCheckpoint(make_tiny_model(tmp_path / "model", quantization_config=config))


@pytest.mark.parametrize("part", ["qweight", "qzeros", "scales", "g_idx"])
@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(0, 9), max_size=3), low=st.integers(-5, 5))
def test_parts_that_do_not_fit_are_refused(part, shape, low):
    values, zeros, scales, _ = quantities(np.random.default_rng(7), 32, 64, 4, 32)
    parts = {name: np.ascontiguousarray(array) for name, array in gptq_parts(values, zeros, scales).items()}
    assume(tuple(shape) != parts[part].shape)
    parts[part] = np.full(shape, low, parts[part].dtype)
    for read in (QuantisedLinear.dense, QuantisedLinear.form, lambda linear: linear.blocks(Compact("A4"))):
        with pytest.raises(BadCheckpoint, match="fit together"):
            read(QuantisedLinear(Scheme("gptq"), parts, "here"))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_parts_give_weights_or_an_error_of_ours(data):
    names = [
        "weight",
        "weight_packed",
        "weight_scale",
        "weight_zero_point",
        "weight_shape",
        "weight_global_scale",
        "qweight",
        "scales",
        "qzeros",
    ]
    dtypes = st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.float16, np.float32])
    shapes = st.lists(st.sampled_from([*range(9), 32, 64]), max_size=3)
    arrays = {
        name: np.full(data.draw(shapes), data.draw(st.integers(0, 9)), data.draw(dtypes))
        for name in data.draw(st.sets(st.sampled_from(names), min_size=1))
    }
    scheme = data.draw(
        st.sampled_from([Scheme("stored"), Scheme("stored", block=(2, 2)), Scheme("awq"), Scheme("gptq", 8)])
    )
    try:
        linear = QuantisedLinear(scheme, arrays, "here")
        with np.errstate(all="ignore"):
            assert linear.dense().shape == linear.shape
            form = linear.form()
            if form is not None:
                assert numbers(form, linear.blocks(Compact(form))).shape == linear.shape
            elif (compact := linear.compact()) is not None:
                assert len(linear.blocks(compact)) == linear.shape[0]
    except RadixlangError:
        pass
