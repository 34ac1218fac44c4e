import hashlib
import zipfile

import pytest

from radixlang.runtime.store.known import WheelModel

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store of its own, empty."""
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RADIXLANG_MODELS", raising=False)
    return tmp_path / "cache" / "models"


@pytest.fixture
def small():
    """A model that a wheel of a few kilobytes holds."""
    return WheelModel(
        name="small", requirement="small-model==1.0", member="small_model/small.gguf", size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(), about="a small one",
    )  # fmt: skip


@pytest.fixture
def make_wheel():
    """Writes a wheel with that one file in it."""

    def make(path, content=CONTENT, member="small_model/small.gguf"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("small_model/__init__.py", "raise SystemExit('never run')")
            archive.writestr(member, content)
            archive.writestr(
                "small_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n"
            )
            archive.writestr(
                "small_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr("small_model-1.0.dist-info/RECORD", "")
        return path

    return make
