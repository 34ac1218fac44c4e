"""Opens the tokenizer of a model."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BadCheckpoint, ModelNotFound
from ..store.paths import cache_dir, write_atomically
from ..weights.checkpoint import Checkpoint
from ..weights.gguf import GgufCheckpoint
from ..weights.gguf_header import StringArray
from .pre_tokenizers import begins_with_bos
from .tokenizer import Specials, TextTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

logger = logging.getLogger(__name__)

BUILDER_VERSION = 2
"""Of gguf_vocabulary.py, part of the name of cached files: to be raised when what is built changes."""


def open_tokenizer(source: Path | str | Checkpoint, *, late: bool = False) -> TextTokenizer:
    """The tokenizer of an opened checkpoint, a GGUF file, a Hugging Face directory or a tokenizer.json.

    What is built from a GGUF's vocabulary is kept in the cache folder under the vocabulary's digest. late: it is built
    or read when the tokenizer is first used, which then raises what is wrong with it; keep the checkpoint open so long.
    """
    if isinstance(source, GgufCheckpoint):
        return _from_gguf(source, late=late)
    vocab_size = None if isinstance(source, Path | str) else source.config.vocab_size
    path = Path(source) if isinstance(source, Path | str) else source.path
    if path.is_dir() or path.suffix == ".json":
        from .hf_tokenizer import tokenizer_from_directory

        return tokenizer_from_directory(path, vocab_size)
    if not path.is_file():
        raise ModelNotFound(f"no tokenizer at {path}; give a GGUF file, a tokenizer.json or the directory of one")
    return _from_gguf(GgufCheckpoint(path), late=late)


def _from_gguf(checkpoint: GgufCheckpoint, *, late: bool) -> TextTokenizer:
    digest = checkpoint.tokenizer_digest()
    file = cache_dir() / "tokenizers" / f"{checkpoint.config.architecture}-{digest}.{BUILDER_VERSION}.json"
    metadata, config = checkpoint.header.metadata, checkpoint.config
    # What llama.cpp assumes of a file that does not say: SentencePiece and Llama 3's kind begin with BOS.
    kind = metadata.get("tokenizer.ggml.model")
    begins = (isinstance(kind, str) and kind == "llama") or begins_with_bos(str(metadata.get("tokenizer.ggml.pre")))
    template, for_tools = (metadata.get(f"tokenizer.chat_template{name}") for name in ("", ".tool_use"))
    specials = Specials(
        bos_token_id=config.bos_token_id,
        adds_bos=metadata.get("tokenizer.ggml.add_bos_token", begins) is True,
        eos_token_ids=frozenset(config.eos_token_ids),
        chat_template=template if isinstance(template, str) else None,
        tool_template=for_tools if isinstance(for_tools, str) else None,
    )
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, StringArray) or not tokens.length:
        raise BadCheckpoint(f"{checkpoint.path}: has no vocabulary; give a tokenizer.json with --tokenizer-path")
    load = partial(_cached, checkpoint, file)
    if not late:
        load = partial(lambda library: library, load())
    return TextTokenizer(load, specials=specials, vocab_size=tokens.length, digest=digest)


def _cached(checkpoint: GgufCheckpoint, path: Path) -> Library:
    from tokenizers import Tokenizer as Library

    try:
        if path.is_file():
            return Library.from_file(str(path))
    except Exception as error:  # the library raises plain Exception: a cut file is built again
        logger.warning("%s cannot be read (%s); building it again", path, error)
    from .gguf_vocabulary import tokenizer_json

    text = tokenizer_json(checkpoint)
    try:
        library = Library.from_str(text)
    except Exception as error:
        raise BadCheckpoint(
            f"{checkpoint.path}: the vocabulary makes no tokenizer ({error}); convert the model again"
        ) from None
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        logger.warning("the tokenizer cannot be kept in %s (%s); every start builds it again", path.parent, error)
    return library
