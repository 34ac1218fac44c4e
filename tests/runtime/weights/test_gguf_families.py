"""GGUF files of several families, as transformers' own loader reads them."""

import numpy as np
import pytest

from radixlang.runtime.weights.gguf import GgufCheckpoint

pytestmark = pytest.mark.slow  # transformers' import and its loader take seconds a family


def array(random, *shape):
    values = random.standard_normal(shape).astype(np.float32)
    return 0, shape, values.tobytes()


def family(metadata, tensors, name):
    """The tiny model's file as one of another family, with the tensors that family has more."""
    metadata = {
        key.replace("llama.", f"{name}.", 1) if key.startswith("llama.") else key: v for key, v in metadata.items()
    }
    metadata["general.architecture"] = name
    random = np.random.default_rng(5)
    for layer in range(2):
        if name in ("gemma2", "gemma3"):
            for norm in ("post_attention_norm", "post_ffw_norm"):
                tensors[f"blk.{layer}.{norm}.weight"] = array(random, 64)
        if name in ("gemma3", "qwen3"):
            for norm in ("attn_q_norm", "attn_k_norm"):
                tensors[f"blk.{layer}.{norm}.weight"] = array(random, 16)
        if name == "qwen2":
            for part, rows in (("q", 64), ("k", 32), ("v", 32)):
                tensors[f"blk.{layer}.attn_{part}.bias"] = array(random, rows)
    if name.startswith("gemma") or name == "qwen3":
        metadata |= {f"{name}.attention.key_length": 16, f"{name}.attention.value_length": 16}
    if name in ("gemma2", "gemma3"):
        metadata[f"{name}.attention.sliding_window"] = 32
    return metadata, tensors


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_every_tensor_is_what_transformers_loads(name, gguf_parts, make_gguf_bytes, tmp_path):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes(*family(*gguf_parts, name)))
    values = load_gguf_checkpoint(str(path))["config"]
    empty = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**values))
    theirs = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=empty)["tensors"]
    ours = GgufCheckpoint(path)
    for tensor in ours.names():
        wanted = theirs[tensor].numpy()
        np.testing.assert_allclose(ours.dense(tensor), wanted, rtol=1e-6, atol=1e-6, err_msg=tensor)
    assert {key for key in theirs if key != "lm_head.weight"} == set(ours.names())
