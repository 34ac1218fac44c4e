import json

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from radixlang.constrained.constraint import JsonSchema


@pytest.fixture(scope="session")
def check_schema(compiler, accepts, draw):
    """Compiles, checks documents of ours against grammar and validator, and validates drawn answers."""

    def check(schema, valid=(), invalid=(), *, seeds=range(4), strict=False):
        grammar = compiler.compile(JsonSchema(json.dumps(schema), strict=strict))
        validator = validator_for(schema, default=Draft202012Validator)(schema) if isinstance(schema, dict) else None
        for document in valid:
            assert validator is None or validator.is_valid(document), f"the test is wrong: {document}"
            assert accepts(grammar, json.dumps(document, ensure_ascii=False)), f"refused: {document}"
        for document in invalid:
            assert strict or validator is None or not validator.is_valid(document), f"the test is wrong: {document}"
            assert not accepts(grammar, json.dumps(document, ensure_ascii=False)), f"accepted: {document}"
        for seed in seeds:
            text, is_complete = draw(grammar, seed)
            if is_complete and validator is not None:
                validator.validate(json.loads(text))
        return grammar

    return check
