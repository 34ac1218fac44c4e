"""A directory that holds config.json alone can be measured, on weights that are made up."""

import json
import shutil

import numpy as np
import pytest

from radixlang.errors import ConfigError, ModelNotFound, UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.weights.open import open_checkpoint

GEMMA = {
    "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "vocab_size": 96, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 16, "max_position_embeddings": 128, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(GEMMA))
    return tmp_path


def test_weights_are_random_and_always_the_same(folder):
    first, again = open_checkpoint(folder, dummy=True), open_checkpoint(folder, dummy=True)
    assert first.digest == again.digest
    for name in first.names():
        dense = first.dense(name)
        assert dense.shape == first.packed(name).shape
        assert np.array_equal(dense, again.dense(name))
        if dense.ndim == 2:
            assert 0.7 < dense.std() * dense.shape[1] ** 0.5 < 1.3
            assert len(np.unique(dense, axis=0)) == len(dense)
        else:
            assert np.all(dense == 0)  # Gemma adds one
    q, k = (first.dense(f"model.layers.0.self_attn.{name}_proj.weight") for name in "qk")
    assert not np.array_equal(q[: len(k)], k)


def test_weights_are_spread_on_the_device_from_one_block(folder, monkeypatch):
    torch = pytest.importorskip("torch")
    from radixlang.runtime.model.layers import Weights
    from radixlang.runtime.weights import dummy

    monkeypatch.setattr(dummy, "_BLOCK", 101)  # several copies, the last one cut
    checkpoint = open_checkpoint(folder, dummy=True)
    weights = Weights(checkpoint, torch.bfloat16, torch.device("cpu"))
    for name in checkpoint.names():
        spread = weights.take(name, *checkpoint.packed(name).shape)
        assert np.array_equal(spread.float().numpy(), checkpoint.dense(name))


@pytest.mark.parametrize("executor", ["auto", "torch"])
def test_every_executor_of_ours_runs_it(folder, executor):
    pytest.importorskip("torch")
    checkpoint = open_checkpoint(folder, dummy=True)
    loaded = load_executor(
        EngineConfig(executor=executor, max_total_tokens=64, num_threads=1, weight_cache=False), checkpoint
    )
    assert loaded.vocab_size == 96
    loaded.close()


def test_an_engine_generates(tiny_model_dir, tmp_path):
    import radixlang

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model_dir / name, tmp_path)
    with pytest.raises(ModelNotFound, match=r"no \*\.safetensors"):
        open_checkpoint(tmp_path)
    engine = radixlang.Engine(
        model_path=str(tmp_path), load_format="dummy", max_total_tokens=128, num_threads=1, weight_cache=False
    )
    answer = engine.generate("the", {"max_new_tokens": 5, "ignore_eos": True})
    engine.shutdown()
    assert answer["meta_info"]["completion_tokens"] == 5


def test_what_has_no_config_of_ours_is_refused(tmp_path, tiny_gguf_path, folder):
    with pytest.raises(ConfigError, match="--load-format dummy"):
        open_checkpoint(tiny_gguf_path, dummy=True)
    with pytest.raises(ModelNotFound):
        open_checkpoint(tmp_path / "nowhere", dummy=True)
    (folder / "config.json").write_text(json.dumps({**GEMMA, "model_type": "mamba"}))
    with pytest.raises(UnsupportedModel):
        open_checkpoint(folder, dummy=True)
