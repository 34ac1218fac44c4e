"""The native step on a model that --quantize rounded: the reference's numbers on the same rounded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from radixlang.errors import NativeUnavailable
from radixlang.kernels.cpu.load import load
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.model_runner.plan import Executor
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.rounded import RoundedCheckpoint

ROOT = Path(__file__).resolve().parents[2]


def native(path: Path, quantize: Any = "none", **changes: Any) -> Executor:
    options = {"executor": "native", "num_threads": 2, "max_total_tokens": 256, "weight_cache": False, **changes}
    try:
        load()
    except NativeUnavailable as error:
        pytest.skip(f"no native step here: {error}")
    return load_executor(EngineConfig(quantize=quantize, **options), open_checkpoint(path))


def write_halves(path: Path, folder: Path) -> None:
    """A Llama of any format as a Hugging Face directory in fp16, without its tokenizer."""
    folder.mkdir()
    checkpoint = open_checkpoint(path)
    model = checkpoint.config
    tensors = {name: checkpoint.dense(name).astype(np.float16) for name in checkpoint.names()}
    save_file(tensors, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": model.vocab_size, "hidden_size": model.hidden_size, "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads, "head_dim": model.head_dim,
        "num_key_value_heads": model.num_kv_heads, "rms_norm_eps": model.norm_eps, "rope_theta": model.rope.theta,
        "max_position_embeddings": model.max_context, "tie_word_embeddings": model.tie_embeddings,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def divergences(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    return (np.exp(wanted.astype(np.float64)) * (wanted.astype(np.float64) - found)).sum(-1)


@pytest.mark.parametrize("bits", ["w4", "w8"])
@pytest.mark.parametrize("file", ["safetensors", "gguf"])
def test_the_step_computes_with_the_rounded_weights(
    bits: Any, file: str, tiny_model_dir: Path, tiny_gguf_path: Path, driver: Any
) -> None:
    path = tiny_model_dir if file == "safetensors" else tiny_gguf_path
    prompt = np.random.default_rng(3).integers(3, 300, size=40).tolist()
    rounded = RoundedCheckpoint(open_checkpoint(path), bits)
    executors = (
        native(path, bits),
        TorchExecutor(rounded, num_slots=256),
        TorchExecutor(open_checkpoint(path), num_slots=256),
    )
    found, wanted, unrounded = (ours.logprobs([(ours.new(), prompt)])[0] for ours in map(driver, executors))
    assert divergences(wanted, found).mean() < 2e-3  # activations in 8 bits
    if bits == "w4":
        assert divergences(unrounded, found).mean() > 1e-2  # it was rounded, not loaded as it was


def test_a_rounded_model_is_packed_once(tiny_model_dir: Path, tmp_path: Path, monkeypatch: Any, driver: Any) -> None:
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path))
    native(tiny_model_dir, weight_cache=True).close()
    first = native(tiny_model_dir, "w4", weight_cache=True)
    files = sorted(path.stat().st_size for path in (tmp_path / "packed").iterdir())
    assert len(files) == 2
    assert files[0] < files[1] / 2
    monkeypatch.setattr(RoundedCheckpoint, "_rounded", None)
    again = native(tiny_model_dir, "w4", weight_cache=True)
    ours, theirs = (d.logprobs([(d.new(), [5, 6, 7])])[0] for d in (driver(first), driver(again)))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.model
@pytest.mark.slow
def test_the_default_model_rounded_from_fp16_stays_close(default_model_path: Path, tmp_path: Path, driver: Any) -> None:
    """Its own weights lie on a grid of 4 bits, which w4 must find again; w8 rounds them."""
    write_halves(default_model_path, tmp_path / "f16")
    prompt = list((ROOT / "LICENSE").read_bytes()[:96])  # byte values as ids: any text will do
    wanted = None
    for bits, bound in (("none", 0.0), ("w8", 0.015), ("w4", 0.015)):
        executor = native(tmp_path / "f16", bits)
        ours = driver(executor)
        found = ours.logprobs([(ours.new(), prompt)])[0]
        wanted = found if wanted is None else wanted
        assert divergences(wanted, found).mean() <= bound
        executor.close()
