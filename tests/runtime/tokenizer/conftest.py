import pytest
from hypothesis import strategies as st

from radixlang.runtime.tokenizer.gguf_vocabulary import tokenizer_json
from radixlang.runtime.tokenizer.hf_tokenizer import library_from_json
from radixlang.runtime.tokenizer.open import open_tokenizer
from radixlang.runtime.weights.gguf import GgufCheckpoint

ODD_TEXTS = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t", "\r\n", "a", " a", "  a", "Hello, world!",
    "don't I'll we'RE", "x=1;y=22;z=333",
    "  12", "\n\n1. first\n2. second", "1234567890", "3.14159", "  - item\n    - nested\n",
    "def f(x):\n    return x**2\n",
    "żółw ñandú naïve Straße", "中文测试，你好。", "こんにちは世界", "한국어", "🙂👩‍👩‍👧‍👦🇵🇱", "e\u0301\u0301",
    "\u200b\ufeff", "a\u0000b", "\x7f\x80",
    "<|im_start|>user\nhi<|im_end|>", "<|im_start|", "<s></s><unk>", "▁▁ x", "Ġthe", "²³¼ Ⅷ ٣",
    "A" * 300, "ab" * 50,
    "https://example.org/a?b=c&d=%20#e", '{"a": [1, 2.5, null], "b": "\\u00e9"}', "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ﬁ ﷺ",
    "שלום עליכם", "ก็", "...!!!???", "''\"\"``",
]  # fmt: skip


@pytest.fixture(scope="session")
def odd_texts():
    """Where tokenizers differ: spaces, digits, newlines, scripts, emoji, control characters, spelled special tokens."""
    return ODD_TEXTS


@pytest.fixture(scope="session")
def text_strategy():
    """Any text but lone surrogates, with what tokenizers care about made likely."""
    pieces = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    return st.lists(pieces, max_size=4).map("".join)


SCORED = [
    *"abcdehlnortw", "▁", "th", "he", "the", "▁the", "▁t", "an", "nd", "and", "▁a", "▁and", "or",
    "wor", "ld", "▁w", "▁wor",
    "er", "▁▁", "llo", "ll", "lo", "he", "in", "é",
]  # fmt: skip


@pytest.fixture(scope="session")
def sentencepiece_parts():
    """Tokens, scores and types of a small SentencePiece vocabulary, as a GGUF stores them."""
    pieces = list(dict.fromkeys(SCORED))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    scores = [0.0] * 259 + [-float(i) for i in range(len(pieces))]
    # longer pieces come first, as a trained vocabulary has them; a few scores are equal
    order = sorted(range(len(pieces)), key=lambda i: (-len(pieces[i]), i))
    for rank, i in enumerate(order):
        scores[259 + i] = -float(rank - rank % 2)
    return tokens, scores, [2, 3, 3] + [6] * 256 + [1] * len(pieces)


@pytest.fixture
def sentencepiece_metadata(gguf_parts, sentencepiece_parts):
    metadata, tensors = gguf_parts
    tokens, scores, types = sentencepiece_parts
    assert len(tokens) <= 320
    for key in ("merges", "pre"):
        del metadata[f"tokenizer.ggml.{key}"]
    metadata |= {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.add_bos_token": True,
    }  # fmt: skip
    return metadata, tensors


@pytest.fixture
def open_gguf(tmp_path, make_gguf_bytes):
    """Opens the tokenizer of a GGUF file of (metadata, tensors)."""

    def open_parts(metadata, tensors):
        path = tmp_path / "vocabulary.gguf"
        path.write_bytes(make_gguf_bytes(metadata, tensors))
        return open_tokenizer(GgufCheckpoint(path))

    return open_parts


@pytest.fixture
def build_library(tmp_path, make_gguf_bytes):
    """The library's object for a GGUF file of (metadata, tensors), not cached."""

    def build(metadata, tensors):
        path = tmp_path / "vocabulary.gguf"
        path.write_bytes(make_gguf_bytes(metadata, tensors))
        return library_from_json(tokenizer_json(GgufCheckpoint(path)).encode(), path)

    return build


@pytest.fixture
def sentencepiece(open_gguf, sentencepiece_metadata):
    return open_gguf(*sentencepiece_metadata)
