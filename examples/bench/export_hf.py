"""Writes the default model as a Hugging Face directory (float16), for peers that read nothing else.

python examples/bench/export_hf.py OUT_DIR
"""

import argparse
import json
from pathlib import Path

import numpy as np
from command import run_main
from safetensors.numpy import save_file

from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.tokenizer.gguf_vocabulary import tokenizer_json
from radixlang.runtime.tokenizer.open import open_tokenizer
from radixlang.runtime.weights.open import open_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT_DIR", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint(resolve_model("smollm2-135m-instruct"))
    tokenizer = open_tokenizer(checkpoint)
    model = checkpoint.config
    tensors = {name: checkpoint.dense(name).astype(np.float16) for name in checkpoint.names()}
    if model.tie_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float16",
        "vocab_size": model.vocab_size, "hidden_size": model.hidden_size, "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads, "head_dim": model.head_dim, "rms_norm_eps": model.norm_eps,
        "max_position_embeddings": model.max_context, "rope_theta": model.rope.theta,
        "tie_word_embeddings": model.tie_embeddings, "bos_token_id": model.bos_token_id,
        "eos_token_id": sorted(tokenizer.eos_token_ids)[0],
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1))
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"]}))
    (out / "tokenizer.json").write_text(tokenizer_json(checkpoint))
    (out / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "chat_template": tokenizer.chat_template,
                "bos_token": tokenizer.token_text(model.bos_token_id or 0),
                "eos_token": tokenizer.token_text(config["eos_token_id"]),
                "model_max_length": model.max_context,
            }
        )
    )
    print(out)


if __name__ == "__main__":
    run_main(main)
