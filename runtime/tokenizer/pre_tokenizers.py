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

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_IDEOGRAPHS = r"[一-龥぀-ゟ゠-ヿ]+"
_PUNCTUATED = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    + _TAIL
)
_DEEPSEEK3 = (r"\p{N}{1,3}", _IDEOGRAPHS, _PUNCTUATED)
_NORDIC = r" ?[^(\s|.,!?…。，、।۔،)]+"
_BAILING = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_SEED_CODER = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
_EXAONE_MOE = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_MINICPM5 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL
_YOUTU = (
    r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL,
)

_LLAMA3_NAMES = (
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
)  # fmt: skip
_PATTERNS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_LLAMA3_NAMES, "dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "glm5"), (_LLAMA3,)),
    **dict.fromkeys(
        (
            "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2",
        ),
        (_QWEN2,),
    ),
    "qwen35": (_QWEN35,),
    "tekken": (_TEKKEN,),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), (_GPT4O,)),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), (r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK3),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
    "youtu": _YOUTU,
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"),
    **dict.fromkeys(("poro-chat", "bloom", "gpt3-finnish"), (_NORDIC,)),
    "viking": (_NORDIC, r"\p{N}"),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), (_BAILING,)),
    "seed-coder": (_SEED_CODER,),
    "ufakzeka": (_QWEN2.removeprefix(_CONTRACTIONS + "|"),),
    "laguna": (r"[^\n]+|[\n]+", _QWEN2),
    "exaone-moe": (_EXAONE_MOE,),
    "minicpm5": (r"\p{N}{1,3}", _MINICPM5),
}  # fmt: skip
"""Each splits what the one before it left."""
_PLAIN = frozenset({
    "default", "gpt-2", "phi-2", "olmo", "jais", "trillion", "mpt", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en",
    "jina-v2-es", "jina-v2-de", "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4",
    "granite-docling",
})  # fmt: skip
"""GPT-2's own pattern, which the library has built in. "default", which converters write where they know nothing, as
transformers reads it."""
_DIGITS_APART = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}
)
"""Every digit by itself first, then GPT-2's pattern within what is left."""
_BEGINS = frozenset({*_LLAMA3_NAMES, "tekken"})
"""Texts begin with BOS where the file does not say."""
_WHOLE_WORDS = _BEGINS | {"glm4", "glm5", "minicpm5", "youtu"}
"""A piece that is a token as it stands is not merged from parts."""
_COMPOSED = frozenset({"qwen2", "deepseek-r1-qwen", "qwen35", "kormo", "f2llmv2", "megrez"})
"""Text is brought to NFC first, as these models' tokenizer.json does."""


KNOWN = tuple(sorted(_PLAIN | _DIGITS_APART | set(_PATTERNS)))


def pre_tokenizer_json(name: str, where: object) -> dict[str, Any]:
    """The `pre_tokenizer` of a tokenizer.json. Raises UnsupportedModel for a name whose split is not known."""
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    gpt2 = {**bytes_only, "use_regex": True}
    if name in _PLAIN:
        return gpt2
    if name in _DIGITS_APART:
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, gpt2]}
    if name in _PATTERNS:
        splits = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in _PATTERNS[name]
        ]
        return {"type": "Sequence", "pretokenizers": [*splits, bytes_only]}
    raise UnsupportedModel(
        f"{where}: the pre-tokenizer {name[:60]!r} is not known (known: {', '.join(KNOWN)}); give the model's "
        "tokenizer.json with --tokenizer-path",
        param="tokenizer_path",
    )


def merges_are_skipped_for_whole_tokens(name: str) -> bool:
    return name in _WHOLE_WORDS


def begins_with_bos(name: str) -> bool:
    return name in _BEGINS


def normalizer_json(name: str) -> dict[str, Any] | None:
    return {"type": "NFC"} if name in _COMPOSED else None
