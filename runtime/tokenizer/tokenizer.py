"""Text to ids and back, on the `tokenizers` library; neither torch nor transformers is imported.

Encoding is the library's. Decoding is ours, from the bytes of each token: constraints and streaming need those too, so
one table serves all three, and text streamed equals text decoded at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import RequestError
from .detokenizer import ByteDetokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

_SHORT = 512
"""Characters below which a text is encoded with the GIL held: only the batch call releases it, for a little more."""
_EXACT_DECODERS = frozenset(["ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"])
"""Decoders of vocabularies that spell every text; WordPiece's, for one, does not."""
_READ_DECODERS = _EXACT_DECODERS | {"WordPiece"}
"""Those whose texts we write."""
_CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""What WordPiece's decoder takes the space from, token by token. Source: tokenizers, decoders/wordpiece.rs."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's spelling of bytes, as a table for str.translate to latin-1. Source: openai/gpt-2, encoder.py."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{256 + i: chr(byte) for i, byte in enumerate(others)}}


_BYTE_ALPHABET = _byte_alphabet()
_SPELLED = frozenset(map(chr, _BYTE_ALPHABET))


class Specials(NamedTuple):
    """What a checkpoint says about its special tokens."""

    bos_token_id: int | None
    adds_bos: bool
    eos_token_ids: frozenset[int]
    chat_template: str | None
    tool_template: str | None = None
    """The chat template for requests with tools, where the checkpoint has another one for them."""


class _Spelling(NamedTuple):
    """How the library's decoder makes bytes of tokens."""

    added: dict[int, str]
    """Added tokens, which are written as they are."""
    is_byte_level: bool
    falls_back_to_bytes: bool
    space: str
    """The character that stands for a space; empty where there is none."""
    strips_first_space: bool
    is_spaced: bool = False
    """Tokens are words: each has a space before it, but for those that go on with a word (WordPiece)."""
    continues: str = ""
    """What those begin with; empty where there are none."""
    is_cleaned: bool = False


