"""What `import radixlang` gives, and what it must not cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import radixlang


def in_a_fresh_process(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_every_public_name_can_be_had_and_is_listed():
    assert set(radixlang.__all__) == {*radixlang._FACE, "__version__"}
    assert set(radixlang.__all__) <= set(dir(radixlang))
    for name in radixlang.__all__:
        assert getattr(radixlang, name) is not None, name
    with pytest.raises(AttributeError, match="no_such_name"):
        radixlang.no_such_name  # noqa: B018 - the read is the test


def test_importing_is_light():
    heavy = ["torch", "transformers", "httpx", "numpy", "asyncio"]
    found = in_a_fresh_process(
        f"import radixlang, sys, json; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    assert found == []


def test_writing_a_program_needs_no_runtime():
    found = in_a_fresh_process(
        "import radixlang as sgl, sys, json\n"
        "@sgl.function\n"
        "def p(s, q):\n"
        "    s += sgl.user(q) + sgl.assistant(sgl.gen('a'))\n"
        "print(json.dumps([m for m in sys.modules if m.startswith(('torch', 'transformers', 'radixlang.runtime'))]))"
    )
    assert found == []


def test_sglangs_module_paths_are_kept():
    from radixlang.lang import api, chat_template, choices, global_config, interpreter, ir
    from radixlang.lang.backend import anthropic, base_backend, litellm, openai, runtime_endpoint, vertexai
    from radixlang.utils import download_and_cache_file, dump_state_text, http_request, read_jsonl

    assert ir.SglFunction is type(api.function(lambda s: None))
    assert runtime_endpoint.Runtime is radixlang.Runtime
    for module, names in {
        ir: "SglSamplingParams REGEX_INT REGEX_FLOAT REGEX_BOOL REGEX_STR REGEX_STRING SglGen SglExpr",
        chat_template: "ChatTemplate ChatTemplateStyle register_chat_template get_chat_template",
        choices: "ChoicesDecision ChoicesSamplingMethod token_length_normalized",
        interpreter: "ProgramState ProgramStateGroup StreamExecutor",
        global_config: "global_config",
        base_backend: "BaseBackend NativeBackend",
        openai: "OpenAI",
        anthropic: "Anthropic",
        litellm: "LiteLLM",
        vertexai: "VertexAI",
    }.items():
        for name in names.split():
            assert hasattr(module, name), (module.__name__, name)
    assert all(map(callable, (download_and_cache_file, dump_state_text, http_request, read_jsonl)))


def test_sglangs_helpers(tmp_path):
    from radixlang.utils import dump_state_text, read_jsonl

    lines = tmp_path / "lines.jsonl"
    lines.write_text('# comment\n{"a": 1}\n\n{"a": 2}\n')
    assert [row["a"] for row in read_jsonl(str(lines))] == [1, 2]
    dump_state_text(str(tmp_path / "out.txt"), ["one", "two"])
    assert "two" in (tmp_path / "out.txt").read_text()


def test_notebooks_find_their_helpers(capsys):
    import subprocess
    import sys

    from radixlang.utils import print_highlight, terminate_process, wait_for_server

    print_highlight("<b>text</b>")
    assert "text" in capsys.readouterr().out
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(TimeoutError, match="did not answer"):
        wait_for_server("http://127.0.0.1:9", timeout=0, process=process)
    terminate_process(process)
    assert process.returncode is not None
    with pytest.raises(RuntimeError, match="ended with status"):
        wait_for_server("http://127.0.0.1:9", process=process)
