"""Drafts that branch change no output either, and the slots of the way that came end up where they belong."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from radixlang.runtime.messages import Abort, LogprobRequest
from radixlang.runtime.model_runner.plan import uniform
from radixlang.runtime.speculation.drafter import Draft
from radixlang.runtime.speculation.tree import TreeDrafter

PROMPT = [(i * 17 + 3) % 61 for i in range(24)]
VOCAB = 61


class Branches:
    """Grows random trees over what the shadow model draws and over what it does not."""

    name = "guesses"
    is_free = True

    def __init__(self, executor, seed: int, most: int, right: float) -> None:
        """right: chance that a token's children hold the one that comes."""
        self.executor, self.rng, self.most, self.right = executor, random.Random(seed), most, right

    def propose(self, tracks, num_tokens):
        return [self.guess(track) for track in tracks]

    def guess(self, track):
        request, known = track.request, track.ids[: track.known].tolist()
        temperature, seed = request.sample_head[0], request.sample_head[4]
        ids, parents, ways = [], [], [[]]
        for _ in range(self.rng.randint(1, self.most)):
            parent = self.rng.randrange(-1, len(ids))
            way = known + ways[parent + 1]
            token = self.executor.draw(way, seed, len(way) - request.prompt_len, temperature, (), None)
            token = token if self.rng.random() < self.right else self.rng.randrange(VOCAB)
            if any(p == parent and i == token for i, p in zip(ids, parents, strict=True)):
                continue
            ids.append(token)
            parents.append(parent)
            ways.append([*ways[parent + 1], token])
        parents = None if parents == list(range(-1, len(ids) - 1)) else np.array(parents, np.int32)
        return Draft(np.array(ids, np.int32), self.name, parents=parents)

    def step_seconds(self, num_tracks):
        return 0.0

    def observe(self, request, ids):
        pass

    def forget(self, track):
        pass

    def flush(self):
        pass


@pytest.fixture
def harness_of(make_harness, let_guess):
    def make(*, seed=0, most=20, right=0.7, **config):
        harness = make_harness(**config)
        return let_guess(harness, Branches(harness.executor, seed, most, right), max_draft_len=16)

    return make


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.0, 1.0]),
    right=st.sampled_from([0.3, 0.7, 1.0]),
    overlap=st.booleans(),
)
def test_tokens_are_those_of_no_draft(harness_of, seed, temperature, right, overlap) -> None:
    harness = harness_of(seed=seed, right=right, disable_overlap_schedule=not overlap)
    asked = LogprobRequest(True, -1, 1, ())
    for i in range(3):
        harness.submit(
            f"r{i}", PROMPT[i:], max_new_tokens=17, ignore_eos=True, temperature=temperature, sampling_seed=seed,
            logprobs=asked if i == 0 else None, frequency_penalty=0.25 * (i == 1),
        )  # fmt: skip
    harness.run()
    for i in range(3):
        expected = harness.expected(PROMPT[i:], 17, seed=seed, temperature=temperature)
        assert harness.token_ids[f"r{i}"] == expected
    told = [x for output in harness.outputs["r0"] for x in output.logprobs]
    tokens = harness.token_ids["r0"]
    score = harness.executor.score_after
    assert [x.logprob for x in told] == [score(PROMPT + tokens[:i], token) for i, token in enumerate(tokens)]


def test_another_way_than_the_first_saves_its_steps(make_harness, let_guess) -> None:
    """Every first child is wrong, every second one right."""

    class Second(Branches):
        def guess(self, track):
            request, known = track.request, track.ids[: track.known].tolist()
            ids, parents, way, parent = [], [], list(known), -1
            for _ in range(4):
                token = self.executor.draw(way, 0, len(way) - request.prompt_len, 0.0, (), None)
                ids += [(token + 1) % VOCAB, token]
                parents += [parent, parent]
                way.append(token)
                parent = len(ids) - 1
            return Draft(np.array(ids, np.int32), self.name, parents=np.array(parents, np.int32))

    harness = make_harness()
    let_guess(harness, Second(harness.executor, 0, 8, 1.0), max_draft_len=16)
    harness.submit("a", PROMPT, max_new_tokens=16, ignore_eos=True)
    harness.run()
    assert harness.token_ids["a"] == harness.expected(PROMPT, 16)
    assert harness.executor.num_steps <= 5  # of 16: a chain behind the prompt, then five tokens a step
    ids = np.array(PROMPT + harness.token_ids["a"], np.int32)
    cache = harness.scheduler._state.cache
    assert cache.match(ids, end=ids.size).length == ids.size - 1
    assert cache.total_len == ids.size - 1
    # What the cache holds is what was accepted: who goes on from it reads those slots, which the shadow checks.
    harness.submit("b", ids.tolist(), max_new_tokens=4, ignore_eos=True)
    harness.run()
    assert harness.token_ids["b"] == harness.expected(ids.tolist(), 4)


