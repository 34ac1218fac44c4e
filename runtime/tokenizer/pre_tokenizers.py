"""How each byte-level vocabulary of a GGUF file splits text before merging, by `tokenizer.ggml.pre`.

A vocabulary's merges were learned inside such pieces; another split gives other tokens. Patterns: llama.cpp's
llama-vocab.cpp and the tokenizer.json of the models that the names stand for.
"""

from __future__ import annotations

from typing import Any

from ...errors import UnsupportedModel

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
_QWEN35 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _TAIL
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)

_LLAMA3_NAMES = (
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "dbrx",
    "smaug-bpe",
)  # fmt: skip
_PATTERNS: dict[str, str] = {
    **dict.fromkeys(_LLAMA3_NAMES, _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan"), _QWEN2),
    "qwen35": _QWEN35,
    "tekken": _TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), _GPT4O),
}
_PLAIN = frozenset({"default", "gpt-2", "phi-2", "olmo", "jais", "trillion", "mpt", "roberta-bpe"})
"""GPT-2's own pattern, which the library has built in."""
_DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
"""Every digit by itself first, then GPT-2's pattern within what is left."""
_WHOLE_WORDS = frozenset({*_LLAMA3_NAMES, "tekken"}) - {"dbrx", "smaug-bpe"}
"""Llama 3's kind: a piece that is a token as it stands is not merged from parts, and texts begin with BOS."""
_COMPOSED = frozenset({"qwen2", "deepseek-r1-qwen", "qwen35", "kormo", "f2llmv2", "megrez"})
"""Text is brought to NFC first, as these models' tokenizer.json does."""


def pre_tokenizer_json(name: str, where: object) -> dict[str, Any]:
    """The `pre_tokenizer` of a tokenizer.json. Raises UnsupportedModel for a name whose split is not known."""
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    gpt2 = {**bytes_only, "use_regex": True}
    if name in _PLAIN:
        return gpt2
    if name in _DIGITS_APART:
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, gpt2]}
    if name in _PATTERNS:
        split = {"type": "Split", "pattern": {"Regex": _PATTERNS[name]}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, bytes_only]}
    known = ", ".join(sorted(_PLAIN | _DIGITS_APART | set(_PATTERNS)))
    raise UnsupportedModel(
        f"{where}: the pre-tokenizer {name!r} is not known (known: {known}); give the model's tokenizer.json with "
        "--tokenizer-path",
        param="tokenizer_path",
    )


def merges_are_skipped_for_whole_tokens(name: str) -> bool:
    return name in _WHOLE_WORDS


def begins_with_bos(name: str) -> bool:
    return name in _WHOLE_WORDS


def normalizer_json(name: str) -> dict[str, Any] | None:
    return {"type": "NFC"} if name in _COMPOSED else None
