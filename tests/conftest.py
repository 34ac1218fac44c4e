"""Shared by all tests: a cache folder of their own, and a tiny random model with a byte-level tokenizer."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, by whatever imports it first

# A slow or busy machine is no failure: examples are counted, never timed.
settings.register_profile("radixlang", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("radixlang")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = [
    tuple(merge.split())
    for merge in (
        "Ġ t / h e / Ġ a / i n / Ġt he / r e / o n / e r / Ġ s / a t / Ġ w / o r / e n / Ġ c / i t / i s / a n / "
        "Ġ o / e s / n d / l l / Ġa nd / in g / Ġ p / a l / Ġ f / Ġ b / o u / Ġ m / a r / Ġ in / e d / Ġo f / "
        "Ġt o / i on / Ġ d / l e / s t / r o / Ġ h / Ġ is / c t / en t / Ġ n / v e / i c / Ġ e / a s / Ġ re / "
        "ĠĠ ĠĠ / Ġ Ġ / ' s / Ċ Ċ / t r / u e / Ġ I / " + '" : / " , / Ġ " / { " / " }'
    ).split(" / ")
]
TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """What is derived goes to a folder of this run; models and compilations of before are found where they are."""
    from radixlang.kernels.cpu.load import native_folder
    from radixlang.runtime.store.paths import models_dir

    before = {name: os.environ.get(name) for name in ("RADIXLANG_CACHE", "RADIXLANG_MODELS", "RADIXLANG_NATIVE")}
    os.environ["RADIXLANG_MODELS"] = str(models_dir())
    os.environ["RADIXLANG_NATIVE"] = str(native_folder())  # compiled once, not once a run
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RADIXLANG_CACHE"] = str(folder)
    yield folder
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def byte_alphabet():
    """GPT-2's character for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    spelled = {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}
    return [spelled[byte] for byte in range(256)]


def tiny_tokenizer_json():
    """Three special tokens, 256 bytes and 61 merges: 320 ids."""
    merges = sorted(MERGES, key=lambda pair: ("ĠĠ" in pair[0], 0))  # a merge comes after those that make its parts
    tokens = [*SPECIALS, *byte_alphabet(), *("".join(pair) for pair in merges)]
    assert len(set(tokens)) == 320
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    added = [
        {"id": i, "content": token, "special": True, **dict.fromkeys(flags, False)} for i, token in enumerate(SPECIALS)
    ]
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges,
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": plain, "post_processor": None, "decoder": plain, "model": model,
    }  # fmt: skip


