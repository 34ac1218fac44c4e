"""A compiled program on a pool too small for all that it says: what it needs later outlives what it needs no more."""

from __future__ import annotations

import pytest

import radixlang as sgl

WORDS = ("river", "stone", "lamp", "garden", "letter", "winter", "bread", "window", "horse", "paper", "clock", "bridge")
RULES = "You judge notes by these rules. " + " ".join(f"Rule {i}: {' '.join(WORDS[i % 5 :][:8])}." for i in range(20))
NUM_RULE_TOKENS = 280  # at least


@sgl.function
def reader(s, page, before):
    s += page + before + sgl.gen("note", max_tokens=4, ignore_eos=True)


@sgl.function
def critic(s, note):
    s += RULES + note + sgl.gen("verdict", max_tokens=4, ignore_eos=True)


@sgl.function
def flow(s, first, second, third):
    note = reader(page=first, before=".")["note"]
    note = reader(page=second, before=note)["note"]
    note = reader(page=third, before=note)["note"]
    s += "The verdict: " + critic(note=note)["verdict"]


def pages(run: int) -> dict[str, str]:
    """Of about 270 tokens each, unlike those of any other run."""
    words = " ".join(f"{run}{word}{i}" for i in range(6) for word in WORDS)
    return {name: f"Page {name} of {run}: {words}" for name in ("first", "second", "third")}


def cached_in_second_run(policy: str, *, is_compiled: bool) -> int:
    """Prompt tokens. The pool has room for the rules and a page, not for two pages more."""
    with sgl.Engine(
        model_path="smollm2-135m-instruct",
        max_total_tokens=720,
        context_length=512,
        radix_eviction_policy=policy,
        speculative_algorithm="none",
    ) as engine:
        program = flow.compile(mode="graph") if is_compiled else flow
        for run in range(2):
            state = program.run(backend=engine, temperature=0, **pages(run))
            state.sync()
            assert state.error() is None
        return int(state.usage.cached_tokens)


@pytest.mark.model
def test_what_a_graph_says_is_needed_later_stays_where_lru_loses_it() -> None:
    assert cached_in_second_run("lru", is_compiled=False) < 20
    assert cached_in_second_run("program-gdsf", is_compiled=True) >= NUM_RULE_TOKENS
