"""Models in each of GGUF's types: read as the gguf package reads them, and through the native step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from radixlang.errors import NativeUnavailable
from radixlang.kernels.cpu.load import load
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.gguf import GgufCheckpoint

SUPER = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
"""Depths of whole super-blocks of 256."""
SCALES = {
    "Q2_K": (80, 2), "Q3_K": (108, 1), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208, 1), "IQ4_NL": (0, 1),
    "IQ4_XS": (0, 1),
}  # fmt: skip
"""Types that the gguf package reads and does not write: where their fp16 scales lie in a block, and how many."""
TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", *SCALES)


def blocks(values: np.ndarray, type_: str, rng: np.random.Generator) -> np.ndarray:
    """The matrix in that type; for one that cannot be written random codes, their numbers about as large."""
    kind = gguf.GGMLQuantizationType[type_]
    if type_ not in SCALES:
        return gguf.quants.quantize(values, kind)
    size, width = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (len(values), values.shape[1] // size, width)).astype(np.uint8)
    at, count = SCALES[type_]
    raw[:, :, at : at + 2 * count] = np.full(count, 1e-3, np.float16).view(np.uint8)
    spread = gguf.quants.dequantize(raw.reshape(len(values), -1), kind).std()
    raw[:, :, at : at + 2 * count] = np.full(count, 1e-3 * values.std() / spread, np.float16).view(np.uint8)
    return raw.reshape(len(values), -1)


@pytest.mark.parametrize("type_", TYPES)
def test_a_model_of_this_type(
    type_: str, tmp_path: Path, make_gguf_bytes: Any, make_gguf_parts: Any, driver: Any
) -> None:
    try:
        load()
    except NativeUnavailable as error:
        pytest.skip(f"no native step here: {error}")
    metadata, tensors = make_gguf_parts(SUPER)
    kind = gguf.GGMLQuantizationType[type_]
    rng = np.random.default_rng(5)
    written = {}
    for name, (_, shape, raw) in tensors.items():
        if len(shape) == 2:
            written[name] = blocks(np.frombuffer(raw, np.float32).reshape(shape), type_, rng)
            tensors[name] = (kind.value, shape, written[name].tobytes())
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(metadata, tensors))
    checkpoint = GgufCheckpoint(path)
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("self_attn.o_proj", "attn_output")):
        data = written[f"blk.1.{theirs}.weight"]
        wanted = data if type_ == "F32" else gguf.quants.dequantize(data, kind)
        np.testing.assert_array_equal(checkpoint.dense(f"model.layers.1.{ours}.weight"), wanted)
    prompt = rng.integers(3, 300, size=40).tolist()
    native = NativeExecutor(checkpoint, EngineConfig(num_threads=1, weight_cache=False), 256)
    found, wanted = (
        ours.logprobs([(ours.new(), prompt)])[0]
        for ours in (driver(native), driver(TorchExecutor(checkpoint, num_slots=256)))
    )
    native.close()
    checkpoint.close()
    divergence = (np.exp(wanted.astype(np.float64)) * (wanted - found)).sum(-1)
    assert divergence.mean() < (4e-3 if type_ in ("Q2_K", "Q6_K") else 2e-3)  # 8 bits: activations; these two as well
    assert divergence.max() < 5e-2  # codes out of order give more than 1
