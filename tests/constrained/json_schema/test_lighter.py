"""What is too much for the engine is left to a judge, and means the same."""

import json

import jsonschema
import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint

STORY = {"type": "story", "version": "0.1"}
IMAGE = {"type": "image", "width": 1}


def contents(pattern: str) -> dict:
    """Stories that hold others, by names of which some are listed and match a pattern too: both must hold."""
    image = {"type": "object", "properties": {"type": {"enum": ["image"]}, "width": {"type": "integer"}}}
    some = {"oneOf": [{"$ref": "#/definitions/image"}, {"$ref": "#/definitions/video"}]}
    items = {
        "type": "object",
        "properties": {"basic": {"$ref": "#/definitions/content"}},
        "patternProperties": {pattern: some},
    }
    story = {
        "properties": {"type": {"enum": ["story"]}, "version": {}, "items": items},
        "required": ["type", "version"],
    }
    video = {"type": "object", "properties": {"type": {"enum": ["video"]}}, "required": ["type"]}
    content = {"oneOf": [{"$ref": f"#/definitions/{kind}"} for kind in ("story", "image", "video")]}
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "definitions": {
            "content": content,
            "story": {"type": "object", **story},
            "image": {**image, "required": ["type"], "additionalProperties": False},
            "video": video,
        },
        "$ref": "#/definitions/content",
    }


@pytest.mark.parametrize("pattern", ["^[a-zA-Z0-9_]*$", "^[^\u2028-]+$"])
def test_patterns_that_match_listed_names_may_lead_in_circles(vocabulary, accepts, pattern):
    schema = contents(pattern)
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)
    validator = jsonschema.Draft4Validator(schema)
    items = [
        {"basic": IMAGE},
        {"basic": STORY},
        {"lead": IMAGE, "basic": {"type": "video"}},
        {"lead": STORY},
        {"a-b": 3},
    ]
    documents = [STORY, IMAGE, *({**STORY, "items": each} for each in items)]
    assert {validator.is_valid(document) for document in documents} == {True, False}
    for document in documents:
        ordered = {**document, "items": dict(sorted(document["items"].items()))} if "items" in document else document
        assert accepts(grammar, json.dumps(ordered)) == validator.is_valid(document), document
