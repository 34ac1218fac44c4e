import json
import threading
import time

import pytest

from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import (
    Choice,
    Closing,
    Grammar,
    Healed,
    JsonObject,
    JsonSchema,
    Regex,
    Sequence,
    SequencePart,
)
from radixlang.constrained.trial import TrialChild, is_suspect
from radixlang.errors import GrammarError, GrammarTooLarge

MiB = 1024 * 1024
LARGE = JsonSchema(json.dumps({"enum": [f"value number {i}" for i in range(40_000)]}))
SUSPECT = [
    Regex("((a{1,30}){1,30}){1,30}b"),
    Grammar("start: /a/", "lark"),
    Grammar('root ::= ("a"{1,100} "b"){1,100}'),
    LARGE,
    Closing(Regex("a{3000}")),
    Healed("x", Regex("a{3000}")),
    Sequence((SequencePart(Regex("a")), SequencePart(Grammar("start: /a/", "lark")))),
]
PLAIN = [
    Regex(r"\d{4}-\d{2}"),
    JsonObject(),
    Choice(("a",)),
    Grammar('root ::= "a" root | "b"'),
    Healed("x"),
    Regex("a{}"),
    Sequence((SequencePart(Regex("a")),)),
]


@pytest.mark.parametrize("constraint", SUSPECT, ids=lambda c: str(c)[:40])
def test_what_may_blow_up_is_tried_first(constraint) -> None:
    assert is_suspect(constraint)


@pytest.mark.parametrize("constraint", PLAIN, ids=lambda c: str(c)[:40])
def test_what_cannot_is_compiled_at_once(constraint) -> None:
    assert not is_suspect(constraint)


def test_a_trial_that_breaks_its_limits_is_one_refusal_and_the_child_is_replaced() -> None:
    child = TrialChild(timeout_s=2.0, max_bytes=12 * MiB)
    try:
        with pytest.raises(GrammarTooLarge):
            child.check(LARGE)
        assert child.num_killed == 1
        child.check(Regex("ab?"))
        with pytest.raises(GrammarTooLarge):
            child.check(LARGE)
        assert child.num_killed == 2
    finally:
        child.close()


def test_what_reading_refuses_needs_no_child(vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary)
    try:
        with pytest.raises(GrammarTooLarge):
            compiler.compile(Regex("(x{1000}){1000}"))
        assert not compiler.has_child
    finally:
        compiler.close()


def test_an_idle_engine_has_a_child_before_anybody_waits(vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary)
    try:
        compiler.warm()
        deadline = time.monotonic() + 30
        while not compiler.has_child and time.monotonic() < deadline:
            compiler.compile(Choice(("a",)))
        assert compiler.has_child
    finally:
        compiler.close()


def test_an_end_while_it_starts_is_no_failure(caplog) -> None:
    child = TrialChild(timeout_s=1.0, max_bytes=64 * MiB)
    starting = threading.Thread(target=child.start)
    starting.start()
    while starting.is_alive():
        if child.is_running:  # and still loading
            child.close()
    starting.join()
    assert not child.is_running
    assert not caplog.records


def test_a_trial_that_computes_too_long_is_ended() -> None:
    child = TrialChild(timeout_s=0.02, max_bytes=256 * MiB)
    try:
        with pytest.raises(GrammarTooLarge):
            child.check(LARGE)
        assert child.num_killed == 1
    finally:
        child.close()


def test_what_is_too_large_there_is_not_compiled_again() -> None:
    child = TrialChild(timeout_s=10.0, max_bytes=256 * MiB)
    try:
        with pytest.raises(GrammarTooLarge, match="optional properties"):
            child.check(Grammar("start: " + " | ".join(f'"word{i}"' for i in range(6000)), "lark"))
        assert child.num_killed == 0
    finally:
        child.close()


def test_what_is_wrong_is_left_to_the_compiler() -> None:
    child = TrialChild(timeout_s=2.0, max_bytes=256 * MiB)
    try:
        child.check(Grammar("start: (", "lark"))
        assert child.num_killed == 0
    finally:
        child.close()


def test_a_compiler_refuses_what_its_child_died_of(vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, max_bytes=12 * MiB)
    try:
        with pytest.raises(GrammarTooLarge) as caught:
            compiler.compile(LARGE)
        assert caught.value.status == 400
        with pytest.raises(GrammarError):
            compiler.compile(Grammar("start: (", "lark"))
    finally:
        compiler.close()