class TextTokenizer:
    """See `Tokenizer`. The library's object is made when it is first needed: an engine process rarely does."""

    def __init__(self, load: Callable[[], Library], *, specials: Specials, vocab_size: int, digest: str) -> None:
        """`load`: called once; what it gives must not be changed afterwards. What it raises, its first user sees."""
        self.vocab_size = vocab_size
        self.eos_token_ids = specials.eos_token_ids
        self.bos_token_id = specials.bos_token_id
        self.adds_bos = specials.adds_bos and specials.bos_token_id is not None
        self.chat_template = specials.chat_template
        self.tool_template = specials.tool_template
        self.digest = digest
        self._load = load
        self._lock = RLock()
        self._loaded: Library | None = None
        self._bytes: list[bytes | None] = [None] * vocab_size
        self._shown_bytes: dict[int, bytes] = {}
        self._continuation: Library | None = None

    @property
    def _library(self) -> Library:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    @cached_property
    def special_token_ids(self) -> frozenset[int]:
        added = self._library.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @property
    def foreign_decoder(self) -> str | None:
        """The part of the library's decoder whose texts we do not write; None: there is none."""
        kinds = (str(part["type"]) for part in _parts(self._library.decoder, "decoders"))
        return next((kind for kind in kinds if kind not in _READ_DECODERS), None)

    @cached_property
    def is_byte_exact(self) -> bool:
        """Whether tokens are pieces of text that spell every text: what constraints are built on."""
        decoder = _parts(self._library.decoder, "decoders")
        return bool(decoder) and all(part["type"] in _EXACT_DECODERS for part in decoder)

    @cached_property
    def _spelling(self) -> _Spelling:
        library = self._library
        decoder = _parts(library.decoder, "decoders")
        word_piece = next((part for part in decoder if part["type"] == "WordPiece"), {})
        is_spaced = not decoder or bool(word_piece)  # without a decoder the library writes a space between tokens
        return _Spelling(
            added={token_id: token.content for token_id, token in library.get_added_tokens_decoder().items()},
            is_byte_level=any(part["type"] == "ByteLevel" for part in decoder),
            falls_back_to_bytes=any(part["type"] == "ByteFallback" for part in decoder),
            space=_word_space(decoder),
            strips_first_space=is_spaced
            or any(
                (part["type"] == "Strip" and part.get("start"))
                or (part["type"] == "Metaspace" and part.get("prepend_scheme") != "never")
                for part in decoder
            ),
            is_spaced=is_spaced,
            continues=str(word_piece.get("prefix", "")),
            is_cleaned=bool(word_piece.get("cleanup")),
        )

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        return self._with_bos(self._ids(self._library, text), add_bos)

    def encode_continuation(self, text: str) -> list[int]:
        return self._ids(self._without_prefix(), text)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """A whole text: the space that SentencePiece puts before the first word is taken off again."""
        raw = self._shown(token_ids) if skip_special_tokens else self._all(token_ids)
        text = raw.decode("utf-8", "replace")
        return text[1:] if self._spelling.strips_first_space and text.startswith(" ") else text

    def detokenizer(self, *, skip_special_tokens: bool = True) -> ByteDetokenizer:
        """For ids that follow others (a prompt): SentencePiece's first space is part of the text."""
        return ByteDetokenizer(self._shown if skip_special_tokens else self._all)

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.vocab_size:
            return b""
        found = self._bytes[token_id]
        if found is None:
            found = self._bytes[token_id] = self._bytes_of(token_id)
        return found

    def token_text(self, token_id: int) -> str:
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def token_id(self, token: str) -> int | None:
        """The id of a token by its exact spelling in the vocabulary."""
        found: int | None = self._library.token_to_id(token)
        return found

    def _with_bos(self, ids: list[int], add_bos: bool) -> list[int]:
        if add_bos and self.adds_bos:
            assert self.bos_token_id is not None
            return [self.bos_token_id, *ids]
        return ids

    @staticmethod
    def _ids(library: Library, text: str) -> list[int]:
        try:
            if len(text) < _SHORT:
                ids: list[int] = library.encode(text, add_special_tokens=False).ids
            else:
                ids = library.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except TypeError:
            _refuse_lone_surrogates(text)
            raise
        return ids

    def _all(self, token_ids: Sequence[int]) -> bytes:
        return b"".join(map(self.token_bytes, token_ids))

    def _shown(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of all but special tokens."""
        known = self._shown_bytes
        try:
            return b"".join([known[token_id] for token_id in token_ids])
        except KeyError:
            for token_id in token_ids:
                known[token_id] = b"" if token_id in self.special_token_ids else self.token_bytes(token_id)
            return b"".join([known[token_id] for token_id in token_ids])

    def _bytes_of(self, token_id: int) -> bytes:
        spelling = self._spelling
        token: str | None = self._library.id_to_token(token_id)
        if token is None:
            return b""
        if spelling.is_spaced:
            return _word(token, spelling).encode()
        if token_id in spelling.added:
            return spelling.added[token_id].encode()
        if spelling.is_byte_level:
            spelled = _SPELLED.issuperset(token)
            return token.translate(_BYTE_ALPHABET).encode("latin-1") if spelled else token.encode()
        if spelling.falls_back_to_bytes:
            match = _BYTE_TOKEN.fullmatch(token)
            if match is not None:
                return bytes([int(match[1], 16)])
        return token.replace(spelling.space, " ").encode() if spelling.space else token.encode()

    def _without_prefix(self) -> Library:
        """The library object that puts no space before a text: the same one where it never does."""
        if self._continuation is None:
            with self._lock:
                if self._continuation is None:
                    self._continuation = _prefixless(self._library)
        return self._continuation


def _parts(component: Any, key: str) -> list[dict[str, Any]]:
    """A component of the library as its JSON, a Sequence as its parts."""
    if component is None:
        return []
    state = json.loads(component.__getstate__())
    parts: list[dict[str, Any]] = state[key] if state.get("type") == "Sequence" else [state]
    return parts


def _word(token: str, spelling: _Spelling) -> str:
    """A token of a vocabulary of words, with the space before it."""
    if spelling.continues and token.startswith(spelling.continues):
        return token[len(spelling.continues) :]
    word = f" {token}"
    for spaced, plain in _CLEANED if spelling.is_cleaned else ():
        word = word.replace(spaced, plain)
    return word


def _word_space(decoder: list[dict[str, Any]]) -> str:
    """The character that stands for a space; empty where there is none."""
    for part in decoder:
        if part["type"] == "Metaspace":
            return str(part["replacement"])
        if part["type"] == "Replace" and part.get("content") == " ":
            return str(part["pattern"].get("String", ""))
    return ""


def _prefixless(library: Library) -> Library:
    normalizer = _parts(library.normalizer, "normalizers")
    splitter = _parts(library.pre_tokenizer, "pretokenizers")
    prepends = any(part["type"] == "Prepend" for part in normalizer)
    spaces = any(
        (part["type"] == "Metaspace" and part.get("prepend_scheme") != "never")
        or (part["type"] == "ByteLevel" and part.get("add_prefix_space"))
        for part in splitter
    )
    if not prepends and not spaces:
        return library
    whole = json.loads(library.to_str())
    if prepends:
        kept = [part for part in normalizer if part["type"] != "Prepend"]
        whole["normalizer"] = {"type": "Sequence", "normalizers": kept}
    for part in splitter:
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    if splitter:
        whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splitter}
    return type(library).from_str(json.dumps(whole))


def _refuse_lone_surrogates(text: str) -> None:
    """The library calls such a text no text at all."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError("the text holds half of a surrogate pair; send valid Unicode") from None
