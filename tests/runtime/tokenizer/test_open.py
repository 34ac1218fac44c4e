import logging
import subprocess
import sys

import pytest

from radixlang.errors import ModelNotFound, UnsupportedModel
from radixlang.runtime.tokenizer import gguf_vocabulary
from radixlang.runtime.tokenizer import open as open_module
from radixlang.runtime.tokenizer.open import open_tokenizer
from radixlang.runtime.weights.open import open_checkpoint


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokenizers"


def test_a_checkpoint_its_path_and_its_name_open_the_same(tiny_gguf_path, tiny_model_dir):
    for source in (tiny_gguf_path, tiny_model_dir):
        digests = {open_tokenizer(x).digest for x in (source, str(source), open_checkpoint(source))}
        assert len(digests) == 1


def test_what_was_built_is_kept_and_used(cache, tiny_gguf_path, monkeypatch, odd_texts):
    built = open_tokenizer(tiny_gguf_path)
    [kept] = cache.iterdir()
    assert kept.name.startswith("llama-")
    monkeypatch.setattr(gguf_vocabulary, "tokenizer_json", lambda checkpoint: pytest.fail("built again"))
    again = open_tokenizer(tiny_gguf_path)
    assert again.digest == built.digest
    assert [again.encode(text) for text in odd_texts] == [built.encode(text) for text in odd_texts]


def test_another_way_to_build_is_another_file_of_the_same_vocabulary(cache, tiny_gguf_path, monkeypatch):
    before = open_tokenizer(tiny_gguf_path)
    monkeypatch.setattr(open_module, "BUILDER_VERSION", -1)
    assert open_tokenizer(tiny_gguf_path).digest == before.digest
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_cache_is_built_again(cache, tiny_gguf_path, caplog):
    open_tokenizer(tiny_gguf_path)
    [kept] = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert open_tokenizer(tiny_gguf_path).vocab_size == 320
    assert "building it again" in caplog.text
    assert kept.read_bytes() == whole


def test_a_late_tokenizer_is_built_at_its_first_use(cache, tiny_gguf_path):
    late = open_tokenizer(tiny_gguf_path, late=True)
    assert (late.vocab_size, late.eos_token_ids) == (320, frozenset({2}))
    assert not cache.exists()
    assert late.encode("the rain") == open_tokenizer(tiny_gguf_path).encode("the rain")
    assert late.special_token_ids == {0, 1, 2}
    assert cache.exists()


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, tiny_gguf_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert open_tokenizer(tiny_gguf_path).vocab_size == 320
    assert "cannot be kept" in caplog.text


def test_nothing_there_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound):
        open_tokenizer(tmp_path / "no.gguf")


def test_opening_imports_neither_torch_nor_transformers(tiny_model_dir, tiny_gguf_path):
    program = (
        "import sys\nfrom radixlang.runtime.tokenizer.open import open_tokenizer\n"
        "from radixlang.runtime.weights.open import open_checkpoint\n"
        f"for path in ({str(tiny_model_dir)!r}, {str(tiny_gguf_path)!r}):\n"
        "    checkpoint = open_checkpoint(__import__('pathlib').Path(path))\n"
        "    open_tokenizer(checkpoint).encode('hello')\n"
        "    checkpoint.dense('model.norm.weight')\n"
        "print(sorted({'torch', 'transformers', 'gguf', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [[0, 0], ["gpt2"], 7])
def test_a_kind_that_is_no_text_is_refused(tmp_path, make_gguf_bytes, make_gguf_parts, kind):
    metadata, tensors = make_gguf_parts()
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf_bytes({**metadata, "tokenizer.ggml.model": kind}, tensors))
    with pytest.raises(UnsupportedModel, match="tokenizer kind ''"):
        open_tokenizer(path)
