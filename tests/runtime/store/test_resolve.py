import sys

import pytest

from radixlang.errors import BadCheckpoint, ModelError, ModelNotFound
from radixlang.runtime.store import fetch
from radixlang.runtime.store.known import DEFAULT_MODEL, KNOWN_MODELS
from radixlang.runtime.store.resolve import resolve_model


def test_paths_are_what_they_are(tiny_model_dir, tiny_gguf_path):
    assert resolve_model(str(tiny_model_dir)) == tiny_model_dir
    assert resolve_model(str(tiny_gguf_path)) == tiny_gguf_path
    assert resolve_model(str(tiny_gguf_path.parent)) == tiny_gguf_path  # the one GGUF in a folder


def test_names_of_the_store_are_found_there(store, tiny_gguf_path, monkeypatch, tmp_path):
    folder = store / "mine"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(tiny_gguf_path.read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()  # a name of the store wins over a folder that happens to be here
    assert resolve_model("mine") == folder / "m.gguf"


def test_known_names_are_fetched(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(fetch, "fetch", lambda model, *, progress: asked.append((model.name, progress)) or tmp_path)
    assert resolve_model(DEFAULT_MODEL, progress=False) == tmp_path
    assert asked == [(DEFAULT_MODEL, False)]


def test_the_default_model_is_the_one_that_was_measured():
    model = KNOWN_MODELS[DEFAULT_MODEL]
    assert (model.size, model.sha256[:8], model.filename) == (98_362_432, "b179c952", "SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.parametrize(
    "name", ["nothing", "../../no/such", "a/b/c", "\0", "x" * 5000, "", "/no/such/place", "~no-such-user/x"]
)
def test_what_is_nowhere_is_not_found(name):
    with pytest.raises(ModelNotFound) as caught:
        resolve_model(name)
    assert caught.value.status == 404
    assert caught.value.param == "model"


def test_a_folder_of_several_models_asks_which(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadCheckpoint, match="2 GGUF files"):
        resolve_model(str(tmp_path))


def test_an_empty_folder_has_no_model(tmp_path):
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        resolve_model(str(tmp_path))


def test_a_hub_id_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"radixlang\[hf\]"):
        resolve_model("some/model")


def test_a_hub_id_is_not_fetched_offline(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="could not be fetched") as caught:
        resolve_model("some/model", progress=False)
    assert "\n" not in str(caught.value)


def test_a_hub_id_takes_json_and_safetensors_only(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def snapshot(repository, *, allow_patterns):
        asked.update(repository=repository, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(ModelNotFound, match=r"FILE\.gguf"):
        resolve_model("some/model")
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model("some/model") == tmp_path
    assert asked["repository"] == "some/model"
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["patterns"])


def test_one_gguf_of_the_hub_is_fetched_by_its_name(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "hf_hub_download", lambda repository, file: str(tmp_path / repository / file))
    assert resolve_model("some/model/x-Q4_K_M.gguf") == tmp_path / "some/model/x-Q4_K_M.gguf"
