"""The CUDA executor on weights of 4 and 8 bits, computed on as they are stored, beside the reference's products.

Without a GPU it runs on the CPU, kernels in triton's interpreter: see test_cuda_executor.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from safetensors.torch import load_file, save_file

from radixlang.kernels import ops, registry
from radixlang.kernels.reference import matmul as reference_matmul
from radixlang.kernels.triton import matmul as triton_matmul
from radixlang.runtime.model import layers
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.rounded import RoundedCheckpoint

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("triton_everywhere")


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(4)
    return [rng.integers(3, 300, length).tolist() for length in (9, 17)]


def test_four_bits_are_computed_on_as_stored(
    tiny_model_dir: Path, driver: Any, build_cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GGUF's groups through the W4A16 kernel, beside the same numbers widened."""
    told = []
    for is_stored in (True, False):
        monkeypatch.setattr(ops, "computes_as_stored", lambda op, weight, found=is_stored: found)
        executor = build_cuda(RoundedCheckpoint(open_checkpoint(tiny_model_dir), "w4"))
        assert isinstance(executor._decoder.layers[0].mlp.down, layers.NibbleLinear) == is_stored
        run = driver(executor)
        told.append(np.concatenate(run.logprobs([(run.new(), ids) for ids in prompts()])))
    assert np.abs(told[0] - told[1]).max() < 1e-4


EIGHTS: dict[str, tuple[dict[str, Any], tuple[int, int] | None]] = {
    # quantization_config, and rows and columns that share a scale (None: each row)
    "int8 a row": (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 8}}},
        },
        None,
    ),
    "fp8 whole": ({"quant_method": "fp8", "activation_scheme": "dynamic"}, (1 << 20, 1 << 20)),
    "fp8 blocks": ({"quant_method": "fp8", "weight_block_size": [32, 32]}, (32, 32)),
}


def in_eight_bits(folder: Path, case: str) -> Path:
    """The model there, its projections rounded to 8 bits in place."""
    config, block = EIGHTS[case]
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        weight = tensors[name]
        rows, columns = (min(a, b) for a, b in zip(block or (1, 1 << 20), weight.shape, strict=True))
        tiles = weight.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))
        scale = tiles.abs().amax((1, 3), keepdim=True) / (127 if "int8" in case else 448)
        codes = (tiles / scale).reshape(weight.shape)
        is_int8 = "int8" in case
        tensors[name] = codes.round().to(torch.int8) if is_int8 else codes.to(torch.float8_e4m3fn)
        found = scale[:, 0, :, 0]
        tensors[f"{name}_scale" if block is None else f"{name}_scale_inv"] = found if found.numel() > 1 else found[0]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    values = json.loads((folder / "config.json").read_text()) | {"quantization_config": config}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("case", ["int8 a row", "fp8 blocks", pytest.param("fp8 whole", marks=pytest.mark.slow)])
def test_eight_bits_are_computed_on_as_stored(
    case: str, tmp_path: Path, make_tiny_model: Any, driver: Any, build_cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W8A8 checkpoints through the kernel, beside the reference, and near the same weights with whole activations."""
    checkpoint = open_checkpoint(in_eight_bits(make_tiny_model(tmp_path / "model"), case))
    if DEVICE == "cpu":  # the interpreter cuts where a GPU (and the reference) rounds to FP8
        monkeypatch.setattr(triton_matmul, "quantise_rows", reference_matmul.quantise_rows)
    told = []
    for kernel in (triton_matmul.linear_w8a8, reference_matmul.linear_w8a8, None):
        if kernel is None:
            monkeypatch.setattr(ops, "computes_as_stored", lambda op, weight: False)
        else:
            registry.register("linear_w8a8", kernel, name="here", device=DEVICE, rank=9)
        executor = build_cuda(checkpoint)
        for linear in (executor._decoder.layers[0].attention.qkv, executor._decoder.layers[1].mlp.down):
            assert isinstance(linear, layers.EightLinear) == (kernel is not None)
        run = driver(executor)
        told.append(np.concatenate(run.logprobs([(run.new(), ids) for ids in prompts()])))
    got, reference, whole = told
    assert np.abs(got - reference).max() < 2e-3
    assert (np.exp(whole) * (whole - got)).sum(-1).mean() < 0.05  # wrong scales give more than 1
