import io
import json
import re
import sys

import pytest

from radixlang import cli

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
DTD = "<!ELEMENT a (b, c?)><!ELEMENT b (#PCDATA)><!ELEMENT c EMPTY>"


@pytest.fixture
def run(capsys, monkeypatch):
    """run("check", …) -> (exit code, standard output, standard error)."""

    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = cli.main(["grammar", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_check_tells_engine_size_and_an_example(run):
    code, out, _ = run("check", "--regex", "[a-c]{2,4}")
    assert code == 0
    assert "automaton" in out
    assert "5 states" in out
    assert "finitely many" in out
    assert re.fullmatch("[a-c]{2,4}", re.search("example: (.*)", out).group(1))


def test_check_tells_where_a_text_fails(run):
    code, out, _ = run("check", "--schema", "-", "--text", '{"age": x}', stdin=json.dumps(SCHEMA))
    assert code == 1
    assert "line 1, column 9" in out
    lines = out.splitlines()
    shown = next(i for i, line in enumerate(lines) if line.endswith('{"age": x}'))
    assert lines[shown].index("x") == lines[shown + 1].index("^")
    assert run("check", "--schema", "-", "--text", '{"age": 1}', stdin=json.dumps(SCHEMA))[0] == 0


@pytest.mark.parametrize(
    ("source", "text", "told"),
    [
        ("--regex", "(a", "(a\n^"),
        ("--ebnf", "root ::= b", "root ::= b\n         ^"),
        ("--schema", '{"type": "string", "minLength": 5, "maxLength": 2}', "#/minLength"),
        ("--xml", "<!ELEMENT a (b)>", "not declared"),
        ("--lark", "start: x", "not served"),
    ],
)
def test_what_is_not_served_says_why(run, source, text, told):
    code, _, err = run("check", source, text if source == "--regex" else "-", stdin=text)
    assert code == 1
    assert told in err


def test_samples_are_members_and_the_same_for_a_seed(run):
    code, out, _ = run("sample", "--schema", "-", "-n", "4", "--seed", "7", stdin=json.dumps(SCHEMA))
    assert code == 0
    assert len(out.splitlines()) == 4
    assert all(json.loads(line)["age"] >= 0 for line in out.splitlines())
    assert out == run("sample", "--schema", "-", "-n", "4", "--seed", "7", stdin=json.dumps(SCHEMA))[1]
    assert out != run("sample", "--schema", "-", "-n", "4", "--seed", "8", stdin=json.dumps(SCHEMA))[1]


def test_explain_writes_what_is_enforced(run, tmp_path):
    file = tmp_path / "a.dtd"
    file.write_text(DTD)
    code, out, _ = run("explain", "--xml", str(file))
    assert code == 0
    assert out.startswith("root ::= ")
    again = run("check", "--ebnf", "-", "--text", "<a><b>x</b><c/></a>", stdin=out)  # what it writes can be read
    assert again[0] == 0


def test_a_file_that_is_not_there_is_one_line(run):
    code, _, err = run("check", "--schema", "/no/such/file")
    assert code == 1
    assert err.count("\n") == 1


def test_a_report_can_be_json(run):
    report = json.loads(run("check", "--choices", "one|two", "--text", "tw", "--json")[1])
    assert report["engine"] == "automaton"
    assert report["text"]["num_bytes"] == 2


@pytest.mark.model
def test_a_models_tokenizer_is_enough(run):
    code, out, _ = run("check", "--regex", "a+", "--model", "smollm2-135m-instruct")
    assert code == 0
    assert "automaton" in out


@pytest.mark.parametrize(
    ("source", "text"),
    [("--regex", "("), ("--lark", "start: /a"), ("--ebnf", 'root ::= "x" root'), ("--choices", "\udcff|\udcff")],
)
def test_what_is_not_served_is_not_explained(run, source, text):
    in_file = source in ("--lark", "--ebnf")
    code, out, err = run("explain", source, "-" if in_file else text, stdin=text if in_file else "")
    assert (code, out) == (1, "")
    assert err.startswith("not served: ")


def test_a_text_that_is_not_utf8_is_refused_in_our_words(run):
    code, out, err = run("check", "--regex", "a+", "--text", "a\udcff")  # as an argument of any bytes arrives
    assert (code, out) == (1, "")
    assert "UTF-8" in err
