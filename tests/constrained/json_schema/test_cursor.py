import json

from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.json_schema.cursor import JsonCursor

VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=12,
)


def at(value, path):
    for step in path:
        value = value[step]
    return value


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@given(VALUES, st.booleans(), st.integers(1, 5))
def test_every_value_ends_once_where_it_ends(value, is_ascii: bool, step: int) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    cursor = JsonCursor()
    ended = [one for i in range(0, len(text), step) for one in cursor.feed(text[i : i + step])]
    ended += cursor.finish()
    assert sorted(map(repr, (one.path for one in ended))) == sorted(map(repr, places(value)))
    for one in ended:
        assert json.loads(text[one.start : one.end]) == at(value, one.path)
        assert (one.array >= 0) == (one.path != () and isinstance(one.path[-1], int))
        assert one.array < 0 or text[one.array : one.array + 1] == b"["
        assert one.name_end < 0 or text[one.name_end - 1 : one.name_end] == b'"'
        assert (one.name_end >= 0) == (one.path != () and isinstance(one.path[-1], str))


class Recorder:
    """A judge that has seen it all and never refuses."""

    def __init__(self) -> None:
        self.seen = []

    def may_become_valid(self, root) -> bool:
        self.seen.append(root.plain())
        return True


@given(VALUES, st.integers(1, 5))
def test_a_judge_sees_the_document_grow(value, step: int) -> None:
    text = json.dumps(value).encode()
    judge = Recorder()
    cursor = JsonCursor(judge)
    ended = [one for i in range(0, len(text), step) for one in cursor.feed(text[i : i + step])]
    ended += cursor.finish()
    assert judge.seen[-1] == value
    assert len(judge.seen) == len(ended) + sum(one.name_end >= 0 for one in ended)  # names are judged, too
    assert cursor.fault is None


def test_the_first_value_that_is_refused_is_the_fault() -> None:
    class Refuses:
        def may_become_valid(self, root) -> bool:
            return root.plain() != {"a": [1, 2]}

    cursor = JsonCursor(Refuses())
    cursor.feed(b'{"a": [1, 2]}')
    assert cursor.fault is not None
    assert (cursor.fault.path, cursor.fault.end, cursor.fault.name_end) == (("a", 1), 11, -1)


def test_open_containers_are_told_outermost_first() -> None:
    cursor = JsonCursor()
    cursor.feed(b'{"a": [1, {"b": [2, "x')
    assert list(cursor.containers()) == [((), 0), (("a",), 6), (("a", 1), 10), (("a", 1, "b"), 16)]
    assert cursor.path == ("a", 1, "b", 1)
