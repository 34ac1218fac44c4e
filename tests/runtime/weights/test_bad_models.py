"""The real command with models that lie: an exit code and one line, nothing run, no traceback."""

import json
import pickle
import subprocess
import sys

import pytest


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut_gguf(folder, make_tiny_model, gguf_path):
    folder.mkdir()
    (folder / "model.gguf").write_bytes(gguf_path.read_bytes()[:-100_000])


def lying_config(folder, make_tiny_model, gguf_path):
    edit(make_tiny_model(folder) / "config.json", num_attention_heads=0)


def code_in_the_folder(folder, make_tiny_model, gguf_path):
    make_tiny_model(folder)
    (folder / "modeling_evil.py").write_text(f"open({str(folder / 'marker')!r}, 'w')")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})


def pickled(folder, make_tiny_model, gguf_path):
    make_tiny_model(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "marker")))


def index_outside(folder, make_tiny_model, gguf_path):
    make_tiny_model(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))


def nested_tokenizer(folder, make_tiny_model, gguf_path):
    make_tiny_model(folder)
    (folder / "tokenizer.json").write_text("[" * 100_000)


def wild_ids(folder, make_tiny_model, gguf_path):
    make_tiny_model(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["wild"] = (1 << 32) - 1
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


ALL = [cut_gguf, lying_config, code_in_the_folder, pickled, index_outside, nested_tokenizer, wild_ids]


@pytest.mark.parametrize(
    "damage", [pytest.param(d, marks=[] if i < 2 else [pytest.mark.slow]) for i, d in enumerate(ALL)]
)
def test_a_bad_model_is_an_exit_code(damage, tmp_path, make_tiny_model, tiny_gguf_path):
    folder = tmp_path / "model"
    damage(folder, make_tiny_model, tiny_gguf_path)
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", str(folder), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert 0 < done.returncode < 128
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(lines) == 1, done.stderr
    assert str(folder) in lines[0]
    assert not (folder / "marker").exists()
