import json

import pytest

from radixlang.errors import BadCheckpoint, ModelNotFound
from radixlang.runtime.weights.json_files import MAX_JSON, read_json, read_json_if_there


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000, b"\x00", b"\xff{}", b'{"a": "\\ud800"}'),
        *(b'{"\\uDFFF": 1}', '{"a": 1}'.encode("utf-16"), b'{"a": ' + b"9" * 5000 + b"}"),
    ],
)
def test_what_is_no_object_in_utf8_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(BadCheckpoint, match=r"config\.json") as caught:
        read_json(tmp_path / "config.json")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_escaped_pairs_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}')
    assert read_json(path) == {"a": "😀"}


def test_a_file_that_is_not_there_is_none_or_no_model(tmp_path):
    assert read_json_if_there(tmp_path / "generation_config.json") is None
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        read_json(tmp_path / "config.json")


def test_a_file_without_an_end_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON + 1)
    with pytest.raises(BadCheckpoint, match=f"more than {MAX_JSON} bytes"):
        read_json(path)


def test_keys_and_values_come_as_they_are(tmp_path):
    told = {"a": [1, 2.5, None, True], "b": {"c": "ü"}}
    (tmp_path / "x.json").write_text(json.dumps(told))
    assert read_json(tmp_path / "x.json") == told
