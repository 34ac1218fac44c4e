"""Names of adapters: how they are given, which are taken, and which prefixes their requests share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.errors import BadAdapter, ConfigError
from radixlang.runtime.lora.names import AdapterNames, namespace_of, parse_paths
from radixlang.runtime.weights.open import open_checkpoint


@pytest.fixture
def names(tiny_model_dir):
    return AdapterNames(open_checkpoint(tiny_model_dir), max_rank=0)


def test_the_three_spellings_of_a_path():
    found = parse_paths(["a=/x/y", "/z", '{"lora_name": "c", "lora_path": "/q=r"}', "d=/s=t"])
    assert {name: str(path) for name, path in found.items()} == {"a": "/x/y", "/z": "/z", "c": "/q=r", "d": "/s=t"}


@pytest.mark.parametrize("entries", [["a="], ["=x"], ["a=1", "a=2"], ['{"lora_name": 1}'], ["{"], ["a\nb=x"]])
def test_a_bad_entry_is_refused(entries):
    with pytest.raises(ConfigError, match="--lora-paths") as caught:
        parse_paths(entries)
    assert caught.value.param == "lora_paths"


def test_the_largest_rank_is_that_of_the_start_but_at_least_16(names, tmp_path, tiny_model_dir, make_adapter):
    make_adapter(tmp_path / "a", tiny_model_dir, rank=24, targets=("q_proj",))
    make_adapter(tmp_path / "b", tiny_model_dir, rank=25, targets=("q_proj",))
    names.start([f"a={tmp_path / 'a'}"])
    assert names.max_rank == 24
    with pytest.raises(BadAdapter, match="--max-lora-rank 25"):
        names.read(tmp_path / "b")
    other = AdapterNames(open_checkpoint(tiny_model_dir), max_rank=0)
    other.start([])
    assert other.max_rank == 16


def test_an_adapter_of_the_start_that_is_bad_is_named(names, tmp_path):
    with pytest.raises(ConfigError, match=r"--lora-paths a: .*not a peft adapter's folder"):
        names.start([f"a={tmp_path}"])


def test_a_name_is_taken_once_and_free_again(names, tmp_path, tiny_model_dir, make_adapter):
    adapter = names.read(make_adapter(tmp_path / "a", tiny_model_dir))
    names.add("a", adapter)
    assert (names.get("a"), names.get("b"), names.paths()) == (adapter, None, {"a": str(tmp_path / "a")})
    with pytest.raises(BadAdapter, match="loaded already"):
        names.add("a", adapter)
    for bad in ("", "x" * 300, "a\x00"):
        with pytest.raises(BadAdapter, match="printable"):
            names.add(bad, adapter)
    names.remove("a")
    names.add("a", adapter)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_salt_leads_into_the_prefixes_of_an_adapter(own, other):
    class Adapter:
        digest = "0123"

    assert namespace_of(own, Adapter) != namespace_of(other, None)
    assert namespace_of(f"lora:0123:{own}", None) != namespace_of(own, Adapter)
    assert (namespace_of(own, None) == namespace_of(other, None)) == (own == other)
    assert (namespace_of(own, Adapter) == namespace_of(other, Adapter)) == (own == other)
