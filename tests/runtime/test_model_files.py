"""What both processes know of a model: whose chat template it is."""

import subprocess
import sys

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_files import open_model


@pytest.fixture
def template_told(tiny_model_dir):
    return lambda given: open_model(EngineConfig(model_path=str(tiny_model_dir), chat_template=given)).info[
        "chat_template"
    ]


def test_a_chat_template_is_a_file_a_source_or_a_known_name(template_told, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("F{{ messages }}")
    assert template_told(str(file)) == "F{{ messages }}"
    assert template_told("S{{ messages }}") == "S{{ messages }}"
    assert "<|header_start|>" in template_told("llama-4")
    assert "im_start" in template_told(None)


@pytest.mark.parametrize("given", ["llama-99", "nowhere.jinja"])
def test_another_one_is_refused(template_told, given):
    with pytest.raises(ConfigError, match=f"--chat-template {given}"):
        template_told(given)


def test_a_server_needs_neither_numpy_nor_the_libraries_of_grammars(tiny_gguf_path) -> None:
    program = (
        "import asyncio, sys, radixlang.launch_server, radixlang.runtime.server.run\n"
        "from radixlang.runtime.config import EngineConfig, ServerConfig\n"
        "from radixlang.runtime.model_files import open_model\n"
        "from radixlang.runtime.server.service import Service\n"
        "from radixlang.runtime.server.table import make_app\n"
        f"config = EngineConfig(model_path={str(tiny_gguf_path)!r})\n"
        "files = open_model(config)\n"
        "files.info, files.tokenizer.encode('Hello')\n"
        "files.checkpoint.forget_pages()\n"
        "asyncio.run(make_app(Service(config, ServerConfig())).complete())\n"
        "print(sorted({'numpy', 'llguidance', 'regex'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
