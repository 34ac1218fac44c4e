"""radixlang exec and compile, on a backend that is no model."""

import json

import pytest

import radixlang as sgl
from radixlang import cli

PROGRAM = """
import radixlang as sgl

@sgl.function
def main(s, q, tail="."):
    s += "Question: " + q + sgl.gen("a", max_tokens=4)
    g = s.fork(2)
    g += lambda i: f"{i}" + sgl.gen("b", max_tokens=4)
    g.join()
    s += tail

@sgl.function
def other(s):
    s += sgl.gen("x", max_tokens=1)
    if s["x"] == "1":
        s += "!"

@sgl.function
def checked(s):
    s += "x" + sgl.gen("x", check=str.isdigit)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    monkeypatch.setattr("radixlang.runtime.engine.Engine", lambda model_path: sgl.Mock({".*": "12"}))
    return str(path)


def test_exec_prints_the_text_or_everything(program, capsys):
    assert cli.main(["exec", program, "--arg", "q=why "]) == 0
    assert capsys.readouterr().out == "Question: why 12.\n"
    assert cli.main(["exec", program, "--arg", "q=a", "--arg", "tail=!", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["variables"] == {"a": "12", "b": ["12", "12"]}
    assert (told["text"], told["usage"]["requests"]) == ("Question: a12!", 3)
    assert cli.main(["exec", program, "--program", "other"]) == 0


def test_exec_runs_code_here_though_the_model_is_elsewhere(program, capsys, monkeypatch):
    monkeypatch.setattr("radixlang.lang.backend.runtime_endpoint.RuntimeEndpoint", lambda url: sgl.Mock({".*": "12"}))
    assert cli.main(["exec", program, "--program", "checked", "--base-url", "http://elsewhere"]) == 0
    assert capsys.readouterr().out == "x12\n"


def test_compile_prints_the_graph_and_what_is_shared(program, capsys):
    assert cli.main(["compile", program]) == 0
    out = capsys.readouterr().out
    assert "gens 3, width 2, depth 2" in out
    assert "2 branches share" in out
    assert "prog.py:7" in out
    for form, begin in (("json", "{"), ("html", "<!doctype html>"), ("mermaid", "flowchart"), ("dot", "digraph")):
        assert cli.main(["compile", program, "--format", form]) == 0
        assert capsys.readouterr().out.startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["exec", "no_such.py"], "no file"),
        (["exec", "PROGRAM", "--program", "none"], "main, other"),
        (["exec", "PROGRAM"], "q"),
        (["exec", "PROGRAM", "--arg", "p=1"], "'p'"),
        (["exec", "PROGRAM", "--arg", "q"], "NAME=VALUE"),
        (["compile", "PROGRAM", "--program", "other"], "prog.py:15"),
        (["compile", "PROGRAM", "--outputs", "zz"], "zz"),
    ],
)
def test_mistakes_are_told(program, capsys, arguments, told):
    assert cli.main([program if a == "PROGRAM" else a for a in arguments]) != 0
    assert told in capsys.readouterr().err


def test_exec_writes_the_run_and_the_graph(program, tmp_path, capsys):
    for suffix, begin in ((".html", "<!doctype html>"), (".svg", "<svg"), (".dot", "digraph"), (".mmd", "flowchart")):
        path = tmp_path / f"graph{suffix}"
        assert cli.main(["exec", program, "--arg", "q=why ", "--graph", str(path)]) == 0
        assert path.read_text().startswith(begin)
    for name, begin in (("run.html", "<!doctype html>"), ("run.json", "{")):
        assert cli.main(["exec", program, "--arg", "q=why ", "--trace", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(begin)
    assert json.loads((tmp_path / "run.json").read_text())["events"]
    capsys.readouterr()
