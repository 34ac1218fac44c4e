"""Drafts change no output: ends, log-probabilities, grammars and the cache are as they would be without."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Abort, LogprobRequest
from radixlang.runtime.model_runner.plan import uniform
from radixlang.runtime.scheduler.penalties import Penalties
from radixlang.runtime.speculation.lookup import LookupDrafter
from radixlang.runtime.speculation.tree import TreeDrafter

PROMPT = [(i * 17 + 3) % 61 for i in range(24)]


@pytest.fixture(params=[False, True], ids=["sync", "overlap"])
def harness_of(request, make_harness, let_guess):
    """A harness that tries every draft of a drafter that knows the answers, but for every third place or so."""

    def make(*drafters, is_wrong=lambda position: position % 3 == 0, max_draft_len=8, **config):
        harness = make_harness(disable_overlap_schedule=not request.param, **config)
        return let_guess(harness, *drafters, is_wrong=is_wrong, max_draft_len=max_draft_len)

    return make


def drafts_of(harness, rid):
    return [output.drafts for output in harness.outputs[rid] if output.drafts is not None]


def test_right_drafts_save_steps_and_are_counted(harness_of) -> None:
    harness = harness_of(is_wrong=lambda position: False, max_draft_len=3)
    harness.submit("a", PROMPT, max_new_tokens=17, ignore_eos=True)
    harness.run()
    assert harness.token_ids["a"] == harness.expected(PROMPT, 17)
    assert harness.executor.num_steps == 5  # the first step drafts behind the prompt: 4 tokens a step, then the last
    counts = drafts_of(harness, "a")[-1]
    assert (counts.verified, counts.proposed, counts.correct) == (4, 12, 12)
    assert harness.stats["spec_accept_rate"] == 1.0
    assert harness.stats["spec_accept_length"] == 1 + counts.correct / counts.verified
    assert harness.stats["generation_tokens_total"] == 17


def test_who_streams_is_told_token_by_token_as_without_drafts(harness_of) -> None:
    harness = harness_of(is_wrong=lambda position: False, max_draft_len=16)
    asked = LogprobRequest(True, -1, 1, ())
    harness.submit("streams", PROMPT, max_new_tokens=12, ignore_eos=True, logprobs=asked)
    harness.submit("waits", PROMPT[1:], max_new_tokens=12, ignore_eos=True, echo_steps=False)
    harness.run()
    assert harness.executor.num_steps == 1
    assert [len(output.token_ids) for output in harness.outputs["streams"]] == [1] * 12
    assert [len(output.logprobs) for output in harness.outputs["streams"]] == [1] * 12
    assert [len(output.token_ids) for output in harness.outputs["waits"]] == [12]
    assert harness.token_ids["streams"] == harness.expected(PROMPT, 12)


def test_wrong_drafts_cost_rows_but_no_token(harness_of) -> None:
    harness = harness_of(is_wrong=lambda position: True, max_draft_len=3)
    harness.submit("a", PROMPT, max_new_tokens=10, ignore_eos=True)
    harness.run()
    assert harness.token_ids["a"] == harness.expected(PROMPT, 10)
    assert harness.executor.num_steps == 10
    assert harness.stats["spec_correct_drafts_total"] == 0
    assert harness.stats["spec_proposed_drafts_total"] > 0
    assert harness.stats["spec_accept_length"] == 1.0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draw_uses_the_counter_that_it_has_without_drafts(harness_of, temperature) -> None:
    harness = harness_of()
    harness.submit("a", PROMPT, max_new_tokens=20, ignore_eos=True, temperature=temperature, sampling_seed=9)
    harness.run()
    assert harness.token_ids["a"] == harness.expected(PROMPT, 20, seed=9, temperature=temperature)
    assert harness.stats["spec_correct_drafts_total"] > 0


def test_an_end_inside_an_accepted_run_is_the_end(harness_of) -> None:
    whole = harness_of().expected(PROMPT, 20)
    for place in range(1, 9):
        stop = chr(ord("A") + whole[place])
        first = whole.index(whole[place])
        harness = harness_of(is_wrong=lambda position: False, eos={whole[place]})
        harness.submit("eos", PROMPT, max_new_tokens=20)
        harness.submit("id", PROMPT, max_new_tokens=20, ignore_eos=True, stop_token_ids=(whole[place],))
        harness.submit("text", PROMPT, max_new_tokens=20, ignore_eos=True, stop=(stop,))
        harness.submit("length", PROMPT, max_new_tokens=place, ignore_eos=True)
        harness.run()
        for rid in ("eos", "id", "text"):
            assert harness.token_ids[rid] == whole[: first + 1], rid
            assert harness.finish[rid].type == "stop"
        assert harness.token_ids["length"] == whole[:place]
        assert harness.finish["length"].type == "length"


def test_log_probabilities_are_those_of_the_tokens(harness_of) -> None:
    harness = harness_of()
    asked = LogprobRequest(True, -1, 2, (4,))
    harness.submit("a", PROMPT, max_new_tokens=12, ignore_eos=True, logprobs=asked)
    harness.run()
    tokens = harness.token_ids["a"]
    told = [x for output in harness.outputs["a"] for x in output.logprobs]
    assert [x.token_id for x in told] == tokens
    score = harness.executor.score_after
    assert [x.logprob for x in told] == [score(PROMPT + tokens[:i], token) for i, token in enumerate(tokens)]
    assert all(len(x.top) == 2 and len(x.asked) == 1 for x in told)
    assert harness.stats["spec_correct_drafts_total"] > 0


@pytest.mark.parametrize("jump", [False, True])
@pytest.mark.parametrize("wrong_every", [2, 5, 100])
def test_a_grammar_allows_what_it_allows_without_drafts(harness_of, make_harness, make_grammars, jump, wrong_every):
    options = {"disable_jump_forward": not jump}
    plain = make_harness(grammars=make_grammars(), **options)
    harness = harness_of(is_wrong=lambda position: position % wrong_every == 0, grammars=make_grammars(), **options)
    for one in (plain, harness):
        for i, pattern in enumerate(("2,3:20", "1,3:20", "3,1,1,2:20")):
            one.submit(f"r{i}", PROMPT[i:], max_new_tokens=16, constraint=Regex(pattern), ignore_eos=True)
        one.run()
    assert harness.token_ids == plain.token_ids
    assert harness.finish == plain.finish
    assert harness.stats["spec_correct_drafts_total"] > 0


def test_a_grammar_that_fails_on_a_draft_ends_nobody(harness_of, make_grammars, make_matcher, caplog) -> None:
    class Brittle(make_matcher):
        """Its copies break at their third token."""

        def copy(self):
            other = Brittle(self.widths, self.length)
            other.taken, other.steps = list(self.taken), 0
            return other

        def fill(self, mask_W):
            if hasattr(self, "steps"):
                self.steps += 1
                if self.steps == 3:
                    raise RuntimeError("injected")
            super().fill(mask_W)

    grammars = make_grammars()
    grammars.matcher_type = Brittle
    harness = harness_of(is_wrong=lambda position: False, grammars=grammars)
    harness.submit("a", PROMPT, max_new_tokens=12, constraint=Regex("3:20"), ignore_eos=True)
    harness.run()
    plain = make_matcher([3], 20)
    tokens = []
    for counter in range(12):
        allowed = set(plain.allowed())
        tokens.append(harness.executor.draw(PROMPT + tokens, 0, counter, 0.0, set(), allowed))
        plain.accept(tokens[-1])
    assert harness.token_ids["a"] == tokens
    assert "failed on a draft" in caplog.text
    assert harness.stats["spec_correct_drafts_total"] > 0


def test_the_cache_gets_what_was_accepted_and_nothing_else(harness_of) -> None:
    harness = harness_of(is_wrong=lambda position: position % 2 == 0)
    harness.submit("a", PROMPT, max_new_tokens=9, ignore_eos=True)
    harness.run()
    ids = np.array(PROMPT + harness.token_ids["a"], np.int32)
    cache = harness.scheduler._state.cache
    assert cache.match(ids, end=ids.size).length == ids.size - 1
    assert cache.total_len == ids.size - 1


def test_an_abort_while_a_draft_is_tried_frees_everything(harness_of) -> None:
    harness = harness_of()
    for i in range(3):
        harness.submit(f"r{i}", PROMPT[i:], max_new_tokens=40, ignore_eos=True)
    for steps, rid in ((3, "r0"), (2, "r1"), (1, "r2")):
        for _ in range(steps):
            harness.step()
        harness.scheduler.post(Abort(rid=rid))
    harness.run()
    assert harness.stats["num_used_tokens"] == 0
    assert all(finish.type == "abort" for finish in harness.finish.values())


def test_what_was_asked_before_is_drafted_from_the_tree(harness_of) -> None:
    for page_size in (1, 4):
        harness = harness_of(TreeDrafter(page_size, branches=page_size == 1), page_size=page_size)
        harness.submit("first", PROMPT, max_new_tokens=24, ignore_eos=True)
        harness.run()
        before = harness.executor.num_steps
        harness.submit("again", PROMPT, max_new_tokens=24, ignore_eos=True)
        harness.run()
        assert harness.token_ids["again"] == harness.token_ids["first"]
        assert harness.executor.num_steps - before <= 6, page_size
        assert drafts_of(harness, "first") == []


def test_a_text_that_repeats_is_drafted_from_itself_and_from_what_others_said(harness_of) -> None:
    harness = harness_of(LookupDrafter())
    harness.submit("first", PROMPT, max_new_tokens=24, ignore_eos=True)
    harness.run()
    said = harness.token_ids["first"]
    harness.submit("again", PROMPT, max_new_tokens=24, ignore_eos=True)
    harness.run()
    assert harness.token_ids["again"] == said
    assert drafts_of(harness, "again")[-1].correct > 12
    harness.submit("hidden", PROMPT, max_new_tokens=24, ignore_eos=True, namespace="other")
    harness.run()
    assert harness.token_ids["hidden"] == said
    assert not drafts_of(harness, "hidden") or drafts_of(harness, "hidden")[-1].correct == 0


def test_drafts_take_no_memory_that_others_need(harness_of) -> None:
    harness = harness_of(num_slots=96, max_context=64, max_running_requests=4)
    for i in range(8):
        harness.submit(f"r{i}", PROMPT[: 8 + i], max_new_tokens=30, ignore_eos=True)
    harness.run()
    for i in range(8):
        assert harness.token_ids[f"r{i}"] == harness.expected(PROMPT[: 8 + i], 30)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    prompt=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    output=st.lists(st.integers(0, 12), max_size=20),
    draft=st.lists(st.integers(0, 15), max_size=10),
)
def test_counts_behind_a_draft_are_those_of_having_taken_it(prompt, output, draft) -> None:
    ahead, taken = Penalties(np.array(prompt, np.int32)), Penalties(np.array(prompt, np.int32))
    for token in output:
        ahead.add(token)
        taken.add(token)
    ids, counts = ahead.with_drafted(np.array(draft, np.int32))
    for token in draft:
        taken.add(token)
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == dict(
        zip(taken.ids.tolist(), taken.counts.tolist(), strict=True)
    )
    assert len(set(ids.tolist())) == ids.size


def test_sampled_texts_have_the_distribution_of_the_model(make_harness, let_guess, monkeypatch) -> None:
    """Three tokens a text, three possible at each place: their joint frequencies against the product of the chances."""
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.05, 0.9, 0.05]])
    bounds = np.cumsum(chances, axis=1)

    def next_token(prefix_hash, seed, counter, temperature) -> int:
        return int(np.searchsorted(bounds[(prefix_hash >> 20) % 3], uniform(seed, counter), side="right"))

    counts = {}
    for wrong_every in (0, 1, 2):
        harness = make_harness(num_slots=8192, max_running_requests=64, max_queued_requests=4096)
        monkeypatch.setitem(type(harness.executor).execute.__globals__, "next_token", next_token)
        if wrong_every:
            let_guess(harness, is_wrong=lambda position, every=wrong_every: position % every == 0)
        for i in range(1500):
            harness.submit(f"r{i}", PROMPT, max_new_tokens=3, ignore_eos=True, temperature=1.0, sampling_seed=i)
        harness.run()
        counts[wrong_every] = Counter(tuple(tokens) for tokens in harness.token_ids.values())
    assert counts[1] == counts[2] == counts[0]
    assert harness.stats["spec_correct_drafts_total"] > 500
    hash_of = harness.executor.hash_of
    distance = 0.0
    for text in itertools.product(range(3), repeat=3):
        chance = math.prod(chances[(hash_of([*PROMPT, *text[:i]]) >> 20) % 3][token] for i, token in enumerate(text))
        distance += (counts[2][text] - 1500 * chance) ** 2 / (1500 * chance)
    assert distance < 55  # chi-square with 26 degrees of freedom: once in a thousand
