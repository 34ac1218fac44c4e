"""Scales that are not finite: found in every block format, told by file, tensor and row, before anything runs."""

import struct

import numpy as np
import pytest

from radixlang.errors import BadCheckpoint
from radixlang.runtime.weights.dequant import DEQUANTISERS
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.gguf_header import BLOCKS, TENSOR_TYPES
from radixlang.runtime.weights.scales import first_bad_row

BLOCKED = [name for name, (values, _) in BLOCKS.items() if values > 1]


@pytest.mark.parametrize("format_", BLOCKED)
def test_a_row_is_bad_exactly_when_a_zero_block_with_one_half_replaced_decodes_to_what_is_not_finite(format_):
    """The oracle is the decoder: whatever fp16 of a block makes its values NaN or infinite is a scale."""
    size = BLOCKS[format_][1]
    for at in range(0, size - 1):
        for half in (0x7C00, 0xFC00, 0x7E01):
            block = np.zeros((1, size), np.uint8)
            block[0, at : at + 2] = np.frombuffer(struct.pack("<H", half), np.uint8)
            rows = np.zeros((3, 2 * size), np.uint8)
            rows[1, size:] = block
            with np.errstate(all="ignore"):
                finite = np.isfinite(DEQUANTISERS[format_](block)).all()
            assert first_bad_row(format_, rows) == (None if finite else 1), (at, half)


def test_formats_without_scales_have_no_bad_rows():
    assert first_bad_row("F32", np.full((2, 64), 255, np.uint8)) is None


def test_the_file_the_tensor_and_the_row_are_named(tmp_path, gguf_parts, make_gguf_bytes):
    metadata, tensors = gguf_parts
    kind = next(number for number, (name, *_) in TENSOR_TYPES.items() if name == "Q4_0")
    _, shape, _ = tensors["blk.1.ffn_up.weight"]
    rows = np.zeros((shape[0], shape[1] // 32 * 18), np.uint8)
    rows[77, 18:20] = (0x01, 0x7E)
    tensors["blk.1.ffn_up.weight"] = (kind, shape, rows.tobytes())
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(metadata, tensors))
    checkpoint = GgufCheckpoint(path)
    for read in (lambda name: checkpoint.packed(name).data, checkpoint.dense):
        with pytest.raises(BadCheckpoint, match=r"model\.gguf.*blk\.1\.ffn_up\.weight.*row 77 "):
            read("model.layers.1.mlp.up_proj.weight")
        read("model.layers.0.mlp.up_proj.weight")
