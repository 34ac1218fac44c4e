"""JSON-Schema-Test-Suite: every group is served exactly or refused; no invalid document is ever accepted.

JSON_SCHEMA_TEST_SUITE: a checkout, or a folder that holds draft2020-12/*.json and others.
"""

import json
import os
from pathlib import Path

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

ROOT = os.environ.get("JSON_SCHEMA_TEST_SUITE", "")
DRAFTS = ("draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")
URIS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)


def files() -> list[Path]:
    found = sorted(Path(ROOT).rglob("*.json")) if ROOT else []
    return [p for p in found if p.parent.name in DRAFTS]


def text_of(value) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.skipif(not files(), reason="JSON_SCHEMA_TEST_SUITE names no suite")
@pytest.mark.parametrize("path", files(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_invalid_document_is_accepted(path: Path, record_property) -> None:
    wrong, num_refused, missed = [], 0, []
    groups = json.loads(path.read_text())
    for group in groups:
        schema = group["schema"]
        if isinstance(schema, dict) and path.parent.name in URIS:
            schema = {"$schema": URIS[path.parent.name], **schema}
        try:
            grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
        except GrammarError as error:
            num_refused += 1
            if error.code == "unsatisfiable_schema" and any(test["valid"] for test in group["tests"]):
                wrong.append((group["description"], "called unsatisfiable", error.message))
            continue
        for test in group["tests"]:
            try:
                token_ids = VOCABULARY.tokenize(text_of(test["data"]).encode())
            except UnicodeEncodeError:
                continue
            is_accepted = grammar.matcher().would_accept([*token_ids, 0]) == len(token_ids) + 1
            if is_accepted and not test["valid"]:
                wrong.append((group["description"], test["description"], test["data"]))
            if test["valid"] and not is_accepted:
                missed.append((group["description"], test["description"], test["data"]))
    record_property("groups", len(groups))
    record_property("refused", num_refused)
    record_property("missed", [str(m) for m in missed])
    assert not wrong
