"""What a schema says twice is normalised once."""

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.json_schema.normalise import normalise
from radixlang.constrained.json_schema.twins import MIN_SIZE, Twins

LARGE = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(MIN_SIZE)}}


def test_equal_objects_share_a_number_if_their_keys_stand_in_the_same_order():
    turned = {"properties": LARGE["properties"], "type": "object"}
    document = {"a": copy.deepcopy(LARGE), "b": copy.deepcopy(LARGE), "c": turned, "small": [{"x": 1}, {"x": 1}]}
    twins = Twins(document)
    assert twins.number(document["a"]) == twins.number(document["b"]) is not None
    assert twins.number(document["c"]) is None
    assert twins.number(document["small"][0]) is None


def test_one_and_true_are_told_apart():
    document = [{"enum": [1], **LARGE}, {"enum": [True], **LARGE}, {"enum": [1.0], **LARGE}]
    assert len({id(part) for part in document}) == 3
    assert all(Twins(document).number(part) is None for part in document)


def test_a_schema_of_many_copies_has_one_definition_of_them():
    schema = {"type": "object", "properties": {f"q{i}": copy.deepcopy(LARGE) for i in range(20)}}
    found = normalise(json.dumps(schema)).schema
    assert len(found["$defs"]) == 1
    assert len({json.dumps(part) for part in found["properties"].values()}) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["p0", "p1", "zz"]), max_size=3), st.sampled_from([1, "x"]))
def test_the_same_documents_are_accepted(compiler, vocabulary, keys, value):
    from radixlang.constrained.constraint import JsonSchema

    inner = {**LARGE, "additionalProperties": False}
    schema = {"type": "object", "properties": {"a": inner, "b": copy.deepcopy(inner)}, "additionalProperties": False}
    grammar = compiler.compile(JsonSchema(json.dumps(schema), whitespace="fixed"))
    members = dict.fromkeys(sorted(set(keys)), value)
    expected = "zz" not in members and (not members or value == "x")
    for name in ("a", "b"):
        ids = [*vocabulary.tokenize(json.dumps({name: members}).encode()), min(vocabulary.eos_token_ids)]
        assert (grammar.matcher().would_accept(ids) == len(ids)) == expected
