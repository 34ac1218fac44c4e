import json

import pytest

from radixlang.errors import BadCheckpoint, ModelNotFound, UnsupportedModel
from radixlang.runtime.tokenizer import hf_tokenizer
from radixlang.runtime.tokenizer.hf_tokenizer import tokenizer_from_directory


@pytest.fixture
def model(tmp_path, make_tiny_model):
    return make_tiny_model(tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_directory_and_its_file_are_the_same(model):
    found, by_file = tokenizer_from_directory(model), tokenizer_from_directory(model / "tokenizer.json")
    assert found.digest == by_file.digest
    assert found.vocab_size == 320
    assert found.bos_token_id == 0
    assert not found.adds_bos


def test_bos_is_added_where_the_post_processor_adds_it(model):
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    edit(model / "tokenizer.json", post_processor=template)
    tokenizer = tokenizer_from_directory(model)
    assert tokenizer.adds_bos
    assert tokenizer.encode("a")[0] == 0
    assert tokenizer.encode("a", add_bos=False)[0] != 0


def test_bos_is_added_where_the_config_says_so(model):
    edit(model / "tokenizer_config.json", add_bos_token=True)
    assert tokenizer_from_directory(model).encode("a")[0] == 0


def test_special_tokens_may_be_objects_and_stop_tokens_many(model):
    edit(model / "tokenizer_config.json", eos_token={"content": "<|im_end|>"}, bos_token=None)
    edit(model / "generation_config.json", eos_token_id=[0, 2, 99999, -1, 1 << 64, "x"])
    tokenizer = tokenizer_from_directory(model)
    assert tokenizer.eos_token_ids == {0, 2}
    assert tokenizer.bos_token_id is None


def test_truncation_and_padding_of_the_file_do_not_apply(model):
    edit(
        model / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    )
    assert len(tokenizer_from_directory(model).encode("abcdefgh")) == 8


def test_the_chat_template_comes_from_its_file_first(model):
    assert "im_start" in tokenizer_from_directory(model).chat_template
    edit(
        model / "tokenizer_config.json",
        chat_template=[{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}],
    )
    assert tokenizer_from_directory(model).chat_template == "D"
    (model / "chat_template.json").write_text('{"chat_template": "P"}')  # a processor's, in older files
    assert tokenizer_from_directory(model).chat_template == "P"
    (model / "chat_template.jinja").write_text("F")
    assert tokenizer_from_directory(model).chat_template == "F"


def test_a_template_of_its_own_for_tools(model):
    assert tokenizer_from_directory(model).tool_template is None
    templates = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    edit(model / "tokenizer_config.json", chat_template=templates)
    found = tokenizer_from_directory(model)
    assert (found.chat_template, found.tool_template) == ("D", "T")
    folder = model / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool_use.jinja").write_text("TF")
    (model / "chat_template.jinja").write_text("F")
    found = tokenizer_from_directory(model)
    assert (found.chat_template, found.tool_template) == ("F", "TF")


def test_a_decoder_that_is_not_known_is_refused(model):
    edit(model / "tokenizer.json", decoder={"type": "BPEDecoder", "suffix": "</w>"})
    with pytest.raises(UnsupportedModel, match="BPEDecoder"):
        tokenizer_from_directory(model)


BROKEN = {
    "empty": b"",
    "not JSON": b"hello",
    "an array": b"[]",
    "nested arrays": b"[" * 100_000,
    "nested objects": b'{"model":' * 100_000,
    "no model": b'{"version": "1.0"}',
    "negative id": b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}',
    "id of text": b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":"0"},"merges":[]}}',
    "merge of unknown": b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["x y"]}}',
    "no tokens": b'{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}}',
    "broken regex": b'{"version":"1.0","pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated",'
    b'"invert":false},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tokenizer_is_refused(model, name):
    (model / "tokenizer.json").write_bytes(BROKEN[name])
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.json"):
        tokenizer_from_directory(model)


@pytest.mark.parametrize("wild", [320, 1 << 20, (1 << 32) - 1])
def test_ids_beyond_the_embedding_are_refused(model, wild):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["wild"] = wild
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadCheckpoint, match=str(wild)):
        tokenizer_from_directory(model)


def test_a_file_too_large_is_not_read(model, monkeypatch):
    monkeypatch.setattr(hf_tokenizer, "MAX_BYTES", 1000)
    with pytest.raises(BadCheckpoint, match="larger"):
        tokenizer_from_directory(model)


def test_a_folder_without_one_says_what_to_give(tmp_path):
    with pytest.raises(ModelNotFound, match="--tokenizer-path"):
        tokenizer_from_directory(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", "nonsense"])
def test_a_broken_tokenizer_config_is_refused(model, text):
    (model / "tokenizer_config.json").write_text(text)
    with pytest.raises(BadCheckpoint, match="tokenizer_config"):
        tokenizer_from_directory(model)


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "▁the", "the", "▁t"]


def with_dummy_space(kind):
    """A tokenizer.json of each of the ways to put a space before a text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    if kind == "unigram":
        model = models.Unigram(
            [(piece, -float(len(PIECES[:i]))) for i, piece in enumerate(PIECES)], 0, byte_fallback=True
        )
    else:
        merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "t")]
        vocab = {piece: i for i, piece in enumerate([*PIECES, "th"])}
        model = models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.mark.parametrize("kind", ["prepend", "metaspace", "unigram"])
def test_a_continuation_has_no_dummy_space_whoever_puts_it(kind, tmp_path):
    with_dummy_space(kind).save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_directory(tmp_path)
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("the")] == [b" the"]
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode_continuation("the"))) == b"the"
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode_continuation(" the")] == [b" the"]
    assert tokenizer.decode(tokenizer.encode("the the é")) == "the the é"
    ids = tokenizer.encode("the é the")
    assert tokenizer.decode(ids) == tokenizer._library.decode(ids)
    detokenizer = tokenizer.detokenizer()
    assert "".join([*(detokenizer.push([i]) for i in ids), detokenizer.flush()]) == " the é the"


def test_a_byte_level_tokenizer_that_adds_a_space_does_not_in_a_continuation(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["add_prefix_space"] = True
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = tokenizer_from_directory(model)
    assert found.decode(found.encode("the")) == " the"
    assert found.decode(found.encode_continuation("the")) == "the"
