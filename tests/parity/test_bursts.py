"""Steps in one call of the native executor under the scheduler: the tokens and answers of single steps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import (
    Choice,
    Closing,
    Constraint,
    Healed,
    JsonSchema,
    Regex,
    Sequence,
    SequencePart,
)
from radixlang.constrained.vocabulary import Vocabulary
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
PAIRS = [b'": ', b", ", b'"', b"ab", b"abc", b"the", b" x", b"00", b"}", b'",', b"12", b"aba", b"ca"]
PIECES = dict(zip(sorted({*range(3, 131)} - EOS), [*(bytes([32 + i]) for i in range(95)), b"\n", *PAIRS], strict=False))
BYTES = [PIECES.get(token, b"") for token in range(131)]
"""What the ids stand for: constraints know these, stop strings the letters below."""


def encode(text: str) -> list[int]:
    return Vocabulary(BYTES, EOS, frozenset(), 131).tokenize(text.encode())


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


class Compiled:
    """Waits for each grammar, so that runs do not differ in when it is ready."""

    def __init__(self) -> None:
        self._compiler = GrammarCompiler(Vocabulary(BYTES, EOS, frozenset(), 131, encode=encode))
        self.close = self._compiler.close

    def submit(self, constraint: Constraint | Healed) -> Future[Any]:
        future = self._compiler.submit(constraint)
        future.exception()
        return future


@pytest.fixture(scope="module")
def grammars() -> Iterator[Compiled]:
    compiled = Compiled()
    yield compiled
    compiled.close()


def run(
    executor: Any,
    grammars: Compiled,
    page_size: int,
    asked: list[dict[str, Any]],
    aborted: int,
    *,
    alone: bool = False,
    speculative_algorithm: str = "none",
    **config: Any,
) -> tuple[Any, int]:
    """What each request was told, token by token; and the most rounds that were drawn in one call. alone: each is
    submitted when the one before has ended."""
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
        EngineConfig(
            page_size=page_size,
            disable_overlap_schedule=True,
            speculative_algorithm=speculative_algorithm,
            **config,
        ),
        Counted(),
        Letters(),  # type: ignore[arg-type]
        grammars,
        receive,
        max_context=96,
        eos_token_ids=EOS,
        clock=map(lambda tick: tick * STEP_S, itertools.count()).__next__,
    )
    for number, fields in enumerate(asked):
        fields = dict(fields)
        logprobs, stream, constraint = fields.pop("logprobs"), fields.pop("stream"), fields.pop("constraint", None)
        prompt = [3 + number, *range(20, 20 + fields.pop("length"))]
        sampling = SamplingParams(sampling_seed=number, **fields)
        scheduler.post(
            Submit(f"r{number}", prompt, sampling=sampling, echo_steps=stream, constraint=constraint,
                   logprobs=LogprobRequest(True, -1, 2, (4,)) if logprobs else None)
        )  # fmt: skip
        if alone:
            run_all(scheduler, told, f"r{aborted}")
    run_all(scheduler, told, f"r{aborted}")
    assert scheduler.stats()["num_used_tokens"] == 0
    told.pop(f"r{aborted}", None)  # how far it came depends on when it is aborted
    return told, max(calls)


def run_all(scheduler: Scheduler, told: dict[str, list[Any]], aborted: str) -> None:
    while scheduler.step():
        check(scheduler._state)
        if aborted in scheduler._state.requests and len(told.get(aborted, ())) > 5:
            scheduler.post(Abort(rid=aborted))


def schema(**fields: Any) -> JsonSchema:
    return JsonSchema(json.dumps(fields))


PERSON = {
    "properties": {"ab": {"type": "string", "maxLength": 8}, "the": {"type": "integer"}, "x": {"enum": ["abc", "c"]}},
    "required": ["ab", "the", "x"],
    "additionalProperties": False,
}
PARTS = (SequencePart(Regex("[abc]{1,9}"), before="the ", max_tokens=6), SequencePart(Regex("[0-9]+"), before=" x"))
CONSTRAINTS = (
    Regex(r"[a-z ]{3,30}\."),
    Regex(r"(ab|ca)*12|[^a]*"),
    Choice(("the abc", "the abacus", "12 x", "ab")),
    schema(type="object", **PERSON),
    schema(type="string", minLength=30),
    schema(type="array", items={"enum": ["a", "b", "ab", 0, 12]}, minItems=3, maxItems=4, uniqueItems=True),
    Sequence(PARTS),
    Closing(schema(type="object", **PERSON)),
    Healed("th", schema(type="object", **PERSON)),
    Healed("ab"),
)
"""Both engines, and what stands before them: a value may be taken back, a part may be cut short."""
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
    executor: Any,
    grammars: Compiled,
    asked: list[dict[str, Any]],
    page_size: int,
    aborted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = run(executor, grammars, page_size, asked, aborted)
    with monkeypatch.context() as patched:
        patched.setattr(bursts, "_MOST", 1)
        wanted, most = run(executor, grammars, page_size, asked, aborted)
    assert most == 1
    assert repr(found) == repr(wanted)  # a nan is not equal to itself


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    asked=st.lists(REQUESTS, min_size=1, max_size=3),
    page_size=st.sampled_from([1, 16]),
    algorithm=st.sampled_from(["auto", "ngram"]),
    aborted=st.integers(-3, 2),
)
def test_requests_that_run_alone_are_told_the_same_with_guesses(
    executor: Any,
    grammars: Compiled,
    asked: list[dict[str, Any]],
    page_size: int,
    algorithm: str,
    aborted: int,
) -> None:
    asked = [*asked, *asked]  # what the first ones said is known then
    found, _ = run(executor, grammars, page_size, asked, aborted, alone=True, speculative_algorithm=algorithm)
    wanted, _ = run(executor, grammars, page_size, asked, aborted, alone=True)
    assert repr(found) == repr(wanted)  # a nan is not equal to itself


BOUND = st.tuples(REQUESTS, st.sampled_from(CONSTRAINTS)).map(lambda pair: {**pair[0], "constraint": pair[1]})


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    asked=st.lists(st.one_of(BOUND, BOUND, REQUESTS), min_size=1, max_size=4),
    jump=st.booleans(),
    aborted=st.integers(-3, 3),
)
def test_constrained_requests_are_told_what_single_steps_tell(
    executor: Any,
    grammars: Compiled,
    asked: list[dict[str, Any]],
    jump: bool,
    aborted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = run(executor, grammars, 1, asked, aborted, disable_jump_forward=not jump)
    with monkeypatch.context() as patched:
        patched.setattr(bursts, "_MOST", 1)
        wanted, most = run(executor, grammars, 1, asked, aborted, disable_jump_forward=not jump)
    assert most <= 1  # none, where an answer is forced from its beginning
    assert repr(found) == repr(wanted)  # a nan is not equal to itself


PLAIN = {"length": 4, "max_new_tokens": 60, "temperature": 0.0, "ignore_eos": True, "logprobs": False}


def test_a_long_answer_takes_few_calls(executor: Any, grammars: Compiled) -> None:
    _, most = run(executor, grammars, 1, [{**PLAIN, "stream": stream} for stream in (True, False)], -1)
    assert most == 8


@pytest.mark.parametrize("constraint", [Regex("[a-z]{300,}"), schema(type="string", minLength=300)])
def test_a_long_answer_under_a_constraint_takes_few_calls(
    executor: Any, grammars: Compiled, constraint: Constraint
) -> None:
    asked = [{**PLAIN, "stream": stream, "constraint": constraint} for stream in (True, False)]
    told, most = run(executor, grammars, 1, asked, -1)
    assert most == 8
    assert all(sum(len(token_ids) for token_ids, *_ in outputs) == 60 for outputs in told.values())
