"""JSONSchemaBench: real schemas, valid documents accepted unless their keys stand in another order, invalid refused.

JSONSCHEMABENCH: a folder of JSON files, each a schema or {"json_schema" or "schema", "tests": [{"valid", "data"}]}.
JSONSCHEMABENCH_LEAST_SERVED: the share that must be served, 0.97 unless told, for other collections.
"""

import json
import os
from pathlib import Path

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

ROOT = os.environ.get("JSONSCHEMABENCH", "")
VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
LEAST_SERVED = float(os.environ.get("JSONSCHEMABENCH_LEAST_SERVED", "0.97"))


def cases() -> list[Path]:
    return sorted(Path(ROOT).rglob("*.json"))[:500] if ROOT else []


@pytest.mark.slow
@pytest.mark.skipif(not cases(), reason="JSONSCHEMABENCH names no schemas")
def test_real_schemas_are_served_exactly_or_refused_with_their_place() -> None:
    wrong, num_refused = [], 0
    for path in cases():
        content = json.loads(path.read_text())
        schema = content.get("json_schema", content.get("schema", content)) if "tests" in content else content
        try:
            grammar = compile_constraint(
                JsonSchema(schema if isinstance(schema, str) else json.dumps(schema)), VOCABULARY
            )
        except GrammarError as error:
            num_refused += 1
            if error.code == "unsupported_schema" and not getattr(error, "pointer", None):
                wrong.append((path.name, "refused without a place", error.message))
            continue
        for test in content.get("tests", []):
            token_ids = VOCABULARY.tokenize(json.dumps(test["data"], ensure_ascii=False).encode())
            if not test["valid"] and grammar.matcher().would_accept([*token_ids, 0]) == len(token_ids) + 1:
                wrong.append((path.name, "accepted", test["data"]))
    assert not wrong
    assert num_refused <= (1 - LEAST_SERVED) * len(cases())