def tiny_tensors(config, seed=0):
    """Random weights by Hugging Face's names, norms included, so that a wrong norm or scale shows."""
    random = np.random.default_rng(seed)
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, value = config["num_attention_heads"] * head, config["num_key_value_heads"] * head

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns)) * columns**-0.5).astype(np.float32)

    def norm():
        return (1 + 0.2 * random.standard_normal(hidden)).astype(np.float32)

    tensors = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden) * 4, "model.norm.weight": norm()}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = matrix(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        tensors |= {
            f"{prefix}input_layernorm.weight": norm(),
            f"{prefix}post_attention_layernorm.weight": norm(),
            f"{prefix}self_attn.q_proj.weight": matrix(query, hidden),
            f"{prefix}self_attn.k_proj.weight": matrix(value, hidden),
            f"{prefix}self_attn.v_proj.weight": matrix(value, hidden),
            f"{prefix}self_attn.o_proj.weight": matrix(hidden, query),
            f"{prefix}mlp.gate_proj.weight": matrix(inner, hidden),
            f"{prefix}mlp.up_proj.weight": matrix(inner, hidden),
            f"{prefix}mlp.down_proj.weight": matrix(hidden, inner),
        }
    return tensors


def write_tiny_model(folder, *, seed=0, **changes):
    """A Hugging Face directory of a random Llama; `changes`: of its config.json."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {**TINY_CONFIG, **changes}
    save_file(tiny_tensors(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "bos_token_id": 0}))
    (folder / "tokenizer.json").write_text(json.dumps(tiny_tokenizer_json(), ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"bos_token": SPECIALS[0], "eos_token": SPECIALS[2], "add_bos_token": False, "chat_template": CHATML}
        )
    )
    return folder


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
EVERY_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


def write_adapter(folder, model, *, rank=4, alpha=8.0, targets=EVERY_LINEAR, seed=0, size=0.3, **changes):
    """A peft folder of a random LoRA for the Hugging Face directory `model`; `changes`: of adapter_config.json."""
    from safetensors.numpy import load_file, save_file

    random = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": list(targets), "bias": "none"}
    config |= changes
    tensors = {}
    weights = load_file(Path(model) / "model.safetensors")
    shapes = {"lm_head": weights["model.embed_tokens.weight"].shape}
    shapes |= {name.removesuffix(".weight"): matrix.shape for name, matrix in weights.items() if matrix.ndim == 2}
    for module, (rows, columns) in shapes.items():
        name = module.rpartition(".")[2]
        if name not in targets:
            continue
        own = config.get("rank_pattern", {}).get(name, rank)
        for half, shape in (("A", (own, columns)), ("B", (rows, own))):
            matrix = random.standard_normal(shape) * size * (columns**-0.5 if half == "A" else 1.0)
            tensors[f"base_model.model.{module}.lora_{half}.weight"] = matrix.astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_merged(folder, model, adapter):
    """The Hugging Face directory `model` with W + scale · B A in the place of W, untied where the head is adapted."""
    from safetensors.numpy import load_file, save_file

    folder, model, adapter = Path(folder), Path(model), Path(adapter)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((adapter / "adapter_config.json").read_text())
    weights, halves = load_file(model / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    own = json.loads((model / "config.json").read_text())
    for key in [key for key in halves if ".lora_A." in key]:
        module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        name, down = module.rpartition(".")[2], halves[key].astype(np.float64)
        up = halves[key.replace(".lora_A.", ".lora_B.")].astype(np.float64)
        alpha = config.get("alpha_pattern", {}).get(name, config["lora_alpha"])
        scale = alpha / (len(down) ** 0.5 if config.get("use_rslora") else len(down))
        if module == "lm_head" and "lm_head.weight" not in weights:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
            own["tie_word_embeddings"] = False
        weights[f"{module}.weight"] = (weights[f"{module}.weight"] + scale * up @ down).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(own))
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        if (model / name).is_file():
            (folder / name).write_bytes((model / name).read_bytes())
    return folder


def gguf_bytes(metadata, tensors, *, magic=b"GGUF", version=3, num_tensors=None, num_keys=None, alignment=32):
    """A GGUF file. metadata: {key: value or (type id, bytes)}; tensors: {name: (ggml type, shape rows first, bytes)}.

    Counts may lie; an entry's offset may be given as a fourth item.
    """

    def string(text):
        raw = text.encode()
        return struct.pack("<Q", len(raw)) + raw

    def value(found):
        if isinstance(found, tuple):
            return struct.pack("<I", found[0]) + found[1]
        if isinstance(found, bool):
            return struct.pack("<IB", 7, found)
        if isinstance(found, int):
            return struct.pack("<II", 4, found)
        if isinstance(found, float):
            return struct.pack("<If", 6, found)
        if isinstance(found, str):
            return struct.pack("<I", 8) + string(found)
        kind = 8 if isinstance(found[0], str) else 6 if isinstance(found[0], float) else 5
        packed = b"".join(string(x) if kind == 8 else struct.pack("<f" if kind == 6 else "<i", x) for x in found)
        return struct.pack("<IIQ", 9, kind, len(found)) + packed

    head = [
        magic,
        struct.pack("<IQQ", version, len(tensors) if num_tensors is None else num_tensors,
                    len(metadata) if num_keys is None else num_keys),
        *(string(key) + value(found) for key, found in metadata.items()),
    ]  # fmt: skip
    data = b""
    for name, (kind, shape, raw, *offset) in tensors.items():
        head.append(string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1]))
        head.append(struct.pack("<IQ", kind, offset[0] if offset else len(data)))
        data += raw + b"\0" * (-len(raw) % alignment)
    whole = b"".join(head)
    return whole + b"\0" * (-len(whole) % alignment) + data


def tiny_gguf_parts(config=None, seed=0):
    """(metadata, tensors) of the tiny model as llama.cpp's converter lays them out, in float32; for `gguf_bytes`."""
    config = {**TINY_CONFIG, **(config or {})}
    heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "o_proj": "attn_output"}
    tensors = {}
    for name, array in tiny_tensors(config, seed).items():
        parts = name.split(".")
        if parts[1] == "layers":
            part = parts[-2]
            if part in ("q_proj", "k_proj"):  # neighbours turn together in llama.cpp
                count = heads[part[0]]
                array = array.reshape(count, 2, array.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(array.shape)
            fallback = (
                f"attn_{part[0]}" if part.endswith("_proj") and "self_attn" in parts else f"ffn_{part.split('_')[0]}"
            )
            out = f"blk.{parts[2]}.{names.get(part, fallback)}.weight"
        else:
            out = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[
                name[:-7]
            ] + ".weight"
        tensors[out] = (0, array.shape, np.ascontiguousarray(array).tobytes())
    tokenizer = tiny_tokenizer_json()
    tokens = list(tokenizer["model"]["vocab"])
    metadata = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.block_count": config["num_hidden_layers"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(config["rms_norm_eps"])),
        "llama.rope.freq_base": config["rope_theta"],
        "llama.rope.dimension_count": config["head_dim"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * (len(tokens) - len(SPECIALS)),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }
    return metadata, tensors


@pytest.fixture(scope="session")
def make_gguf_bytes():
    """`gguf_bytes`."""
    return gguf_bytes


@pytest.fixture
def gguf_parts():
    """`tiny_gguf_parts()`, fresh: to be changed at will."""
    return tiny_gguf_parts()


@pytest.fixture(scope="session")
def make_gguf_parts():
    """`tiny_gguf_parts`, for variants of one's own."""
    return tiny_gguf_parts


@pytest.fixture(scope="session")
def tiny_gguf_path(tmp_path_factory):
    """The model of `tiny_model_dir` as a GGUF file in float32."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    path.write_bytes(gguf_bytes(*tiny_gguf_parts()))
    return path


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory):
    """A random Llama: 2 layers, hidden 64, 4 heads on 2 KV heads, 320 tokens, ChatML. Not to be changed."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture(scope="session")
def make_tiny_model():
    """`write_tiny_model`, for variants of one's own."""
    return write_tiny_model


@pytest.fixture(scope="session")
def make_adapter():
    """`write_adapter`."""
    return write_adapter


@pytest.fixture(scope="session")
def make_merged():
    """`write_merged`."""
    return write_merged


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model_dir):
    """The byte-level tokenizer of `tiny_model_dir`, opened."""
    from radixlang.runtime.tokenizer.open import open_tokenizer

    return open_tokenizer(tiny_model_dir)


@pytest.fixture(scope="session")
def default_model_path(cache_of_the_tests):
    """The GGUF of the default model; tests of it are skipped where it was never fetched."""
    from radixlang.runtime.store.known import DEFAULT_MODEL, KNOWN_MODELS
    from radixlang.runtime.store.paths import models_dir

    path = models_dir() / DEFAULT_MODEL / KNOWN_MODELS[DEFAULT_MODEL].filename
    if not path.is_file():
        pytest.skip(f"{DEFAULT_MODEL} is not in the store")
    return path
