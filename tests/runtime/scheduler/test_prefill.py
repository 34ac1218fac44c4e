"""Prompts are computed once, in chunks, and shared: equal to a sequential reference, whatever the schedule."""

from __future__ import annotations

import random

import pytest

from radixlang.constrained.constraint import Regex


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
@pytest.mark.parametrize("no_cache", [False, True])
def test_outputs_equal_a_sequential_reference(make_harness, page_size, chunk, no_cache) -> None:
    harness = make_harness(page_size=page_size, chunked_prefill_size=chunk, disable_radix_cache=no_cache)
    draw = random.Random(1)
    stem = [draw.randrange(61) for _ in range(40)]
    prompts = {}
    for i in range(20):
        prompts[f"r{i}"] = stem[: draw.randrange(1, 40)] + [draw.randrange(3) for _ in range(draw.randrange(9))]
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=10, echo_steps=bool(draw.randrange(2)))
        if draw.random() < 0.5:
            harness.step()
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 10), rid
        assert harness.finish[rid].type == "length"
        assert harness.finish[rid].length == 10
    assert harness.stats["num_used_tokens"] == 0
    assert harness.executor.max_tokens <= chunk


def test_siblings_compute_their_prompt_once_and_draw_apart(make_harness) -> None:
    harness = make_harness()
    prompt = list(range(20))
    for i in range(4):
        rid = "x" if i == 0 else f"x#{i}"
        harness.submit(rid, prompt, max_new_tokens=1, n=4, sampling_seed=9, temperature=1.0, group="g", index=i)
    harness.run()
    assert harness.executor.num_computed == 20
    assert harness.executor.num_steps == 1
    for i in range(4):
        rid = "x" if i == 0 else f"x#{i}"
        assert harness.token_ids[rid] == harness.expected(prompt, 1, seed=9 + i, temperature=1.0)
        assert harness.outputs[rid][0].cached_len == (20 if i else 0)


def test_requests_of_one_step_share_what_it_computes(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1] * 30 + [2], max_new_tokens=2)
    harness.submit("b", [1] * 30 + [3], max_new_tokens=2)
    harness.run()
    assert harness.executor.num_computed == 31 + 1 + 2
    assert harness.outputs["b"][0].cached_len == 30


def test_a_finished_answer_is_cached_with_its_prompt(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=5)
    harness.run()
    follow_up = [1, 2, 3, *harness.token_ids["a"], 7]
    harness.submit("b", follow_up, max_new_tokens=1)
    harness.run()
    assert harness.outputs["b"][0].cached_len == 7  # the last token of an answer is never computed


def test_namespaces_and_no_cache_share_nothing(make_harness) -> None:
    harness = make_harness()
    for rid, namespace in [("a", "x"), ("b", "y"), ("c", "x")]:
        harness.submit(rid, [1, 2, 3, 4], max_new_tokens=1, namespace=namespace)
        harness.run()
    assert [harness.outputs[rid][0].cached_len for rid in "abc"] == [0, 0, 3]


def test_no_token_asked_computes_and_caches_the_prompt(make_harness) -> None:
    harness = make_harness()
    harness.submit("warm", [1, 2, 3], max_new_tokens=0)
    harness.run()
    assert harness.token_ids["warm"] == []
    assert harness.finish["warm"].type == "length"
    steps = harness.executor.num_steps
    harness.submit("again", [1, 2, 3], max_new_tokens=0)
    harness.run()
    assert harness.executor.num_steps == steps
    assert harness.outputs["again"][0].cached_len == 3


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 3, 16])
def test_the_hidden_state_is_the_prompt_s_and_not_that_of_what_a_grammar_forces(
    make_harness, make_grammars, chunk, held, overlap
) -> None:
    prompt, grammars = [1, 2, 3, 4], make_grammars(held=held)
    harness = make_harness(grammars=grammars, chunked_prefill_size=chunk, disable_overlap_schedule=not overlap)
    harness.submit("a", prompt, constraint=Regex("1,3:9"), want_hidden=True)
    for _ in range(6):
        harness.step()
    grammars.release()
    harness.run()
    assert harness.outputs["a"][0].hidden[0] == harness.executor.hash_of(prompt) % 1000
