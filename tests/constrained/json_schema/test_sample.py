"""The bundled samples of schemas: all are served, every valid document is accepted, no invalid one is."""

import itertools
import json
from pathlib import Path

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

SAMPLES = {
    name: json.loads((Path(__file__).parents[1] / f"data/{name}.json").read_text()) for name in ("schemas", "published")
}
VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
LEAST_SERVED = 0.97


def orders(document):
    """The document, and as many orders of its keys as may be tried: the engine fixes that of listed ones."""
    if isinstance(document, list):
        inner = itertools.product(*(orders(item) for item in document))
        return [list(items) for items in itertools.islice(inner, 24)]
    if not isinstance(document, dict):
        return [document]
    inner = itertools.product(*(orders(value) for value in document.values()))
    filled = [dict(zip(document, values, strict=True)) for values in itertools.islice(inner, 24)]
    return [dict(p) for one in filled for p in itertools.islice(itertools.permutations(one.items()), 24)]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_served_exactly(name: str) -> None:
    refused, wide, narrow = [], [], []
    for case in SAMPLES[name]:
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
    assert len(refused) <= (1 - LEAST_SERVED) * len(SAMPLES[name]), refused
