"""The native step on GGUF files of every family beside transformers. Files as llama.cpp's converter writes them, with
the gguf package's names. Source of what is rearranged: convert_hf_to_gguf.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

from radixlang.errors import NativeUnavailable
from radixlang.kernels.cpu.load import load
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.weights.gguf import GgufCheckpoint

PROMPT = np.random.default_rng(3).integers(3, 131, size=40).tolist()
CONTEXT, ORIGINAL, HEAD = 128, 32, 16
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": ORIGINAL}
LLAMA3 = {**ROPE, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {**ROPE, "rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0 + i for i in range(8)]}
MULTIPLIERS = {
    "attention_multiplier": 0.3, "embedding_multiplier": 5.0, "residual_multiplier": 0.4, "logits_scaling": 3.0,
}  # fmt: skip
GEMMA = {"tie_word_embeddings": True, "query_pre_attn_scalar": HEAD, "sliding_window": 9}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("llama", "Mistral", {"sliding_window": 9}),
    "granite": ("granite", "Granite", MULTIPLIERS),
    "smollm3": ("smollm3", "SmolLM3", {"use_sliding_window": False}),
    "olmo2": ("olmo2", "Olmo2", {}),
    "phi3": ("phi3", "Phi3", {"sliding_window": 9}),
    "phi3-longrope": ("phi3", "Phi3", {"original_max_position_embeddings": ORIGINAL, "rope_parameters": LONG}),
    "qwen2": ("qwen2", "Qwen2", {}),
    "qwen3": ("qwen3", "Qwen3", {}),
    "gemma": ("gemma", "Gemma", {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", "Gemma2", {**GEMMA, "attn_logit_softcapping": 0.4, "final_logit_softcapping": 2.0}),
    "gemma3": ("gemma3", "Gemma3Text", {**GEMMA, "num_hidden_layers": 7}),
}
"""Architecture of the file, class of transformers, and what its config has besides."""
PERMUTED = ("llama", "granite", "smollm3")


def model_of(architecture: str, fields: dict[str, Any]) -> Any:
    """Tiny; weights and norms random, so that what is left out shows."""
    common = {
        "vocab_size": 131, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": HEAD, "max_position_embeddings": CONTEXT, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(1)
    config = getattr(transformers, f"{architecture}Config")(**{**common, **fields})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(parameter + noise * 0.3 if parameter.dim() == 1 else noise * 0.15)
    return model


def llama3_factors(rope: dict[str, Any]) -> np.ndarray:
    """What each frequency is divided by."""
    waves = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, HEAD, 2) / HEAD)
    low, high = (ORIGINAL / rope[f"{end}_freq_factor"] for end in ("low", "high"))
    share = (ORIGINAL / waves - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    between = 1 / ((1 - share) / rope["factor"] + share)
    return np.where(waves < high, 1.0, np.where(waves > low, rope["factor"], between)).astype(np.float32)


def write(path: Path, kind: str, name: str, model: Any) -> None:
    config = model.config
    heads, kv_heads, layers = config.num_attention_heads, config.num_key_value_heads, config.num_hidden_layers
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    if getattr(config, "sliding_window", None) and name != "phi3-longrope":
        writer.add_sliding_window(config.sliding_window)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if kind == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope))
    if rope["rope_type"] == "longrope":
        writer.add_rope_scaling_orig_ctx_len(ORIGINAL)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(CONTEXT / ORIGINAL) / math.log(ORIGINAL)))
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[kind], layers)
    for tensor, parameter in model.state_dict().items():
        if tensor == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = parameter.numpy()
        if kind in PERMUTED and tensor.endswith(("q_proj.weight", "k_proj.weight")):
            halves = values.reshape(heads if "q_proj" in tensor else kv_heads, 2, HEAD // 2, -1)
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if kind.startswith("gemma") and "norm" in tensor:
            values = values + 1
        written = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        assert written is not None, tensor
        writer.add_tensor(written, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_this_family_says_what_transformers_says(name: str, tmp_path: Path, driver: Any) -> None:
    try:
        load()
    except NativeUnavailable as error:
        pytest.skip(f"no native step here: {error}")
    kind, architecture, fields = FAMILIES[name]
    model = model_of(architecture, fields)
    write(tmp_path / "model.gguf", kind, name, model)
    checkpoint = GgufCheckpoint(tmp_path / "model.gguf")
    native = NativeExecutor(checkpoint, EngineConfig(num_threads=1, weight_cache=False, kv_cache_dtype="float32"), 256)
    ours = driver(native)
    [found] = ours.logprobs([(ours.new(), PROMPT)])
    native.close()
    with torch.no_grad():
        wanted = model(torch.tensor([PROMPT]), use_cache=False).logits[0].double().log_softmax(-1).float().numpy()
    assert np.ptp(wanted) > 1.0  # the model has opinions; else the comparison could not fail
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
