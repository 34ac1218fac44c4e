"""Steps in one call of the native executor under the scheduler: the tokens and answers of single steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Abort, LogprobRequest, Outputs, Submit
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler import bursts
from radixlang.runtime.scheduler.audit import check
from radixlang.runtime.scheduler.scheduler import Scheduler
from radixlang.runtime.weights.open import open_checkpoint

EOS = frozenset({2, 9, 17, 40, 77})
STEP_S = 1e-4


class Letters:
    """Token t is the character chr(t + 200)."""

    vocab_size = 131

    def detokenizer(self, *, skip_special_tokens: bool = True) -> Letters:
        return self

    def push(self, token_ids: Any) -> str:
        return "".join(chr(token + 200) for token in token_ids)


@pytest.fixture(scope="module", params=["llama3", "gemma3"])
def executor(request: pytest.FixtureRequest, make_family: Callable[[str], Any]) -> Any:
    checkpoint = open_checkpoint(make_family(request.param).path)
    native = NativeExecutor(checkpoint, EngineConfig(num_threads=2, weight_cache=False), 2048)
    yield native
    native.close()


def run(executor: Any, page_size: int, asked: list[dict[str, Any]], aborted: int) -> tuple[Any, int]:
    """What each request was told, token by token; and the most steps that ran in one call."""
    told: dict[str, list[Any]] = {}
    calls = [0]

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(executor, name)

        def execute(self, plan: Any) -> Any:
            output = executor.execute(plan)
            calls.append(1 + len(output.further))
            return output

    def receive(message: Any) -> None:
        assert isinstance(message, Outputs)
        for output in message.items:
            told.setdefault(output.rid, []).append((list(output.token_ids), output.logprobs, output.finish))

    scheduler = Scheduler(
        EngineConfig(page_size=page_size, disable_overlap_schedule=True, speculative_algorithm="none"),
        Counted(),
        Letters(),  # type: ignore[arg-type]
        None,
        receive,
        max_context=96,
        eos_token_ids=EOS,
        clock=map(lambda tick: tick * STEP_S, itertools.count()).__next__,
    )
    for number, fields in enumerate(asked):
        fields = dict(fields)
        logprobs, stream = fields.pop("logprobs"), fields.pop("stream")
        prompt = [3 + number, *range(20, 20 + fields.pop("length"))]
        sampling = SamplingParams(sampling_seed=number, **fields)
        scheduler.post(
            Submit(f"r{number}", prompt, sampling=sampling, echo_steps=stream,
                   logprobs=LogprobRequest(True, -1, 2, (4,)) if logprobs else None)
        )  # fmt: skip
    while scheduler.step():
        check(scheduler._state)
        if f"r{aborted}" in scheduler._state.requests and len(told.get(f"r{aborted}", ())) > 5:
            scheduler.post(Abort(rid=f"r{aborted}"))
    assert scheduler.stats()["num_used_tokens"] == 0
    told.pop(f"r{aborted}", None)  # how far it came depends on when it is aborted
    return told, max(calls)


REQUESTS = st.fixed_dictionaries(
    {
        "length": st.integers(1, 40),
        "max_new_tokens": st.integers(1, 40),
        "temperature": st.sampled_from([0.0, 0.8]),
        "top_k": st.sampled_from([-1, 20]),
        "ignore_eos": st.booleans(),
        "min_new_tokens": st.sampled_from([0, 0, 1]),
        "stop": st.sampled_from([(), (chr(250),), (chr(230) + chr(231), chr(300))]),
        "stop_token_ids": st.sampled_from([(), (5, 60, 100)]),
        "repetition_penalty": st.sampled_from([1.0, 1.0, 1.3]),
        "frequency_penalty": st.sampled_from([0.0, 0.0, 0.7]),
        "logit_bias": st.sampled_from([{}, {33: 4.0}]),
        "logprobs": st.booleans(),
        "stream": st.booleans(),
    }
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=5), page_size=st.sampled_from([1, 16]), aborted=st.integers(-3, 4))
def test_any_requests_are_told_what_single_steps_tell(
    executor: Any, asked: list[dict[str, Any]], page_size: int, aborted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = run(executor, page_size, asked, aborted)
    with monkeypatch.context() as patched:
        patched.setattr(bursts, "_MOST", 1)
        wanted, most = run(executor, page_size, asked, aborted)
    assert most == 1
    assert repr(found) == repr(wanted)  # a nan is not equal to itself


def test_a_long_answer_takes_few_calls(executor: Any) -> None:
    plain = {"length": 4, "max_new_tokens": 60, "temperature": 0.0, "ignore_eos": True, "logprobs": False}
    _, most = run(executor, 1, [{**plain, "stream": stream} for stream in (True, False)], -1)
    assert most == 8