def test_ends_stops_and_aborts_inside_a_branch(harness_of) -> None:
    whole = harness_of().expected(PROMPT, 20)
    for place in range(1, 9):
        stop = chr(ord("A") + whole[place])
        harness = harness_of(seed=place, right=0.9, eos={whole[place]})
        harness.submit("eos", PROMPT, max_new_tokens=20)
        harness.submit("text", PROMPT, max_new_tokens=20, ignore_eos=True, stop=(stop,))
        harness.submit("length", PROMPT, max_new_tokens=place, ignore_eos=True)
        harness.submit("abort", PROMPT[1:], max_new_tokens=200, ignore_eos=True)
        for _ in range(place):
            harness.step()
        harness.scheduler.post(Abort(rid="abort"))
        harness.run()
        assert harness.token_ids["eos"] == harness.token_ids["text"] == whole[: whole.index(whole[place]) + 1]
        assert harness.token_ids["length"] == whole[:place]
        assert harness.stats["num_used_tokens"] == 0


def test_a_step_that_fails_is_run_in_parts_that_branch_too(harness_of) -> None:
    harness = harness_of(right=0.9)
    harness.executor.fail_at = 4
    for i in range(4):
        harness.submit(f"r{i}", PROMPT[i:], max_new_tokens=12, ignore_eos=True)
    harness.run()
    for i in range(4):
        assert harness.token_ids[f"r{i}"] == harness.expected(PROMPT[i:], 12)


def test_answers_of_the_same_prompt_are_all_tried(make_harness, let_guess) -> None:
    """Three different answers lie in the tree; each is found again, whichever was given last."""
    harness = make_harness()
    let_guess(harness, TreeDrafter(1, branches=True), max_draft_len=16)
    for seed in (1, 2, 3):
        harness.submit(f"s{seed}", PROMPT, max_new_tokens=12, ignore_eos=True, temperature=1.0, sampling_seed=seed)
        harness.run()
    for seed in (1, 2, 3):
        before = harness.executor.num_steps
        harness.submit(f"t{seed}", PROMPT, max_new_tokens=12, ignore_eos=True, temperature=1.0, sampling_seed=seed)
        harness.run()
        assert harness.token_ids[f"t{seed}"] == harness.token_ids[f"s{seed}"]
        assert harness.executor.num_steps - before <= 5


def test_pages_of_several_tokens_get_chains(make_harness) -> None:
    for page_size, branches in ((1, True), (4, False)):
        harness = make_harness(page_size=page_size, speculative_algorithm="tree")
        (drafter,) = harness.scheduler._state.speculator._drafters
        assert drafter._branches == branches


def test_sampled_texts_have_the_distribution_of_the_model(make_harness, let_guess, monkeypatch) -> None:
    """Three tokens a text, three possible at each place: their joint frequencies against the product of the chances."""
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.05, 0.9, 0.05]])
    bounds = np.cumsum(chances, axis=1)

    def next_token(prefix_hash, seed, counter, temperature) -> int:
        return int(np.searchsorted(bounds[(prefix_hash >> 20) % 3], uniform(seed, counter), side="right"))

    count = 1500
    harness = make_harness(num_slots=8192, max_running_requests=64, max_queued_requests=4096)
    monkeypatch.setitem(type(harness.executor).execute.__globals__, "next_token", next_token)
    let_guess(harness, TreeDrafter(1, branches=True), max_draft_len=16)
    for i in range(count):
        harness.submit(f"r{i}", PROMPT, max_new_tokens=3, ignore_eos=True, temperature=1.0, sampling_seed=i)
    harness.run()
    counts = Counter(tuple(tokens) for tokens in harness.token_ids.values())
    assert harness.stats["spec_correct_drafts_total"] > 500
    hash_of = harness.executor.hash_of
    distance = 0.0
    for text in itertools.product(range(3), repeat=3):
        chance = math.prod(chances[(hash_of([*PROMPT, *text[:i]]) >> 20) % 3][token] for i, token in enumerate(text))
        distance += (counts[text] - count * chance) ** 2 / (count * chance)
    assert distance < 55  # chi-square with 26 degrees of freedom: once in a thousand
