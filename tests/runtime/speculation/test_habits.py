"""Files of habits: whole or left out, and those of this machine before those of the package."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from radixlang.runtime.speculation.habit_learning import Text, learn_habits
from radixlang.runtime.speculation.habits import find_habits, habit_file, read_habits, write_habits


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIXLANG_CACHE", str(tmp_path))


def learned(*ids):
    return learn_habits([Text(np.array(ids, np.int32), 0, True)] * 3, [])


def test_a_file_holds_what_was_learned(tmp_path) -> None:
    habits = learned(1, 2, 3, 4, 99)
    write_habits(tmp_path / "h.habits", habits)
    found = read_habits(tmp_path / "h.habits", 100)
    assert np.array_equal(found.entries_N, habits.entries_N)
    assert np.array_equal(found.rates_SOL2, habits.rates_SOL2)


def test_habits_of_this_machine_are_found() -> None:
    assert find_habits("digest", 100) is None
    write_habits(habit_file("digest"), learned(1, 2, 3))
    assert find_habits("digest", 100) is not None
    assert find_habits("other", 100) is None


def test_a_larger_vocabulary_or_another_version_is_no_match(tmp_path) -> None:
    path, habits = tmp_path / "h.habits", learned(1, 2, 99)
    write_habits(path, habits)
    with pytest.raises(ValueError, match="vocabulary of 99"):
        read_habits(path, 99)
    path.write_bytes(path.read_bytes().replace(b"habits 1", b"habits 0", 1))
    with pytest.raises(ValueError, match="version"):
        read_habits(path, 100)
    levels = habits.entries_N.copy()
    levels["level"] += 8
    for bad, words in (
        (habits._replace(entries_N=levels), "vocabulary"),
        (habits._replace(entries_N=habits.entries_N[:-1]), "size"),
        (habits._replace(rates_SOL2=habits.rates_SOL2 * np.nan), "rates"),
    ):
        write_habits(path, bad)
        with pytest.raises(ValueError, match=words):
            read_habits(path, 100)


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_damaged_file_is_left_out_and_told(caplog, cut) -> None:
    path = habit_file("digest")
    write_habits(path, learned(1, 2, 3))
    path.write_bytes(path.read_bytes()[:cut])
    with caplog.at_level(logging.WARNING):
        assert find_habits("digest", 100) is None
    assert str(path) in caplog.text


@pytest.mark.model
def test_the_default_model_has_habits(default_model_path) -> None:
    from radixlang.runtime.tokenizer.open import open_tokenizer

    tokenizer = open_tokenizer(default_model_path)
    habits = find_habits(tokenizer.digest, tokenizer.vocab_size)
    assert habits is not None
    assert (habits.entries_N["token"] >= 0).sum() > 10_000
