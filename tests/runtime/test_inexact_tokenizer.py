"""A model whose tokenizer does not tell its tokens' bytes answers freely, and refuses every constraint."""

from __future__ import annotations

import pytest

import radixlang
from radixlang.errors import RadixlangError


@pytest.fixture(scope="module")
def engine(make_tiny_model, tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    folder = make_tiny_model(tmp_path_factory.mktemp("inexact") / "words")
    names = ["[UNK]", "<|im_start|>", "<|im_end|>", "hello", "world", "##s", "a", "b", '"', "{", "}"]
    words = {name: i for i, name in enumerate([*names, *(f"w{i}" for i in range(320 - len(names)))])}
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    library.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    library.decoder = tokenizers.decoders.WordPiece()
    library.add_special_tokens(names[:3])
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    found = radixlang.Engine(model_path=str(folder), max_total_tokens=512)
    yield found
    found.shutdown()


@pytest.mark.parametrize(
    "asked",
    [
        {"regex": "[ab]+"},
        {"json_schema": '{"type": "object"}'},
        {"ebnf": 'root ::= "a"'},
        {"structural_tag": '{"structures": [{"begin": "<a>", "schema": {}, "end": "</a>"}], "triggers": ["<a>"]}'},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_no_constraint_is_obeyed_by_guess(engine, asked) -> None:
    with pytest.raises(RadixlangError) as caught:
        engine.generate("hello world", {"max_new_tokens": 4, **asked})
    assert (caught.value.status, caught.value.code) == (400, "constraints_unsupported")
    assert "tokenizer" in caught.value.message


def test_free_text_is_served_as_ever(engine) -> None:
    answer = engine.generate("hello world", {"max_new_tokens": 4, "ignore_eos": True, "temperature": 0})
    assert answer["meta_info"]["completion_tokens"] == 4
