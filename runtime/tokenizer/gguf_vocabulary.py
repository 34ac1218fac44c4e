"""A tokenizer.json built from the vocabulary of a GGUF file, in the format of the `tokenizers` library.

Two kinds: "gpt2", byte-level BPE with the file's merges, and "llama", SentencePiece's BPE, whose merges follow from the
scores. Token types are llama.cpp's: control tokens become special, user-defined ones are matched whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import BadCheckpoint, UnsupportedModel
from ..weights.gguf import GgufCheckpoint
from .pre_tokenizers import merges_are_skipped_for_whole_tokens, normalizer_json, pre_tokenizer_json

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
_SPACE = "▁"
_MOST_CUT = 1 << 28
"""Characters of all ways to cut tokens in two: twenty times those of Gemma's vocabulary, some seconds."""


def tokenizer_json(checkpoint: GgufCheckpoint) -> str:
    """Raises UnsupportedModel for a kind or split that is not known, BadCheckpoint for a vocabulary that cannot be."""
    kind = _kind(checkpoint)
    tokens = checkpoint.strings("tokenizer.ggml.tokens")
    if not tokens:
        raise BadCheckpoint(f"{checkpoint.path}: has no vocabulary; give a tokenizer.json with --tokenizer-path")
    if len(tokens) > checkpoint.config.vocab_size:
        raise BadCheckpoint(
            f"{checkpoint.path}: {len(tokens)} tokens but {checkpoint.config.vocab_size} embeddings; "
            "convert the model again"
        )
    types = _numbers(checkpoint, "token_type", len(tokens)) or [1] * len(tokens)
    if kind == "gpt2":
        content = _byte_level(checkpoint, tokens, types)
    elif kind == "llama":
        content = _sentencepiece(checkpoint, tokens, types)
    else:
        raise UnsupportedModel(
            f"{checkpoint.path}: tokenizer kind {kind[:60]!r}; gpt2 and llama are read. "
            "Give a tokenizer.json with --tokenizer-path",
            param="tokenizer_path",
        )
    added = [
        {"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": types[index] == _CONTROL}
        for index, token in enumerate(tokens)
        if token and types[index] in (_CONTROL, _USER_DEFINED) and content["model"]["vocab"].get(token) == index
    ]  # fmt: skip
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "post_processor": None,
        **content,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _kind(checkpoint: GgufCheckpoint) -> str:
    """As the file names it; empty where it does not."""
    found = checkpoint.header.metadata.get("tokenizer.ggml.model")
    return found if isinstance(found, str) else ""


def _numbers(checkpoint: GgufCheckpoint, key: str, count: int) -> list[Any]:
    """A numeric array of the vocabulary, one entry a token; empty where the file has none."""
    found = checkpoint.header.metadata.get(f"tokenizer.ggml.{key}")
    if found is None:
        return []
    if not isinstance(found, memoryview) or len(found) != count:
        raise BadCheckpoint(
            f"{checkpoint.path}: tokenizer.ggml.{key} must have {count} numbers; convert the model again"
        )
    numbers: list[Any] = found.tolist()
    return numbers


def _byte_level(checkpoint: GgufCheckpoint, tokens: list[str], types: list[int]) -> dict[str, Any]:
    pre = checkpoint.header.metadata.get("tokenizer.ggml.pre", "default")
    name = pre if isinstance(pre, str) else "default"
    vocab = {token: index for index, token in enumerate(tokens) if types[index] != _UNUSED}
    merges = []
    for merge in checkpoint.strings("tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise BadCheckpoint(f"{checkpoint.path}: merge {merge[:60]!r} names no tokens; convert the model again")
        merges.append((left, right))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "normalizer": normalizer_json(name),
        "pre_tokenizer": pre_tokenizer_json(name, checkpoint.path),
        "decoder": byte_level,
        "model": _bpe(vocab, merges, ignore_merges=merges_are_skipped_for_whole_tokens(name)),
    }


def _sentencepiece(checkpoint: GgufCheckpoint, tokens: list[str], types: list[int]) -> dict[str, Any]:
    metadata = checkpoint.header.metadata
    is_gemma = checkpoint.config.architecture.startswith("gemma")
    if is_gemma:  # runs of spaces are stored as spaces
        tokens[:] = [_SPACE * len(token) if token and not token.strip(" ") else token for token in tokens]
    vocab = {token: index for index, token in enumerate(tokens) if types[index] != _UNUSED}
    given = checkpoint.strings("tokenizer.ggml.merges")
    if given:
        merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in given)]
    else:
        # Gemma's scores do not follow its merges; its ids do.
        ranks = range(0, -len(tokens), -1) if is_gemma else _numbers(checkpoint, "scores", len(tokens))
        if not len(ranks):
            raise BadCheckpoint(
                f"{checkpoint.path}: a vocabulary with neither merges nor scores; convert the model again"
            )
        merges = _merges_by_rank(checkpoint, tokens, types, vocab, ranks)
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", not is_gemma) is True
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepend = {"type": "Prepend", "prepend": _SPACE}
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    unknown_token = tokens[unknown] if isinstance(unknown, int) and 0 <= unknown < len(tokens) else None
    return {
        "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]} if prefix else replace,
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": _bpe(
            vocab,
            merges,
            unk_token=unknown_token if unknown_token in vocab else None,
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _merges_by_rank(
    checkpoint: GgufCheckpoint,
    tokens: Sequence[str],
    types: Sequence[int],
    vocab: dict[str, int],
    ranks: Sequence[float],
) -> list[tuple[str, str]]:
    """Every way to make a token of two others, the token of the highest rank first, then longer left parts.

    Raises BadCheckpoint where there are endlessly many.
    """
    lengths = {len(token) for token in tokens if token}

    def ways() -> Iterator[tuple[float, int, int, int, str, str]]:
        left_to_cut = _MOST_CUT
        for index, token in enumerate(tokens):
            if types[index] != 1 and types[index] != _USER_DEFINED:
                continue
            cuts = [cut for cut in lengths if len(token) - cut in lengths]
            left_to_cut -= len(token) * len(cuts)
            if left_to_cut < 0:
                raise BadCheckpoint(f"{checkpoint.path}: a vocabulary of overlong tokens; convert the model again")
            for cut in cuts:
                left, right = token[:cut], token[cut:]
                if left in vocab and right in vocab:
                    yield -ranks[index], -cut, cut - len(token), index, left, right

    return [(left, right) for *_, left, right in sorted(ways())]


def _bpe(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    *,
    unk_token: str | None = None,
    fuse_unk: bool = False,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": fuse_unk,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": _merges_json(merges),
    }


def _merges_json(merges: list[tuple[str, str]]) -> list[str] | list[tuple[str, str]]:
    """As lines of two words where no token has a space: the library reads them in two thirds of the time, and takes
    13 MiB less meanwhile. Source: tokenizers, models/bpe/serialization.rs."""
    lines = [f"{left} {right}" for left, right in merges]
    is_plain = all(line.count(" ") == 1 and not line.startswith("#version") for line in lines)
    return lines if is_plain else merges
