"""radixlang habits: a model's own texts become a file that engines find."""

from __future__ import annotations

import json
import shutil

import pytest

from radixlang.cli import main
from radixlang.runtime import habits_command
from radixlang.runtime.speculation.habits import find_habits, read_habits


@pytest.fixture
def few(monkeypatch) -> None:
    monkeypatch.setattr(habits_command, "_AT_ONCE", 8)
    monkeypatch.setattr(habits_command, "_MOST", 48)


@pytest.mark.model
def test_the_default_model_talks_to_itself(few, default_model_path, tmp_path, capsys) -> None:
    target = tmp_path / "h.habits"
    assert main(["habits", str(default_model_path), "--tokens", "1000", "--output", str(target)]) == 0
    told = capsys.readouterr()
    assert str(target) in told.out
    assert "% of the tokens" in told.out
    assert "of 1,000 tokens" in told.err
    assert (read_habits(target, 49152).entries_N["token"] >= 0).any()


def test_a_model_without_a_template_goes_on_from_nothing(few, tiny_model_dir, tmp_path, monkeypatch) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / "model")
    (model / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path))
    assert main(["habits", str(model), "--tokens", "1000"]) == 0
    (path,) = (tmp_path / "habits").iterdir()
    assert find_habits(path.stem, 1 << 20) is not None


@pytest.mark.parametrize("name", ["", "file/h.habits"])
def test_where_nothing_can_be_written_nothing_is_learned(few, tiny_model_dir, tmp_path, capsys, name) -> None:
    (tmp_path / "file").write_text("")
    assert main(["habits", str(tiny_model_dir), "--tokens", "1000", "--output", str(tmp_path / name)]) != 0
    told = capsys.readouterr().err
    assert "--output" in told
    assert "tokens," not in told


def test_too_few_tokens_are_refused(capsys) -> None:
    assert main(["habits", "--tokens", "10"]) != 0
    assert "--tokens is 10" in capsys.readouterr().err
