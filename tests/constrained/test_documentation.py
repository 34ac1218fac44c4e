"""docs/constrained.md says what the code does: every row of its tables and every command is tried."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from radixlang import cli
from radixlang.constrained.constraint import JsonSchema, Regex
from radixlang.constrained.explain import check
from radixlang.constrained.fields import FIELD_NAMES, OPTIONS, find_constraint
from radixlang.constrained.json_schema.checks import CHECKS
from radixlang.constrained.json_schema.complement import ASSERTIONS
from radixlang.constrained.json_schema.marks import first_mark
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.errors import GrammarError

PAGE = (Path(__file__).parents[2] / "docs" / "constrained.md").read_text(encoding="utf-8")


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose first header is `first`, code without its backticks."""
    table = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None, first
    cells = [re.split(r"(?<!\\) \| ", line.strip("| \n")) for line in table.group(1).splitlines()]
    return [[cell.strip().strip("`").replace("\\|", "|") for cell in line] for line in cells]


def served(keyword: str, schema: str) -> str:
    try:
        found = normalise(schema)
    except GrammarError as error:
        return "empty: refused" if error.code == "unsatisfiable_schema" else "refused"
    if found.ignored:
        return "annotation"
    text = json.dumps(found.schema)
    if first_mark(found.schema) is not None:
        return "checked while it is written"
    return "as it is" if f'"{keyword}"' in text else "rewritten"


@pytest.mark.parametrize(("keyword", "schema", "told"), rows("keyword"))
def test_a_keyword_is_served_as_the_table_says(keyword: str, schema: str, told: str) -> None:
    assert keyword in json.loads(schema) or f'"{keyword}"' in schema
    assert served(keyword, schema) == told


def test_every_keyword_is_in_the_table() -> None:
    assert {row[0] for row in rows("keyword")} == ASSERTIONS | CHECKS.keys()


@pytest.mark.parametrize(("field", "example", "kind"), rows("field"))
def test_a_field_is_read_as_the_table_says(field: str, example: str, kind: str) -> None:
    found = find_constraint({field: json.loads(example)})
    assert found is not None
    assert type(found.constraint).__name__ == kind


def test_every_field_and_option_is_in_its_table() -> None:
    assert {row[0] for row in rows("field")} == FIELD_NAMES - OPTIONS.keys()
    assert {row[0] for row in rows("option")} == OPTIONS.keys()


@pytest.mark.parametrize(("pattern", "engine"), rows("pattern"))
def test_a_pattern_is_served_by_what_the_table_says(compiler, pattern: str, engine: str) -> None:
    report = check(Regex(pattern), compiler)
    assert (report.engine if report.is_valid else "refused") == engine


@pytest.mark.parametrize(("policy", "_", "example"), rows("policy")[:2])
def test_white_space_is_as_the_table_says(compiler, accepts, policy: str, _: str, example: str) -> None:
    name = policy.split("`")[0]
    grammar = compiler.compile(JsonSchema('{"type": "object"}', name))
    other = compiler.compile(JsonSchema('{"type": "object"}', "fixed" if name == "compact" else "compact"))
    assert accepts(grammar, example)
    assert not accepts(other, example)
    assert accepts(compiler.compile(JsonSchema('{"type": "object"}', "flexible")), example)


@pytest.mark.parametrize(("_", "limit", "where"), rows("what"))
def test_a_limit_is_what_the_code_has(_: str, limit: str, where: str) -> None:
    module, name = where.rsplit(".", 1)
    assert getattr(importlib.import_module(f"radixlang.constrained.{module}"), name) == int(limit)


@pytest.mark.parametrize(("code", "_", "body"), rows("code"))
def test_an_error_has_the_code_that_the_table_says(compiler, code: str, _: str, body: str) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(find_constraint(json.loads(body)).constraint)
    assert caught.value.code == code


def test_commands_print_what_the_page_says(capsys) -> None:
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for command, expected in re.findall(r"^\$ radixlang (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            cli.main(shlex.split(command))
            printed = "".join(capsys.readouterr())
            pattern = re.escape(expected).replace("…", ".*")
            assert re.fullmatch(pattern, printed), (command, printed)
