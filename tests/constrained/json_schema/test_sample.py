"""The bundled sample of schemas: all are served, every valid document is accepted, no invalid one is."""

import itertools
import json
from pathlib import Path

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

CASES = json.loads((Path(__file__).parents[1] / "data/schemas.json").read_text())
VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
LEAST_SERVED = 0.97


def orders(document):
    """The document, and as many orders of its keys as may be tried: the engine fixes that of listed ones."""
    if not isinstance(document, dict):
        return [document]
    return [dict(items) for items in itertools.islice(itertools.permutations(document.items()), 24)]


def test_the_sample_is_served_exactly() -> None:
    refused, wide, narrow = [], [], []
    for case in CASES:
        try:
            grammar = compile_constraint(JsonSchema(json.dumps(case["schema"])), VOCABULARY)
        except GrammarError as error:
            refused.append((case["name"], error.message))
            continue

        def accepted(document, grammar=grammar) -> bool:
            token_ids = VOCABULARY.tokenize(json.dumps(document, ensure_ascii=False).encode())
            return grammar.matcher().would_accept([*token_ids, 0]) == len(token_ids) + 1

        wide += [(case["name"], document) for document in case["invalid"] if accepted(document)]
        narrow += [(case["name"], one) for one in case["valid"] if not any(map(accepted, orders(one)))]
    assert not wide
    assert not narrow
    assert len(refused) <= (1 - LEAST_SERVED) * len(CASES), refused
