"""The native step on packed GPTQ, AWQ and compressed-tensors linears beside the reference on their float32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from radixlang.errors import ConfigError
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.quantised import QuantisedLinear

PROMPT = np.random.default_rng(3).integers(3, 300, size=40).tolist()


class Rounded(NamedTuple):
    """A matrix rounded to the nearest of 2 ** bits numbers, in groups of inputs."""

    codes: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray

    @staticmethod
    def of(weight: np.ndarray, bits: int, group: int, *, symmetric: bool) -> Rounded:
        groups = weight.reshape(len(weight), -1, group)
        top = (1 << bits) - 1
        if symmetric:
            scales = np.abs(groups).max(-1) / (top // 2)
            zeros = np.full(scales.shape, 1 << (bits - 1))
        else:
            low = np.minimum(groups.min(-1), 0)
            scales = (np.maximum(groups.max(-1), 0) - low) / top
            zeros = np.clip(np.round(-low / scales), 1, top).astype(np.int64)
        scales = scales.astype(np.float16)
        codes = np.round(groups / scales[..., None].astype(np.float32)) + zeros[..., None]
        return Rounded(np.clip(codes, 0, top).astype(np.uint32).reshape(weight.shape), zeros, scales)


def words(fields: np.ndarray, bits: int, order: tuple[int, ...] | None = None) -> np.ndarray:
    """[rows, fields] to [rows, int32 words]; field order[i] of each word's at bit i * bits."""
    parts = fields.astype(np.uint32).reshape(len(fields), -1, 32 // bits)
    parts = parts if order is None else parts[:, :, list(order)]
    return np.bitwise_or.reduce(parts << np.arange(0, 32, bits, dtype=np.uint32), axis=2).view(np.int32)


def gptq(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    inputs = np.arange(w.codes.shape[1]) // (w.codes.shape[1] // w.scales.shape[1])
    return {
        "qweight": words(w.codes, bits).T, "qzeros": words(w.zeros.T - 1, bits), "scales": w.scales.T,
        "g_idx": inputs.astype(np.int32),
    }  # fmt: skip


def act_order(w: Rounded, bits: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs belong to groups in any order: what --desc_act writes."""
    inputs = np.random.default_rng(seed).permutation(w.codes.shape[1])
    found = gptq(w._replace(codes=w.codes[:, inputs]), bits)
    return {**found, "g_idx": found["g_idx"][inputs]}


def act_order_each(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    """The linears that read the same inputs disagree about their order."""
    return act_order(w, bits, seed=int(w.codes.sum()))


def awq(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    return {"qweight": words(w.codes.T, 4, order), "qzeros": words(w.zeros.T, 4, order), "scales": w.scales.T}


def packed_symmetric(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    return {"weight_packed": words(w.codes, bits), "weight_scale": w.scales, "weight_shape": np.array(w.codes.shape)}


def packed_asymmetric(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    return {**packed_symmetric(w, bits), "weight_zero_point": words(w.zeros.T, bits).T}


def int8(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    return {"weight": (w.codes.astype(np.int64) - 128).astype(np.int8), "weight_scale": w.scales}


def fp8(w: Rounded, bits: int) -> dict[str, np.ndarray]:
    """E4M3 codes with a scale for each row."""
    values = ((w.codes - w.zeros.repeat(w.codes.shape[1] // w.zeros.shape[1], 1)) * 0.5).astype(np.float32)
    codes = torch.from_numpy(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    return {"weight": codes, "weight_scale": w.scales[:, :1].astype(np.float32) * 2}


GPTQ, CT = {"quant_method": "gptq", "desc_act": False}, {"quant_method": "compressed-tensors"}
CASES: dict[str, tuple[dict[str, Any], Callable[..., dict[str, np.ndarray]], int, int, bool, str]] = {
    "gptq 4": (GPTQ, gptq, 4, 64, False, "A4"),
    "gptq 4 symmetric": (GPTQ, gptq, 4, 32, True, "Q4_0"),
    "gptq 8": (GPTQ, gptq, 8, 64, False, "A8"),
    "gptq 8 symmetric": (GPTQ, gptq, 8, 64, True, "Q8_0"),
    "gptq act-order": (GPTQ, act_order, 4, 32, False, "A4"),
    "gptq act-order symmetric": (GPTQ, act_order, 4, 64, True, "Q4_0"),
    "gptq act-order each": (GPTQ, act_order_each, 4, 32, False, "A4"),
    "gptq 4 in 16": (GPTQ, gptq, 4, 16, False, "F32"),
    "awq": ({"quant_method": "awq", "version": "gemm"}, awq, 4, 64, False, "A4"),
    "w4a16": (CT, packed_symmetric, 4, 32, True, "Q4_0"),
    "w4a16 asymmetric": (CT, packed_asymmetric, 4, 64, False, "A4"),
    "w8a16": (CT, packed_symmetric, 8, 64, True, "Q8_0"),
    "int8": (CT, int8, 8, 64, True, "Q8_0"),
    "fp8": (CT, fp8, 8, 64, True, "BF16"),
}
"""quantization_config, writer, bits, group, symmetric, and the form that is computed on."""


def quantised_model(folder: Path, case: str) -> Path:
    """The model there, its projections quantised in place."""
    config, write, bits, group, symmetric, _ = CASES[case]
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        rounded = Rounded.of(tensors.pop(name), bits, group, symmetric=symmetric)
        for suffix, array in write(rounded, bits).items():
            tensors[f"{name.removesuffix('weight')}{suffix}"] = np.ascontiguousarray(array)
    stored = {name: torch.from_numpy(array) for name, array in tensors.items()}  # numpy has no FP8
    save_file(
        {name: t.view(torch.float8_e4m3fn) if t.dtype == torch.uint8 else t for name, t in stored.items()},
        folder / "model.safetensors",
    )
    values = json.loads((folder / "config.json").read_text()) | {"quantization_config": {**config, "bits": bits}}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_packed_linears_give_the_numbers_of_their_float32(
    case: str, tmp_path: Path, make_tiny_model: Any, native_divergence: Any
) -> None:
    folder = quantised_model(make_tiny_model(tmp_path / "model"), case)
    checkpoint = open_checkpoint(folder)
    linears = [name for name in checkpoint.names() if name.endswith("_proj.weight")]
    tensors = [checkpoint.packed(name) for name in linears]
    assert {(tensor.compact or tensor).format for tensor in tensors} == {CASES[case][-1]}
    divergence = native_divergence(checkpoint, PROMPT)
    checkpoint.close()
    assert divergence.max() < 1e-2  # activations in 8 bits; codes out of order give more than 1
    assert divergence.mean() < 2e-3


def test_linears_that_are_widened_are_told(
    tmp_path: Path, make_tiny_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for case, told in (("gptq 4 in 16", 1), ("gptq act-order", 0), ("gptq 4", 0)):
        checkpoint = open_checkpoint(quantised_model(make_tiny_model(tmp_path / case), case))
        caplog.clear()
        load_executor(EngineConfig(num_threads=1, max_total_tokens=64, weight_cache=False), checkpoint).close()
        lines = [r.getMessage() for r in caplog.records if "14 linears are computed in float32" in r.getMessage()]
        assert len(lines) == told


def test_the_second_start_reads_no_weights(
    tmp_path: Path, make_tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quantised_model(make_tiny_model(tmp_path / "model"), "gptq 4")
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path / "cache"))

    def start() -> None:
        checkpoint = open_checkpoint(folder)
        load_executor(EngineConfig(executor="native", num_threads=1, max_total_tokens=64), checkpoint).close()
        checkpoint.close()

    try:
        start()
    except ConfigError as error:
        pytest.skip(f"no native step here: {error}")
    monkeypatch.setattr(QuantisedLinear, "blocks", None)
    start()
