"""What is weighed is what the engine makes: alternatives that hold at once multiply, others add up."""

from radixlang.constrained.json_schema.weight import MAX_WEIGHT, is_too_heavy, weight


def options(count: int) -> dict:
    return {"anyOf": [{"required": [f"n{i}"]} for i in range(count)]}


def test_alternatives_by_themselves_add_up():
    assert weight({"anyOf": [{"type": "object", "properties": {"a": {}}}] * 50}) < 200
    assert weight({"type": "object", "properties": {f"p{i}": options(10) for i in range(10)}}) < 200


def test_alternatives_that_hold_at_once_multiply():
    assert weight({"allOf": [options(10), options(10)]}) >= 100
    assert weight({"allOf": [options(10)] * 5}) >= 10**5
    assert weight({"allOf": [options(10)] * 60}) == 10**9


def test_references_count_once_by_themselves_and_each_time_beside_others():
    large = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(100)}}
    alone = {"properties": {f"q{i}": {"$ref": "#/$defs/d0"} for i in range(30)}, "$defs": {"d0": large}}
    beside = {
        "properties": {f"q{i}": {"$ref": "#/$defs/d0", "minProperties": 1} for i in range(30)},
        "$defs": {"d0": large},
    }
    assert weight(alone) < 200
    assert weight(beside) > 3000


def test_circles_end():
    node = {"anyOf": [{"$ref": "#/$defs/d0"}, {"type": "null"}], "properties": {"next": {"$ref": "#/$defs/d0"}}}
    assert weight({"$ref": "#/$defs/d0", "$defs": {"d0": {"allOf": [node, {"$ref": "#/$defs/d0"}]}}}) < MAX_WEIGHT


def test_what_is_only_large_is_not_too_heavy():
    large = {"anyOf": [{"properties": {f"a{i}": {}, f"b{i}": {}}} for i in range(MAX_WEIGHT)]}
    assert weight(large) > MAX_WEIGHT
    assert not is_too_heavy(large)
    assert is_too_heavy({"allOf": [options(10)] * 5})
    assert not is_too_heavy({"allOf": [options(10)] * 2})
