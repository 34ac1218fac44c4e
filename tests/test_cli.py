"""The command line, in this process; the one test of a real model is marked."""

import io
import json
import sys

import pytest

from radixlang import cli


@pytest.fixture
def run(capsys, monkeypatch):
    """run("list") -> (exit code, standard output, standard error)."""

    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = cli.main(arguments)
        except SystemExit as exit:
            code = exit.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("serve", "run", "list", "show", "pull", "rm", "doctor", "version"))


@pytest.mark.parametrize("command", ["serve", "run", "show", "pull", "rm"])
def test_every_command_explains_itself(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "usage" in out


def test_versions_agree(run):
    assert run("version")[1] == run("--version")[1]


def test_an_unknown_command_is_a_usage_error(run):
    code, _, err = run("frobnicate")
    assert code == 2
    assert "frobnicate" in err


def test_an_unknown_model_is_one_line_and_exit_code_1(run):
    for command in ("show", "rm"):
        code, _, err = run(command, "no-such-model")
        assert code == 1
        assert err.count("\n") == 1
        assert "no-such-model" in err


def test_serve_tells_a_wrong_option_in_one_line(run):
    code, _, err = run("serve", "--page-size", "3")
    assert (code, err.count("\n")) == (1, 1)
    assert "--page-size" in err


def test_an_empty_store_says_how_to_fill_it(run, monkeypatch):
    monkeypatch.setattr("radixlang.runtime.store.catalog.list_models", list)
    assert "radixlang pull" in run("list")[1]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (None, {}),
        ("regex:a+", {"regex": "a+"}),
        ("choices:a|b.", {"regex": r"a|b\."}),
        ("json", {"json_schema": '{"type": "object"}'}),
    ],
)
def test_formats(text, fields):
    assert cli._constraint(text) == fields


def test_format_files(tmp_path):
    schema = tmp_path / "s.json"
    schema.write_text('{"enum": [1]}')
    assert cli._constraint(str(schema)) == {"json_schema": '{"enum": [1]}'}
    with pytest.raises(cli.RequestError, match="nothere"):
        cli._constraint("nothere.json")


@pytest.mark.model
def test_run_answers_and_obeys_its_format(run):
    code, out, err = run(
        "run",
        "smollm2-135m-instruct",
        "Pick one.",
        "--format",
        "choices:red|blue",
        "--json",
        "--verbose",
        "--seed",
        "1",
    )
    assert code == 0, err
    assert json.loads(out)["text"] in ("red", "blue")
    assert "tokens/s" in err
