import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import BadCheckpoint, UnsupportedModel
from radixlang.runtime.tokenizer import gguf_vocabulary
from radixlang.runtime.tokenizer.pre_tokenizers import pre_tokenizer_json


def test_a_byte_level_vocabulary_gives_the_tokenizer_json_that_it_came_from(
    open_gguf, gguf_parts, tiny_tokenizer, odd_texts
):
    found = open_gguf(*gguf_parts)
    for text in odd_texts:
        assert found.encode(text) == tiny_tokenizer.encode(text)
    assert found.vocab_size == tiny_tokenizer.vocab_size
    assert found.special_token_ids == tiny_tokenizer.special_token_ids
    assert found.eos_token_ids == tiny_tokenizer.eos_token_ids
    assert found.bos_token_id == tiny_tokenizer.bos_token_id
    assert found.chat_template == tiny_tokenizer.chat_template
    assert [found.token_bytes(i) for i in range(320)] == [tiny_tokenizer.token_bytes(i) for i in range(320)]


def merge_by_score(text, tokens, scores, types):
    """llama.cpp's way: of all neighbours that make a token, the best score first, the leftmost of equals."""
    ids = {token: i for i, token in enumerate(tokens) if types[i] == 1}
    symbols = list(text)
    while True:
        ways = [(-scores[ids[a + b]], at) for at, (a, b) in enumerate(pairwise(symbols)) if a + b in ids]
        if not ways:
            break
        _, at = min(ways)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    found = []
    for symbol in symbols:
        found += [ids[symbol]] if symbol in ids else [3 + byte for byte in symbol.encode()]
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("thewornadlb éż\n", max_size=20))
def test_a_sentencepiece_vocabulary_merges_by_score(text, sentencepiece, sentencepiece_parts):
    spelled = "▁" + text.replace(" ", "▁") if text else ""
    assert sentencepiece.encode(text, add_bos=False) == merge_by_score(spelled, *sentencepiece_parts)


@pytest.mark.parametrize(("left", "right"), [("he", " "), (" ", "he"), ("#version", "he")])
def test_merges_that_cannot_be_written_as_two_words_are_kept(build_library, sentencepiece_metadata, left, right):
    metadata, tensors = sentencepiece_metadata
    key = "tokenizer.ggml.tokens"
    given = [*metadata[key], *{left, right, left + right}.difference(metadata[key])]
    metadata |= {key: given, "tokenizer.ggml.token_type": [*metadata["tokenizer.ggml.token_type"], 1, 1][: len(given)]}
    metadata["tokenizer.ggml.scores"] = [*metadata["tokenizer.ggml.scores"], -9.0, -9.0][: len(given)]
    kept = json.loads(build_library(metadata, tensors).to_str())["model"]["merges"]
    assert [left, right] in kept
    assert ["t", "he"] in kept


def test_gemma_spells_runs_of_spaces_with_spaces_and_adds_none(open_gguf, sentencepiece_metadata):
    metadata, tensors = sentencepiece_metadata
    metadata = {k.replace("llama.", "gemma.") if k.startswith("llama.") else k: v for k, v in metadata.items()}
    metadata["general.architecture"] = "gemma"
    tokens = list(metadata["tokenizer.ggml.tokens"])
    tokens[tokens.index("▁▁")] = "  "
    tokenizer = open_gguf(metadata | {"tokenizer.ggml.tokens": tokens}, tensors)
    assert [tokenizer.token_text(i) for i in tokenizer.encode("  the", add_bos=False)] in (["  ", "the"], [" ", " the"])
    assert tokenizer.decode(tokenizer.encode(" the", add_bos=False)) == " the"
    assert [tokenizer.token_text(i) for i in tokenizer.encode("the", add_bos=False)] == ["the"]


@pytest.mark.parametrize(("pre", "adds"), [("gpt-2", False), ("llama-bpe", True), ("qwen2", False)])
def test_a_file_that_does_not_say_begins_as_llama_cpp_has_it(open_gguf, gguf_parts, pre, adds):
    metadata, tensors = gguf_parts
    del metadata["tokenizer.ggml.add_bos_token"]
    assert open_gguf(metadata | {"tokenizer.ggml.pre": pre}, tensors).adds_bos is adds
    told = open_gguf(metadata | {"tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": not adds}, tensors)
    assert told.adds_bos is not adds


def test_unused_tokens_are_not_made(open_gguf, gguf_parts):
    metadata, tensors = gguf_parts
    types = list(metadata["tokenizer.ggml.token_type"])
    types[1] = 5
    tokenizer = open_gguf(metadata | {"tokenizer.ggml.token_type": types}, tensors)
    assert 1 not in tokenizer.encode("<|im_start|>")
    assert tokenizer.token_bytes(1) == b""
    assert tokenizer.vocab_size == 320


