"""Quantised weights packed by hand, value by value."""

import json

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from radixlang.runtime.weights.quantised import Compact

CONFIGS = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"},
    "ct": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
}


class ByHand:
    """How each method packs, and what must be read of it."""

    @staticmethod
    def words_along_columns(values, bits):
        """[rows, fields] to [rows, words]: field i of a word at bit i * bits."""
        per_word = 32 // bits
        out = np.zeros((values.shape[0], -(-values.shape[1] // per_word)), np.uint32)
        for row in range(values.shape[0]):
            for column in range(values.shape[1]):
                out[row, column // per_word] |= np.uint32(int(values[row, column]) << bits * (column % per_word))
        return out.view(np.int32)

    @staticmethod
    def words_along_rows(values, bits):
        return np.ascontiguousarray(ByHand.words_along_columns(values.T, bits).T)

    @staticmethod
    def quantities(random, outputs, inputs, bits, group):
        """Integers [N, K], zeros [N, G], scales [N, G] and the group of each input."""
        groups = inputs // group
        values = random.integers(0, 1 << bits, (outputs, inputs))
        zeros = random.integers(1, 1 << bits, (outputs, groups))
        scales = random.uniform(0.01, 0.1, (outputs, groups)).astype(np.float16)
        return values, zeros, scales, np.arange(inputs) // group

    @staticmethod
    def plain(values, zeros, scales, group):
        return (values - zeros[:, group]).astype(np.float32) * scales.astype(np.float32)[:, group]

    @staticmethod
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

    @staticmethod
    def check_blocks(linear, form):
        """The blocks hold the very numbers of `dense`, in the smallest form that can."""
        assert linear.form() == form
        if form is not None:
            np.testing.assert_array_equal(ByHand.numbers(form, linear.blocks(Compact(form))), linear.dense())

    @staticmethod
    def check_compact(linear, form):
        """So do those whose inputs are in another order."""
        assert linear.form() is None
        found = linear.compact()
        assert found.format == form
        assert sorted(found.inputs_K) == list(range(linear.shape[1]))
        np.testing.assert_array_equal(ByHand.numbers(form, linear.blocks(found)), linear.dense()[:, found.inputs_K])

    @staticmethod
    def awq_words(values):
        """AutoAWQ: of each eight columns, nibble i holds column (0, 2, 4, 6, 1, 3, 5, 7)[i]."""
        ordered = values.reshape(values.shape[0], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(values.shape)
        return ByHand.words_along_columns(ordered, 4)

    @staticmethod
    def quantise(folder, config, pack):
        """Every projection of the model in `folder` packed; returns what each must read as."""
        path = folder / "model.safetensors"
        tensors, wanted = load_file(path), {}
        random = np.random.default_rng(6)
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            outputs, inputs = tensors.pop(name).shape
            values, zeros, scales, group = ByHand.quantities(random, outputs, inputs, 4, 32)
            wanted[name] = ByHand.plain(values, zeros, scales, group)
            for suffix, array in pack(values, zeros, scales).items():
                tensors[f"{name.removesuffix('weight')}{suffix}"] = np.ascontiguousarray(array)
        save_file(tensors, path)
        values = json.loads((folder / "config.json").read_text()) | {"quantization_config": config}
        (folder / "config.json").write_text(json.dumps(values))
        return wanted

    @staticmethod
    def gptq_parts(values, zeros, scales):
        return {
            "qweight": ByHand.words_along_rows(values.T, 4), "qzeros": ByHand.words_along_columns(zeros.T - 1, 4),
            "scales": scales.T,
            "g_idx": (np.arange(values.shape[1]) // 32).astype(np.int32),
        }  # fmt: skip

    @staticmethod
    def awq_parts(values, zeros, scales):
        return {"qweight": ByHand.awq_words(values.T), "qzeros": ByHand.awq_words(zeros.T), "scales": scales.T}

    @staticmethod
    def ct_parts(values, zeros, scales):
        return {
            "weight_packed": ByHand.words_along_columns(values, 4), "weight_scale": scales,
            "weight_zero_point": ByHand.words_along_rows(zeros, 4), "weight_shape": np.array(values.shape),
            "input_scale": np.ones(1, np.float32),
        }  # fmt: skip

    @staticmethod
    def config(method, **fields):
        """A checkpoint's quantization_config."""
        return {**CONFIGS[method], **fields}


@pytest.fixture(scope="session")
def by_hand() -> type[ByHand]:
    return ByHand
