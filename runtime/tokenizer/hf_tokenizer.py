"""The tokenizer of a Hugging Face directory: tokenizer.json and what tokenizer_config.json says of special tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Library

from ...errors import BadCheckpoint, ModelNotFound, UnsupportedModel
from ..weights.json_files import read_json_if_there
from ..weights.pages import unreadable
from .tokenizer import Specials, TextTokenizer

MAX_BYTES = 1 << 26
"""Of tokenizer.json: twice the largest known one."""
MAX_TEMPLATE_BYTES = 1 << 20
CHAT_TEMPLATE_FILE = "chat_template.jinja"
_TOOL_TEMPLATE = "tool_use"
"""Of several templates, the one for requests with tools. Source: transformers, apply_chat_template."""


def tokenizer_from_directory(path: Path, vocab_size: int | None = None) -> TextTokenizer:
    """`path`: the directory or the tokenizer.json in it; `vocab_size`: rows of the embedding, where they are known.

    Raises ModelNotFound without a tokenizer.json, BadCheckpoint for one that is damaged, too large or too deep, or that
    has ids beyond the embedding, UnsupportedModel for a decoder that is not known.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    folder = file.parent
    if not file.is_file():
        raise ModelNotFound(
            f"{folder} has no tokenizer.json; give one with --tokenizer-path, or make it once with transformers: "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
            param="tokenizer_path",
        )
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadCheckpoint(f"{file}: larger than {MAX_BYTES} bytes; not a tokenizer")
        raw = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from None
    library = library_from_json(raw, file)
    if vocab_size is None:
        vocab_size = _declared_vocab(folder)
    ids = library.get_vocab(with_added_tokens=True).values()
    highest = max(ids, default=-1)
    if not ids or (vocab_size is not None and highest >= vocab_size):
        raise BadCheckpoint(
            f"{file}: has token ids up to {highest}, the model {vocab_size} embeddings; give this model's own tokenizer"
        )
    config = read_json_if_there(folder / "tokenizer_config.json") or {}
    tokenizer = TextTokenizer(
        lambda: library,
        specials=_specials(library, config, folder),
        vocab_size=highest + 1,
        digest=hashlib.blake2b(raw, digest_size=16).hexdigest(),
    )
    if tokenizer.foreign_decoder is not None:
        raise UnsupportedModel(
            f"{file}: the decoder {tokenizer.foreign_decoder!r} is not known, so no text could be written; byte-level, "
            "SentencePiece's and WordPiece's are. Give another tokenizer.json of these ids with --tokenizer-path",
            param="tokenizer_path",
        )
    return tokenizer


def library_from_json(raw: bytes, where: object) -> Library:
    """The library's object, without truncation and padding; its parser refuses deep nesting. Raises BadCheckpoint."""
    try:
        library = Library.from_buffer(raw)
    except Exception as error:  # the library raises plain Exception
        raise BadCheckpoint(f"{where}: not a tokenizer ({str(error)[:200]}); download the model again") from None
    library.no_truncation()
    library.no_padding()
    return library


def _declared_vocab(folder: Path) -> int | None:
    """What the config.json beside the tokenizer says, if there is one that can be read."""
    config = read_json_if_there(folder / "config.json") or {}
    text = config.get("text_config")
    found = text.get("vocab_size") if isinstance(text, Mapping) and "vocab_size" in text else config.get("vocab_size")
    return found if type(found) is int else None


def _specials(library: Library, config: Mapping[str, Any], folder: Path) -> Specials:
    def id_of(key: str) -> int | None:
        token = config.get(key)
        content = token.get("content") if isinstance(token, Mapping) else token
        found: int | None = library.token_to_id(content) if isinstance(content, str) else None
        return found

    bos, eos = id_of("bos_token"), id_of("eos_token")
    first = library.encode("", add_special_tokens=True).ids[:1]  # what the post-processor puts before a text
    says = config.get("add_bos_token")
    templates = _chat_templates(config, folder)
    adds = bos is not None and (first == [bos] or (says is True and not first))
    return Specials(
        bos_token_id=bos,
        adds_bos=adds,
        eos_token_ids=frozenset(() if eos is None else (eos,)) | _generation_eos(folder, library),
        chat_template=templates.get("default") or next(iter(templates.values()), None),
        tool_template=templates.get(_TOOL_TEMPLATE) if len(templates) > 1 else None,
    )


def _generation_eos(folder: Path, library: Library) -> frozenset[int]:
    """The stop tokens of generation_config.json."""
    found = (read_json_if_there(folder / "generation_config.json") or {}).get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    return (
        frozenset(x for x in ids if type(x) is int and 0 <= x < 1 << 32 and library.id_to_token(x) is not None)
        if found is not None
        else frozenset()
    )


def _chat_templates(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """By name: chat_template.jinja or chat_template.json ("default"), additional_chat_templates/NAME.jinja, and what
    tokenizer_config.json has besides: one template, or a list of named ones."""
    found: dict[str, str] = {}
    more = sorted((folder / "additional_chat_templates").glob("*.jinja"))[:16]
    for name, file in [("default", folder / CHAT_TEMPLATE_FILE), *((file.stem, file) for file in more)]:
        try:
            if file.is_file() and file.stat().st_size <= MAX_TEMPLATE_BYTES:
                found[name] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise unreadable(file, error) from None
    of_processor = read_json_if_there(folder / "chat_template.json") or {}
    for given in (of_processor.get("chat_template"), config.get("chat_template")):
        entries = given if isinstance(given, list) else [{"name": "default", "template": given}]
        for entry in entries:
            template = entry.get("template") if isinstance(entry, Mapping) else None
            if isinstance(template, str):
                found.setdefault(str(entry.get("name")), template)
    return found
