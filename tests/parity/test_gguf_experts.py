"""GGUF files of families with experts: what llama.cpp's converter makes of a model says what the model says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.errors import UnsupportedModel
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.checkpoint import Checkpoint
from radixlang.runtime.weights.gguf import GgufCheckpoint
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.rounded import RoundedCheckpoint

DECLARED = {"mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "olmoe": "olmoe"}
PROMPT = np.random.default_rng(8).integers(3, 90, size=24).tolist()
KINDS = {"F32": 0, "Q8_0": 8}
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp", "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip


def converted(model: Checkpoint, declared: str, experts: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and tensors for `make_gguf_bytes`. experts: "stacked", "fused" (gate and up) or "apart"."""
    config, tensors, stacks = model.config, {}, {}
    assert config.experts is not None
    for name in model.names():
        packed = model.packed(name)
        kind, shape, rows = KINDS[packed.format], packed.shape, packed.data
        stem, _, what = name.rpartition(".")
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
        if layer is None:
            tensors[f"{NAMES[stem]}.{what}"] = kind, shape, rows.tobytes()
            continue
        number, part = layer.groups()
        if (expert := re.fullmatch(r"mlp\.experts\.(\d+)\.(gate|up|down)_proj", part)) is not None:
            stacks.setdefault((number, expert[2]), {})[int(expert[1])] = kind, shape, rows.tobytes()
            continue
        if part in ("self_attn.q_proj", "self_attn.k_proj") and declared == "llama":
            heads = config.num_heads if part.endswith("q_proj") else config.num_kv_heads
            rows = rows.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2)
        shape = shape[1:] if part == "mlp.shared_expert_gate" else shape
        tensors[f"blk.{number}.{NAMES[part]}.{what}"] = kind, shape, rows.tobytes()
    for (number, part), found in stacks.items():
        kind, shape, _ = found[0]
        whole = [found[i][2] for i in range(len(found))]
        if experts == "apart":
            for i, raw in enumerate(whole):
                tensors[f"blk.{number}.ffn_{part}.{i}.weight"] = kind, shape, raw
        elif experts == "fused" and part != "down":
            if part == "gate":
                ups = stacks[number, "up"]
                both = b"".join(raw + ups[i][2] for i, raw in enumerate(whole))
                tensors[f"blk.{number}.ffn_gate_up_exps.weight"] = kind, (len(found), 2 * shape[0], shape[1]), both
        else:
            tensors[f"blk.{number}.ffn_{part}_exps.weight"] = kind, (len(found), *shape), b"".join(whole)
    values = {
        "block_count": config.num_layers, "context_length": config.max_context, "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads, "attention.layer_norm_rms_epsilon": config.norm_eps,
        "attention.key_length": config.head_dim, "attention.value_length": config.head_dim,
        "rope.freq_base": config.rope.theta, "expert_count": config.experts.count,
        "expert_used_count": config.experts.chosen,
    }  # fmt: skip
    if config.windows:
        values["attention.sliding_window"] = config.windows[0]
    metadata = {"general.architecture": declared, **{f"{declared}.{key}": value for key, value in values.items()}}
    return metadata, tensors


def logprobs(checkpoint: Checkpoint, driver: Any) -> np.ndarray:
    executor = TorchExecutor(checkpoint, num_slots=64)
    run = driver(executor)
    found = run.logprobs([(run.new(), PROMPT)])[0]
    executor.close()
    return np.asarray(found)


@pytest.mark.parametrize(
    ("family", "bits", "experts"),
    [
        ("mixtral", None, "stacked"),
        ("mixtral", None, "apart"),
        ("qwen2_moe", None, "stacked"),
        ("qwen2_moe", "w8", "stacked"),
        ("qwen3_moe", None, "fused"),
        ("olmoe", "w8", "stacked"),
    ],
)
def test_a_file_says_what_the_model_says(
    family: str, bits: Any, experts: str, make_family: Any, driver: Any, make_gguf_bytes: Any, tmp_path: Path
) -> None:
    model: Checkpoint = open_checkpoint(make_family(family).path)
    if bits is not None:
        model = RoundedCheckpoint(model, bits)
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(*converted(model, DECLARED[family], experts)))
    file = GgufCheckpoint(path)
    assert file.config.architecture == model.config.architecture
    assert file.config.experts == model.config.experts
    assert set(file.names()) == set(model.names())
    assert all(file.packed(name).shape == model.packed(name).shape for name in file.names())
    np.testing.assert_allclose(logprobs(file, driver), logprobs(model, driver), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"qwen3moe.expert_gating_func": 2}, "by softmax only"),
        ({"qwen3moe.expert_weights_scale": 2.5}, "scaled weights"),
        ({"general.architecture": "gemma2", "gemma2.expert_count": 4}, "experts of gemma2 are not supported"),
    ],
)
def test_routers_of_other_kinds_are_refused(
    changes: dict[str, Any], words: str, make_family: Any, make_gguf_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    metadata, tensors = converted(open_checkpoint(make_family("qwen3_moe").path), "qwen3moe", "stacked")
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(metadata | changes, tensors))
    with pytest.raises(UnsupportedModel, match=words):
        GgufCheckpoint(path)
