"""What asks for a constraint where nothing reads it."""

import pytest

from radixlang.constrained.fields import FIELD_NAMES
from radixlang.constrained.foreign_fields import unread, unread_in

SCHEMA = {"type": "integer"}


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        ("extra_body", {"guided_json": SCHEMA, "top_k": 3}, ["extra_body.guided_json"]),
        ("extra_body", {"nvext": {"guided_regex": "a"}}, ["extra_body.nvext.guided_regex"]),
        ("sampling_params", {"regex": "[0-9]"}, ["sampling_params.regex"]),
        ("text", {"format": {"type": "json_object"}}, ["text.format"]),
        ("parameters", {"grammar": {"type": "regex", "value": "a"}}, ["parameters.grammar"]),
        ("generationConfig", {"responseSchema": SCHEMA}, ["generationConfig.responseSchema"]),
        ("guided_decoding", {"json": SCHEMA}, ["guided_decoding"]),
        ("guided_lark", 'start: "a"', ["guided_lark"]),
        ("response_schema", SCHEMA, ["response_schema"]),
        ("json_mode", True, ["json_mode"]),
        ("dtype", "int", ["dtype"]),
    ],
)
def test_constraints_under_other_names_and_in_other_places_are_found(name, value, paths):
    assert unread(name, value) == paths


@pytest.mark.parametrize("name", sorted(FIELD_NAMES))
def test_every_field_of_ours_is_found_in_an_object(name):
    assert unread("extra_body", {name: "x"}) == [f"extra_body.{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("json_mode", False),
        ("guided_json_schema", None),
        ("structured_output", {}),
        ("extra_body", {"top_k": 3, "guided_json": None}),
        ("guided_decoding_backend", "outlines"),
        ("metadata", {"schema": "v2", "format": "wide"}),
        ("text", {"verbosity": "low"}),
        ("extra_body", "guided_json"),
    ],
)
def test_what_asks_for_none_is_left_alone(name, value):
    assert unread(name, value) == []


def test_known_fields_of_an_object_are_read():
    assert unread_in({"format": {"type": "text"}, "schema": SCHEMA}, {"format"}, "text") == ["text.schema"]


def test_endless_nesting_ends():
    inner: dict = {"regex": "a"}
    for _ in range(2000):
        inner = {"extra_body": inner}
    assert unread("extra_body", inner) == []
