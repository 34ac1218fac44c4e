from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.lang.partial_json import completions, partial_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_every_prefix_of_a_document_completes_to_documents(data, ascii_only):
    text = json.dumps(data, ensure_ascii=ascii_only)
    for end in range(len(text) + 1):
        for document in completions(text[:end]):
            json.loads(document)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=4), max_size=3))
def test_partial_objects_only_grow(data):
    text = json.dumps(data)
    last = {}
    for end in range(1, len(text) + 1):
        value = partial_value(text[:end], dict)
        assert set(last) <= set(value)
        assert all(value[name].startswith(last[name]) for name in last)
        last = value
    assert last == data


def test_numbers_and_keys_wait_until_they_are_certain():
    assert partial_value('{"a": 12', dict) == {}
    assert partial_value('{"a": 12,', dict) == {"a": 12}
    assert partial_value('{"a": "x", "b', dict) == {"a": "x"}
    with pytest.raises(ValueError, match="no value"):
        partial_value("tru", bool)
