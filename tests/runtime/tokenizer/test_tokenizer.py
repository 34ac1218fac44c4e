import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import RequestError
from radixlang.runtime.tokenizer.tokenizer import Specials, TextTokenizer

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
IDS = st.lists(st.integers(0, 319), max_size=40)


@SETTINGS
@given(data=st.data())
def test_text_comes_back(data, tiny_tokenizer, text_strategy):
    text = data.draw(text_strategy)
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text), skip_special_tokens=False) == text


@SETTINGS
@given(ids=IDS, skip=st.booleans(), data=st.data())
def test_streamed_text_is_the_text_decoded_at_once(ids, skip, data, tiny_tokenizer):
    detokenizer = tiny_tokenizer.detokenizer(skip_special_tokens=skip)
    at, parts = 0, []
    while at < len(ids):
        size = data.draw(st.integers(1, 5))
        parts.append(detokenizer.push(ids[at : at + size]))
        at += size
    parts.append(detokenizer.flush())
    assert "".join(parts) == tiny_tokenizer.decode(ids, skip_special_tokens=skip)


@SETTINGS
@given(data=st.data())
def test_no_half_character_is_ever_streamed(data, tiny_tokenizer, text_strategy):
    text = data.draw(text_strategy.filter(lambda text: "\ufffd" not in text))
    detokenizer = tiny_tokenizer.detokenizer(skip_special_tokens=False)
    pushed = "".join(detokenizer.push([token]) for token in tiny_tokenizer.encode(text))
    assert pushed == text
    assert detokenizer.flush() == ""


@SETTINGS
@given(ids=IDS)
def test_decoding_is_the_librarys(ids, tiny_tokenizer):
    for skip in (True, False):
        assert tiny_tokenizer.decode(ids, skip_special_tokens=skip) == tiny_tokenizer._library.decode(ids, skip)


def test_a_cut_character_is_held_back_until_flush(tiny_tokenizer):
    ids = tiny_tokenizer.encode("🙂")
    assert len(ids) == 4
    detokenizer = tiny_tokenizer.detokenizer()
    assert [detokenizer.push([token]) for token in ids[:3]] == ["", "", ""]
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.push(tiny_tokenizer.encode("ok")) == "ok"


def test_every_token_has_its_bytes(tiny_tokenizer):
    assert tiny_tokenizer.token_bytes(0) == b"<|endoftext|>"
    assert {tiny_tokenizer.token_bytes(i) for i in range(3, 259)} == {bytes([b]) for b in range(256)}
    the = tiny_tokenizer.token_id("Ġthe")
    assert tiny_tokenizer.token_bytes(the) == b" the"
    assert tiny_tokenizer.token_text(tiny_tokenizer.token_id("Ã")) == "\ufffd"
    assert tiny_tokenizer.token_bytes(320) == tiny_tokenizer.token_bytes(-1) == b""


def test_special_tokens_are_recognised_and_skipped(tiny_tokenizer):
    ids = tiny_tokenizer.encode("<|im_start|>hi<|im_end|>")
    assert (ids[0], ids[-1]) == (1, 2)
    assert tiny_tokenizer.decode(ids) == "hi"
    assert tiny_tokenizer.special_token_ids == {0, 1, 2}
    assert tiny_tokenizer.eos_token_ids == {2}


def test_long_texts_take_the_other_path_to_the_same_ids(tiny_tokenizer):
    text = "the thing and " * 60
    assert tiny_tokenizer.encode(text) == tiny_tokenizer._library.encode(text).ids
    assert len(tiny_tokenizer.encode(text)) > 200


@pytest.mark.parametrize("length", [1, 2000])
def test_half_a_surrogate_pair_is_the_callers_error(tiny_tokenizer, length):
    with pytest.raises(RequestError, match="surrogate"):
        tiny_tokenizer.encode("a" * length + "\ud800")


def test_bos_is_put_before_a_text_and_never_before_its_continuation(sentencepiece):
    assert sentencepiece.adds_bos
    plain = sentencepiece.encode("the", add_bos=False)
    assert sentencepiece.encode("the") == [1, *plain]
    assert 1 not in sentencepiece.encode_continuation("the")


def test_a_continuation_has_no_dummy_space(sentencepiece):
    text = lambda ids: [sentencepiece.token_bytes(i) for i in ids]  # noqa: E731
    assert text(sentencepiece.encode("the", add_bos=False)) == [b" the"]
    assert text(sentencepiece.encode_continuation("the")) == [b"the"]
    assert text(sentencepiece.encode_continuation(" the")) == [b" the"]


def test_the_dummy_space_is_taken_off_whole_texts_only(sentencepiece):
    ids = sentencepiece.encode("the world")
    assert sentencepiece.decode(ids) == "the world"
    assert sentencepiece.detokenizer().push(ids) == " the world"


def test_byte_tokens_become_characters(sentencepiece):
    ids = sentencepiece.encode("🙂", add_bos=False)
    assert b"".join(map(sentencepiece.token_bytes, ids)) == b" " + "🙂".encode()
    assert sentencepiece.decode(ids) == "🙂"


def test_many_threads_may_use_one_tokenizer(sentencepiece, odd_texts):
    wanted = [(sentencepiece.encode(text), sentencepiece.encode_continuation(text)) for text in odd_texts]
    found = {}

    def work(number):
        found[number] = [(sentencepiece.encode(text), sentencepiece.encode_continuation(text)) for text in odd_texts]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == wanted for i in range(4))


@pytest.mark.parametrize(("decoder", "is_exact"), [("ByteLevel", True), ("WordPiece", False), ("BPEDecoder", False)])
def test_tokenizers_whose_text_is_not_the_bytes_of_their_tokens_say_so(tiny_tokenizer, decoder, is_exact) -> None:
    decoders = pytest.importorskip("tokenizers.decoders")
    library = tiny_tokenizer._library.from_str(tiny_tokenizer._library.to_str())
    library.decoder = getattr(decoders, decoder)()
    other = TextTokenizer(
        lambda: library, specials=Specials(None, False, frozenset({0}), None), vocab_size=320, digest=""
    )
    assert other.is_byte_exact == is_exact


WORDS = ["[UNK]", "the", "fox", "##es", "don", "'", "t", ".", ",", "?", "quick", "##", "'s"]


@pytest.mark.parametrize("cleanup", [True, False])
@pytest.mark.parametrize("kind", ["WordPiece", None])
def test_vocabularies_of_words_are_written_with_the_librarys_spaces(kind, cleanup) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if kind is not None:
        library.decoder = tokenizers.decoders.WordPiece(cleanup=cleanup)
    ours = TextTokenizer(
        lambda: library, specials=Specials(None, False, frozenset(), None), vocab_size=len(WORDS), digest=""
    )
    for ids in ([1, 10, 2, 3, 8, 1, 2, 7], [4, 5, 6, 9], [2, 12, 1], [], [1, 0, 2]):
        assert ours.decode(ids) == library.decode(ids)
    detokenizer = ours.detokenizer()  # of ids that follow others
    assert "".join(detokenizer.push([i]) for i in (2, 3)) == (" foxes" if kind else " fox ##es")
    assert not ours.is_byte_exact
