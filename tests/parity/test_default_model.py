"""The default model against transformers' Llama with the same dequantised tensors; what smaller types cost it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.open import open_checkpoint

pytestmark = pytest.mark.model

IDS = np.random.default_rng(5).integers(17, 49152, size=48).tolist()


@pytest.fixture(scope="module")
def checkpoint(default_model_path: Path) -> Iterator[Any]:
    opened = open_checkpoint(default_model_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def peer(checkpoint: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    facts = checkpoint.config
    config = LlamaConfig(
        vocab_size=facts.vocab_size, hidden_size=facts.hidden_size, intermediate_size=facts.intermediate_size,
        num_hidden_layers=facts.num_layers, num_attention_heads=facts.num_heads, num_key_value_heads=facts.num_kv_heads,
        head_dim=facts.head_dim, max_position_embeddings=facts.max_context, rms_norm_eps=facts.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": facts.rope.theta}, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    tensors = {name: torch.from_numpy(np.array(checkpoint.dense(name))) for name in checkpoint.names()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, strict=True, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


@pytest.fixture(scope="module")
def expected(peer: Any) -> np.ndarray:
    with torch.no_grad():
        return peer(torch.tensor([IDS])).logits[0].double().log_softmax(-1).float().numpy()


def divergence(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the rows."""
    return float((np.exp(wanted.astype(np.float64)) * (wanted - found)).sum(-1).mean())


def test_float32_agrees_to_rounding(checkpoint: Any, peer: Any, expected: np.ndarray, driver: Any) -> None:
    ours = driver(TorchExecutor(checkpoint, num_slots=256))
    [found] = ours.logprobs([(ours.new(), IDS)])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert divergence(found, expected) < 1e-7
    prompts = [IDS[:30], IDS[40:47]]
    for prompt, tokens in zip(prompts, ours.greedy(prompts, 8), strict=True):
        wanted = peer.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None)
        assert tokens == wanted[0, len(prompt) :].tolist()


@pytest.mark.parametrize(("dtype", "kv_dtype", "limit"), [("float32", "int8", 8e-3), ("bfloat16", "auto", 2e-2)])
def test_smaller_types_stay_close(
    checkpoint: Any, expected: np.ndarray, driver: Any, dtype: str, kv_dtype: str, limit: float
) -> None:
    ours = driver(TorchExecutor(checkpoint, num_slots=256, dtype=dtype, kv_dtype=kv_dtype))
    [found] = ours.logprobs([(ours.new(), IDS)])
    assert 1e-9 < divergence(found, expected) < limit
