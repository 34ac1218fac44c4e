"""The real command with models that lie and options that cannot be: an exit code and one line; nothing of the model is
run, and it takes neither long nor much memory."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from radixlang.errors import RadixlangError
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.engine import Engine
from radixlang.runtime.front import Front
from radixlang.runtime.model_files import open_model
from radixlang.runtime.model_runner.load import load_executor

MOST_MIB = 1000
PATIENCE_S = 30


WATCHER = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""
"""Between us and the command: what a process starts with counts as its own peak, and pytest is large."""


class Ended:
    """The real command, to its end."""

    def __init__(self, *arguments, cwd, **environment):
        command = [sys.executable, "-m", "radixlang.launch_server", "--port", "0", *map(str, arguments)]
        with (cwd / "stderr").open("w+") as said:
            watcher = subprocess.Popen(
                [sys.executable, "-c", WATCHER, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=said, cwd=cwd, env={**os.environ, **environment}, start_new_session=True, text=True,
            )  # fmt: skip
            patience = threading.Timer(PATIENCE_S, os.killpg, (watcher.pid, signal.SIGKILL))
            patience.start()
            told, _ = watcher.communicate()
            patience.cancel()
            assert watcher.returncode == 0, f"not ended after {PATIENCE_S} s"
            self.code, self.mib = json.loads(told)
            said.seek(0)
            self.said = said.read()

    def error(self):
        """The one line."""
        assert 0 < self.code < 128, (self.code, self.said)
        assert "Traceback" not in self.said
        assert self.mib < MOST_MIB
        lines = [line for line in self.said.splitlines() if line.startswith("radixlang: ")]
        assert len(lines) == 1, self.said
        assert not any(" ERROR " in line for line in self.said.splitlines()), self.said
        return lines[0]


def test_every_kind_of_lie_is_there(bad_models):
    assert len(bad_models.BAD) == len(bad_models.GGUF) + len(bad_models.SAFETENSORS) + len(bad_models.FOLDERS) >= 50
    assert set(bad_models.USUAL) <= set(bad_models.BAD)


def refuse(bad_models, kit, name, tmp_path):
    folder = tmp_path / "model"
    bad_models.BAD[name](folder, kit)
    assert str(folder) in Ended("--model-path", folder, cwd=tmp_path).error()
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("at", range(7))
def test_a_bad_model_is_an_exit_code(bad_models, kit, at, tmp_path):
    assert len(bad_models.USUAL) == 7
    refuse(bad_models, kit, bad_models.USUAL[at], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("at", range(54))
def test_every_bad_model_is_an_exit_code(bad_models, kit, at, tmp_path):
    assert len(bad_models.BAD) == 54
    refuse(bad_models, kit, list(bad_models.BAD)[at], tmp_path)


def load(folder):
    config = EngineConfig(model_path=str(folder), max_total_tokens=512)
    files = open_model(config)
    Front(None, files.tokenizer, files.info)
    load_executor(config, files.checkpoint).close()


@pytest.mark.parametrize("kind", ["GGUF", "SAFETENSORS", "FOLDERS"])
def test_loading_a_bad_model_raises_what_names_its_file(bad_models, kit, kind, tmp_path):
    """All of them in this process, where a crash would end the tests."""
    for at, (name, write) in enumerate(getattr(bad_models, kind).items()):
        folder = tmp_path / str(at)
        write(folder, kit)
        with pytest.raises(RadixlangError) as caught:
            load(folder)
        assert str(folder) in str(caught.value) or "template" in name, (name, caught.value)
        assert caught.value.status in (400, 404, 500)
        assert not (folder / "marker").exists()


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (("--num-threads", "-1"), {}, "--num-threads"),
        (("--num-threads", "10000"), {}, "--num-threads must be at most"),
        (("--context-length", "4096"), {}, "--context-length 4096 is more than the model's own 2048"),
        (("--context-length", "2048", "--max-total-tokens", "64"), {}, "a context larger than the pool"),
        (("--max-total-tokens", "1000000000000"), {}, "--max-total-tokens 1000000000000 needs"),
        (("--executor", "native"), {"RADIXLANG_ISA": "avx1024"}, "RADIXLANG_ISA=avx1024"),
        ((), {"RADIXLANG_ISA": "avx1024"}, "RADIXLANG_ISA=avx1024"),
        (("--tokenizer-path", "nowhere"), {}, "nowhere"),
        (("--chat-template", "nowhere"), {}, "--chat-template nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_option_that_cannot_be_is_named_with_what_to_do(tiny_model_dir, tmp_path, options, environment, told):
    line = Ended("--model-path", tiny_model_dir, *options, cwd=tmp_path, **environment).error()
    assert told in line


def test_a_model_larger_than_the_memory_says_how_much_it_needs(make_tiny_model, tmp_path):
    """Of 6 TiB, most of it a hole in the file."""
    hidden, layers = 1 << 16, 4
    folder = make_tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": hidden, "intermediate_size": 1 << 22, "num_hidden_layers": layers, "num_attention_heads": 512,
        "num_key_value_heads": 512, "head_dim": 128,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    size = sparse_weights(folder / "model.safetensors", config)
    if size is None:
        pytest.skip("files here cannot be that large")
    line = Ended("--model-path", folder, cwd=tmp_path).error()
    assert "larger than the memory" in line
    assert "take a smaller model" in line


def sparse_weights(path, config):
    """A file with the header of these weights, and nothing in them; None where it cannot be made."""
    from radixlang.runtime.model.hf_config import config_from_hf
    from radixlang.runtime.weights.shapes import expected_shapes

    told, end = {}, 0
    for name, shape in expected_shapes(config_from_hf(config, path, None), has_head=False):
        size = 2
        for extent in shape:
            size *= extent
        told[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(told).encode()
    try:
        with path.open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            file.truncate(8 + len(raw) + end)
    except OSError:
        return None
    return end


@pytest.mark.parametrize("tensor", ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"])
def test_weights_that_are_no_numbers_load_and_every_request_ends(make_tiny_model, tmp_path, tensor):
    folder = make_tiny_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor][...] = np.nan
    save_file(tensors, folder / "model.safetensors")
    with Engine(model_path=str(folder), max_total_tokens=4096) as engine:
        for sampling in ({}, {"temperature": 0}, {"regex": "[0-9]{3}"}, {"top_p": 0.5, "top_k": 3}):
            answers = engine.generate(["a", "b"], {"max_new_tokens": 5, **sampling})
            assert {answer["meta_info"]["finish_reason"]["type"] for answer in answers} <= {"length", "stop"}
