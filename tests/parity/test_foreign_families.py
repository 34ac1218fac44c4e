"""Families that are not ours, run by transformers' code over our slots: the same numbers as transformers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.weights.open import open_checkpoint

PROMPT = np.random.default_rng(3).integers(3, 131, size=40).tolist()
TOLERANCE = 1e-4


@pytest.fixture
def family(foreign_name: str, make_family: Callable[[str], Any]) -> Any:
    return make_family(foreign_name)


@pytest.fixture
def executor(family: Any) -> Iterator[Any]:
    checkpoint = open_checkpoint(family.path)
    executor = load_executor(EngineConfig(max_total_tokens=512, num_threads=1), checkpoint)
    yield executor
    executor.close()
    checkpoint.close()


def test_every_way_of_computing_a_prompt_says_what_transformers_says(family: Any, executor: Any, driver: Any) -> None:
    wanted = family.logprobs(PROMPT)
    assert np.ptp(wanted) > 1.0  # the model has opinions; else the comparison could not fail
    ours = driver(executor)

    def same(found: np.ndarray, rows: np.ndarray, how: str) -> None:
        np.testing.assert_allclose(found, rows, atol=TOLERANCE, rtol=TOLERANCE, err_msg=how)

    first = ours.new()
    same(ours.logprobs([(first, PROMPT)])[0], wanted, "whole")

    chunked = ours.new()
    starts = np.cumsum([0, 1, 11, 1, 7, 19, 1])
    same(np.concatenate([ours.logprobs([(chunked, PROMPT[a:b])])[0] for a, b in pairwise(starts)]), wanted, "chunked")

    prompts = [PROMPT, PROMPT[7:8], PROMPT[3:30], PROMPT[:2], PROMPT[9:10]]
    for prompt, found in zip(prompts, ours.logprobs([(ours.new(), p) for p in prompts]), strict=True):
        same(found, family.logprobs(prompt), "batched")

    reader = ours.new(share=first, length=25)
    same(ours.logprobs([(reader, PROMPT[25:])])[0], wanted[25:], "from a shared prefix")


def test_greedy_tokens_equal_generate(family: Any, executor: Any, driver: Any) -> None:
    prompts = [PROMPT, PROMPT[5:25], PROMPT[:9]]
    found = driver(executor).greedy(prompts, 8, chunk=13)
    for prompt, tokens in zip(prompts, found, strict=True):
        wanted = family.peer.generate(
            torch.tensor([prompt]), max_new_tokens=8, min_new_tokens=8, do_sample=False, eos_token_id=None
        )[0, len(prompt) :].tolist()
        assert tokens == wanted


@pytest.mark.parametrize("name", ["gpt_neox", "gptj"])  # packed, and one sequence a call
def test_a_sequence_reads_what_another_writes_in_the_same_step(
    name: str, make_family: Callable[[str], Any], driver: Any
) -> None:
    family = make_family(name)
    ours = driver(load_executor(EngineConfig(max_total_tokens=512, num_threads=1), open_checkpoint(family.path)))
    writer, reader = ours.new(), ours.new()
    ours.table[writer.row, :20] = [ours.free.pop() for _ in range(20)]
    ours.table[reader.row, :20] = ours.table[writer.row, :20]
    reader.ids = PROMPT[:20]
    tail, _ = ours.logprobs([(reader, PROMPT[20:]), (writer, PROMPT[:20])])
    np.testing.assert_allclose(tail, family.logprobs(PROMPT)[20:], atol=TOLERANCE, rtol=TOLERANCE)
    assert ("one sequence a call" in ours.executor.device) == (name == "gptj")
