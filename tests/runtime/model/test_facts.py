from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radixlang.errors import BadCheckpoint
from radixlang.runtime.model.config import ModelConfig, RopeConfig
from radixlang.runtime.model.facts import Facts, checked

HERE = Path("config.json")


def facts(**values):
    return Facts(values, HERE)


def test_values_come_with_their_types():
    found = facts(n=3, x=1.5, t="a", f=False, many=[1, 2.5], inner={"n": 4})
    assert (found.integer("n"), found.number("x", 0.0), found.text("t"), found.flag("f", True)) == (3, 1.5, "a", False)
    assert found.numbers("many") == (1.0, 2.5)
    assert found.within("inner").integer("n") == 4
    assert (found.number("n", 0.0), found.integer("none", 7), found.text("none", "d"), found.numbers("none")) == (
        3.0,
        7,
        "d",
        (),
    )
    assert not found.within("none").has("n")


def test_null_is_as_good_as_missing():
    assert facts(n=None).integer("n", 5) == 5


@pytest.mark.parametrize(
    "read",
    [
        lambda: facts().integer("k"),
        lambda: facts(k="3").integer("k"),
        lambda: facts(k=True).integer("k"),
        lambda: facts(k=3.0).integer("k"),
        lambda: facts(k=0).integer("k"),
        lambda: facts(k=1 << 80).integer("k"),
        lambda: facts(k="x").number("k", 0),
        lambda: facts(k=float("nan")).number("k", 0),
        lambda: facts(k=float("inf")).number("k", 0),
        lambda: facts(k=-1.0).number("k", 0, low=0),
        lambda: facts(k=10**400).number("k", 0),
        lambda: facts(k=[10**400]).numbers("k"),
        lambda: facts(k=3).text("k"),
        lambda: facts(k=1).flag("k", True),
        lambda: facts(k="12").numbers("k"),
        lambda: facts(k=["a"]).numbers("k"),
        lambda: facts(k=[float("inf")]).numbers("k"),
        lambda: facts(k=[]).within("k"),
    ],
)
def test_what_is_not_as_it_must_be_is_named(read):
    with pytest.raises(BadCheckpoint, match=r"config\.json: k "):
        read()


CONFIG = ModelConfig(
    architecture="llama", vocab_size=8, hidden_size=8, intermediate_size=8, num_layers=2, num_heads=4, num_kv_heads=2,
    head_dim=4, max_context=16,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"num_kv_heads": 3},
        {"rope": RopeConfig(dim=3)},
        {"rope": RopeConfig(dim=6)},
        {"rope": RopeConfig(kind="longrope")},
        {"local_rope": RopeConfig(freq_factors=(1.0,))},
        {"rope": RopeConfig(freq_factors=(1.0, float("nan")))},
        {"rope": RopeConfig(factor=-1.0)},
        {"rope": RopeConfig(kind="longrope", original_max_context=1, short_factor=(1.0, 1.0), long_factor=(1.0, 1.0))},
        {"rope": RopeConfig(kind="llama3", low_freq_factor=4.0)},
        {"rope": RopeConfig(kind="dynamic", dim=2)},
        {"rope": RopeConfig(kind="yarn", theta=1.0)},
        {"rope": RopeConfig(kind="yarn", beta_fast=-1.0)},
        {"rope": RopeConfig(kind="yarn", factor=4.0, mscale=1.0, mscale_all_dim=-7.3)},
        {"max_context": (1 << 30) + 1},
        {"windows": (1,)},
        {"rope_layers": (True,)},
        {"eos_token_ids": (8,)},
        {"bos_token_id": -1},
    ],
)
def test_values_must_agree_with_each_other(changes):
    assert checked(CONFIG, HERE) is CONFIG
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        checked(replace(CONFIG, **changes), HERE)


def test_what_was_found_is_told_in_one_short_line():
    for wild in (np.arange(320), list(range(320)), "a\n" * 320, {"a": 1}, 10**400):
        for read in (Facts.integer, Facts.text) if not isinstance(wild, str) else (Facts.integer,):
            with pytest.raises(BadCheckpoint) as caught:
                read(facts(k=wild), "k")
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 200