def test_user_defined_tokens_are_matched_whole_and_shown(open_gguf, gguf_parts):
    metadata, tensors = gguf_parts
    types = list(metadata["tokenizer.ggml.token_type"])
    types[1] = 4
    tokenizer = open_gguf(metadata | {"tokenizer.ggml.token_type": types}, tensors)
    assert tokenizer.encode("<|im_start|>") == [1]
    assert 1 not in tokenizer.special_token_ids
    assert tokenizer.decode([1]) == "<|im_start|>"


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"tokenizer.ggml.model": "bert"}, UnsupportedModel, "bert"),
        ({"tokenizer.ggml.pre": "klingon"}, UnsupportedModel, "klingon"),
        ({"tokenizer.ggml.tokens": ["a"] * 321}, BadCheckpoint, "321"),
        ({"tokenizer.ggml.tokens": 5}, BadCheckpoint, "tokens"),
        ({"tokenizer.ggml.token_type": [1, 2]}, BadCheckpoint, "token_type"),
        ({"tokenizer.ggml.token_type": "x"}, BadCheckpoint, "token_type"),
        ({"tokenizer.ggml.merges": ["zzz q"]}, BadCheckpoint, "zzz q"),
        ({"tokenizer.ggml.merges": ["nospace"]}, BadCheckpoint, "nospace"),
        ({"tokenizer.ggml.merges": [1]}, BadCheckpoint, "merges"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(build_library, gguf_parts, change, error, named):
    metadata, tensors = gguf_parts
    with pytest.raises(error, match=named):
        build_library(metadata | change, tensors)


def test_a_file_without_a_vocabulary_says_what_to_give(build_library, gguf_parts):
    metadata, tensors = gguf_parts
    del metadata["tokenizer.ggml.tokens"]
    with pytest.raises(BadCheckpoint, match="--tokenizer-path"):
        build_library(metadata, tensors)


def test_a_sentencepiece_vocabulary_without_scores_is_refused(build_library, sentencepiece_metadata):
    metadata, tensors = sentencepiece_metadata
    del metadata["tokenizer.ggml.scores"]
    with pytest.raises(BadCheckpoint, match="scores"):
        build_library(metadata, tensors)


@pytest.mark.slow
def test_splits_are_those_that_transformers_has():
    mapping = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    for name in ("llama-bpe", "llama3", "tekken", "qwen2", "qwen35", "gpt-4o", "llama4", "smaug-bpe", "dbrx"):
        [split, _] = pre_tokenizer_json(name, "here")["pretokenizers"]
        assert split["pattern"]["Regex"] == mapping.GGUF_PRE_TOKENIZER_SPLITS[name], name


@pytest.mark.slow
@pytest.mark.model
def test_the_default_model_has_the_ids_of_transformers(default_model_path, odd_texts, tmp_path):
    """transformers forgets that this vocabulary was trained on single digits: its splitter is put right first."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import pre_tokenizers

    from radixlang.runtime.tokenizer.open import open_tokenizer

    ours = open_tokenizer(default_model_path)
    theirs = transformers.AutoTokenizer.from_pretrained(default_model_path.parent, gguf_file=default_model_path.name)
    digits = pre_tokenizers.Digits(individual_digits=True)
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for text in [*odd_texts, json.dumps(odd_texts, indent=2, ensure_ascii=False)]:
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == ids, text
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.model
def test_the_default_models_tokens_concatenate_to_the_text(default_model_path, odd_texts):
    from radixlang.runtime.tokenizer.open import open_tokenizer

    tokenizer = open_tokenizer(default_model_path)
    assert (tokenizer.vocab_size, tokenizer.eos_token_ids, tokenizer.adds_bos) == (49152, {2}, False)
    assert tokenizer.encode("<|im_start|>user\n1. x<|im_end|>") == [1, 4093, 198, 33, 30, 1792, 2]
    for text in odd_texts:
        assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


def test_an_overlong_token_is_cut_only_where_others_end(open_gguf, sentencepiece_metadata):
    """Every cut of it, and nobody would wait for the end."""
    metadata, tensors = sentencepiece_metadata
    tokens = list(metadata["tokenizer.ggml.tokens"])
    tokens[-1] = "a" * (1 << 21)
    assert open_gguf(metadata | {"tokenizer.ggml.tokens": tokens}, tensors).encode("the")


def test_tokens_that_are_made_in_endlessly_many_ways_are_refused(open_gguf, sentencepiece_metadata, monkeypatch):
    metadata, tensors = sentencepiece_metadata
    open_gguf(metadata, tensors)
    tokens = list(metadata["tokenizer.ggml.tokens"])
    tokens[-20:] = ["a" * i for i in range(1000, 1020)]
    tokens[-40:-20] = ["a" * i for i in range(500, 520)]
    monkeypatch.setattr(gguf_vocabulary, "_MOST_CUT", 100_000)
    with pytest.raises(BadCheckpoint, match="overlong tokens"):
        open_gguf(metadata | {"tokenizer.ggml.tokens": tokens}, tensors)
