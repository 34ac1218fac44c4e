"""The application over a scripted engine, as tests/runtime/server has it."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

_RUNTIME = Path(__file__).parent.parent / "runtime"


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_front = _load("security_front_fixtures", _RUNTIME / "conftest.py")
_server = _load("security_server_fixtures", _RUNTIME / "server" / "conftest.py")
byte_tokenizer, make_front = _front.byte_tokenizer, _front.make_front
serve, stop_with, output_of = _server.serve, _server.stop_with, _server.output_of


@pytest.fixture(scope="session")
def bad_models():
    """tests/fixtures/bad_models.py."""
    return _load("bad_models", Path(__file__).parent.parent / "fixtures" / "bad_models.py")


@pytest.fixture
def kit(make_gguf_bytes, make_tiny_model):
    """What the builders of bad models need."""
    parts = _load("parts_of_models", Path(__file__).parent.parent / "conftest.py").tiny_gguf_parts
    return SimpleNamespace(make_gguf_bytes=make_gguf_bytes, make_tiny_model=make_tiny_model, gguf_parts=parts)
