import pytest

from radixlang.constrained import mask
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import ConfigError


def test_text_is_what_is_neither_special_nor_unused_nor_padding(vocabulary: Vocabulary) -> None:
    allowed = mask.to_ids(vocabulary.text_mask_W)
    assert allowed == [t for t in range(vocabulary.size) if vocabulary.is_text(t)]
    assert not {0, 1, 2} & set(allowed)
    assert max(allowed) < len(vocabulary.token_bytes) < vocabulary.size


def test_the_digest_follows_the_content() -> None:
    one, other = (Vocabulary([b"</s>", piece], frozenset({0}), frozenset({0}), 2) for piece in (b"a", b"b"))
    assert one.digest != other.digest
    assert one.digest == Vocabulary([b"</s>", b"a"], frozenset({0}), frozenset({0}), 2).digest
    assert one.digest != Vocabulary([b"</s>", b"a"], frozenset({0}), frozenset({0}), 64).digest


def test_tokens_join_to_the_text_even_without_an_encoder(vocabulary: Vocabulary) -> None:
    for text in ("hello the 中文 😀", "", "\x00\x7f"):
        assert vocabulary.join(vocabulary.tokenize(text.encode())) == text.encode()


def test_an_encoder_that_writes_special_tokens_is_not_believed() -> None:
    pieces = [b"</s>", b"<", b"/", b"s", b">"]
    vocabulary = Vocabulary(pieces, frozenset({0}), frozenset({0}), 5, encode=lambda text: [0])
    assert vocabulary.tokenize(b"</s>") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "fields", [{"size": 1}, {"eos_token_ids": frozenset()}, {"eos_token_ids": frozenset({99})}], ids=str
)
def test_a_vocabulary_that_cannot_be_is_refused(fields: dict) -> None:
    good = {"eos_token_ids": frozenset({0}), "special_token_ids": frozenset({0}), "size": 2}
    with pytest.raises(ConfigError):
        Vocabulary([b"</s>", b"a"], **{**good, **fields})


def test_plain_tokens_are_whole_characters_that_end_nothing(vocabulary: Vocabulary) -> None:
    plain = [t for t in range(vocabulary.size) if vocabulary.plain_table[t]]
    texts = {vocabulary.token_bytes[t].decode() for t in plain}
    assert {"a", " the", "中文", "😀"} <= texts
    assert not any(set('"\\<>{}[]\n') & set(text) for text in texts)
    assert all(vocabulary.is_text(t) for t in plain)
    assert vocabulary.longest_plain_id in plain
    assert len(vocabulary.token_bytes[vocabulary.longest_plain_id].decode()) == max(map(len, texts))
