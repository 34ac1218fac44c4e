import shutil

import pytest

from radixlang.errors import BadCheckpoint, ModelNotFound
from radixlang.runtime.store.catalog import list_models, remove_model, show_model
from radixlang.runtime.store.files import digest_of, record_verified


@pytest.fixture
def stored(store, tiny_gguf_path, tiny_model_dir):
    """Two models, one of each format, and things that are none."""
    (store / "packed").mkdir(parents=True)
    file = store / "packed" / "tiny.gguf"
    shutil.copy(tiny_gguf_path, file)
    record_verified(file, digest_of(file))
    shutil.copytree(tiny_model_dir, store / "folder")
    (store / "empty").mkdir()
    (store / ".hidden").mkdir()
    (store / "stray.txt").write_text("")
    return store


def test_what_is_stored_is_listed_by_name(stored):
    found = list_models()
    assert [model.name for model in found] == ["folder", "packed"]
    assert found[0].path == stored / "folder"
    assert found[1].path == stored / "packed" / "tiny.gguf"
    assert found[1].size > found[1].path.stat().st_size  # the mark counts too
    assert found[1].sha256 == digest_of(found[1].path)
    assert found[0].sha256 is None


def test_an_empty_machine_has_none(store):
    assert list_models() == []


def test_a_model_tells_what_its_header_says(stored):
    shown = show_model("packed")
    assert (shown["architecture"], shown["layers"], shown["formats"]) == ("llama", 2, ["F32"])
    assert show_model("folder")["max_context"] == 2048


def test_a_damaged_model_says_so(stored):
    (stored / "packed" / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadCheckpoint):
        show_model("packed")


def test_a_removed_model_is_gone(stored):
    size = next(model.size for model in list_models() if model.name == "packed")
    assert remove_model("packed") == size
    assert [model.name for model in list_models()] == ["folder"]


@pytest.mark.parametrize("name", ["nothing", "../models", "/", ""])
def test_what_is_not_stored_cannot_be_shown_or_removed(stored, name):
    for act in (show_model, remove_model):
        with pytest.raises(ModelNotFound):
            act(name)
    assert len(list_models()) == 2
