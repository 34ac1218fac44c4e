"""Quantised checkpoints are packed here by hand, value by value, and read back: what is read must be exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.errors import BadCheckpoint, RadixlangError, UnsupportedModel
from radixlang.runtime.weights.quantised import Compact, QuantisedLinear, Scheme
from radixlang.runtime.weights.safetensors import SafetensorsCheckpoint


@pytest.mark.parametrize("method", ["gptq", "awq", "ct"])
def test_a_quantised_checkpoint_is_a_checkpoint(by_hand, method, tmp_path, make_tiny_model, tiny_model_dir):
    folder = make_tiny_model(tmp_path / "model")
    wanted = by_hand.quantise(folder, by_hand.config(method), getattr(by_hand, f"{method}_parts"))
    checkpoint = SafetensorsCheckpoint(folder)
    assert set(checkpoint.names()) == set(SafetensorsCheckpoint(tiny_model_dir).names())
    assert {"I32", "F16", "F32"} < set(checkpoint.formats())
    for name, values in wanted.items():
        np.testing.assert_array_equal(checkpoint.dense(name), values)
        tensor = checkpoint.packed(name)
        assert tensor.format == "A4"
        assert tensor.nbytes == tensor.data.nbytes == values.size * 6 // 8
        np.testing.assert_array_equal(by_hand.numbers(tensor.format, tensor.data), values)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("ct", {"quant_method": "bitsandbytes"}), ("gptq", {"bits": 3}), ("gptq", {"checkpoint_format": "marlin"}),
        ("awq", {"version": "gemv"}), ("awq", {"bits": 8}), ("ct", {"quant_method": ["x"]}),
        ("ct", {"quant_method": None}),
    ],
)  # fmt: skip
def test_other_methods_are_told_which_are_read(by_hand, method, fields, tmp_path, make_tiny_model):
    config = by_hand.config(method, **fields)
    with pytest.raises(UnsupportedModel, match="GPTQ"):
        SafetensorsCheckpoint(make_tiny_model(tmp_path / "model", quantization_config=config))


def test_a_scale_that_is_not_finite_is_refused(by_hand):
    values, zeros, scales, _ = by_hand.quantities(np.random.default_rng(9), 32, 64, 4, 32)
    scales[3, 1] = np.nan
    linear = QuantisedLinear(Scheme("awq"), {**by_hand.awq_parts(values, zeros, scales)}, "model: layer")
    weight = np.zeros((4, 32), np.uint8)
    fp8 = QuantisedLinear(Scheme("stored"), {"weight": weight, "weight_scale": np.full(1, np.inf, "f")}, "model: layer")
    for read in (linear.dense, linear.form, linear.compact, fp8.dense, lambda: fp8.blocks(Compact("BF16"))):
        with pytest.raises(BadCheckpoint, match=r"model: layer.*not finite"):
            read()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_parts_give_weights_or_an_error_of_ours(by_hand, data):
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
                assert by_hand.numbers(form, linear.blocks(Compact(form))).shape == linear.shape
            elif (compact := linear.compact()) is not None:
                assert len(linear.blocks(compact)) == linear.shape[0]
    except RadixlangError:
        pass
