import json
import threading
from concurrent.futures import wait

import pytest

from radixlang.constrained import compiler as module
from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import Choice, Grammar, JsonSchema, Regex, StructuralTag, Xml
from radixlang.errors import (
    GrammarError,
    GrammarSyntaxError,
    GrammarTooLarge,
    InternalError,
    UnsatisfiableGrammar,
    UnsupportedGrammar,
)


@pytest.fixture
def own(vocabulary):
    compiler = GrammarCompiler(vocabulary, timeout_s=20)
    yield compiler
    compiler.close()


def test_identical_constraints_share_one_compile(own, monkeypatch) -> None:
    gate = threading.Event()
    real = module.compile_constraint

    def slow(constraint, vocabulary):
        gate.wait(20)
        return real(constraint, vocabulary)

    monkeypatch.setattr(module, "compile_constraint", slow)
    futures = [own.submit(Regex("a{1,3}")) for _ in range(5)]
    gate.set()
    wait(futures, 20)
    assert len({id(f.result()) for f in futures}) == 1
    assert own.num_compiles == 1
    assert own.compile(Regex("a{1,3}")) is futures[0].result()
    assert own.num_cache_hits == 1


def test_cancelling_hits_one_caller_only(own, monkeypatch) -> None:
    gate = threading.Event()
    real = module.compile_constraint
    monkeypatch.setattr(module, "compile_constraint", lambda *args: (gate.wait(20), real(*args))[1])
    first, second = own.submit(Regex("b+")), own.submit(Regex("b+"))
    assert first.cancel()
    gate.set()
    assert second.result(20).matcher() is not None


def test_a_compile_that_takes_too_long_is_refused_and_others_go_on(vocabulary, monkeypatch) -> None:
    compiler = GrammarCompiler(vocabulary, timeout_s=0.1, num_workers=1)
    gate = threading.Event()
    real = module.compile_constraint

    def hangs(constraint, vocabulary):
        if constraint == Regex("hang"):
            gate.wait(30)
        return real(constraint, vocabulary)

    monkeypatch.setattr(module, "compile_constraint", hangs)
    with pytest.raises(GrammarTooLarge, match=r"0\.1 s"):
        compiler.compile(Regex("hang"))
    assert compiler.num_timeouts == 1
    compiler.timeout_s = 20
    assert compiler.compile(Regex("x")).matcher() is not None  # the only worker still hangs: another took its place
    gate.set()
    compiler.close()


def test_failures_are_remembered_and_each_caller_gets_an_error_of_its_own(own) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(GrammarSyntaxError) as caught:
            own.compile(Regex("([a"))
        caught.value.param = f"regex{len(errors)}"
        errors.append(caught.value)
    assert own.num_compiles == 1
    assert errors[0] is not errors[1]
    assert errors[0].column == errors[1].column == 2


def test_the_cache_is_bounded_in_bytes(vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, timeout_s=20, cache_bytes=20_000)
    first = compiler.compile(Regex("a{1,9}"))
    for i in range(30):
        compiler.compile(Regex(f"b{{1,{i + 1}}}"))
    assert compiler.compile(Regex("a{1,9}")) is not first
    compiler.close()


def test_a_bug_is_answered_too(own, monkeypatch) -> None:
    monkeypatch.setattr(module, "compile_constraint", lambda *args: 1 / 0)
    with pytest.raises(InternalError):
        own.compile(Regex("c"))


@pytest.mark.parametrize("rest", [{}, {"additionalProperties": False}])
def test_an_object_of_too_many_optional_names_is_refused_not_begun(own, vocabulary, rest) -> None:
    def schema(count: int) -> JsonSchema:
        names = {f"k{i}": {"const": i} for i in range(count)}
        return JsonSchema(json.dumps({"type": "object", "properties": names, **rest}))

    with pytest.raises(GrammarTooLarge):
        own.compile(schema(2000))
    matcher = own.compile(schema(1000)).matcher()
    for token_id in vocabulary.tokenize(b'{"k7": 7, "k999": 999}'):
        assert matcher.accept(token_id), matcher.error
    assert matcher.is_finished


REFUSED = [
    (Regex("([a"), GrammarSyntaxError),
    (Regex(r"(a)\1"), UnsupportedGrammar),
    (Regex(r"[^\s\S]"), UnsatisfiableGrammar),
    (Choice(()), UnsatisfiableGrammar),
    (Grammar("root ::= foo"), GrammarSyntaxError),
    (Grammar("root ::= root"), UnsatisfiableGrammar),
    (Grammar("start: foo", "lark"), GrammarSyntaxError),
    (JsonSchema("{"), GrammarSyntaxError),
    (JsonSchema('{"type":"string","minLength":5,"maxLength":2}'), UnsatisfiableGrammar),
    (StructuralTag("{}"), UnsupportedGrammar),
]


@pytest.mark.parametrize(("constraint", "kind"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_cannot_be_served_is_refused(own, constraint, kind) -> None:
    with pytest.raises(GrammarError) as caught:
        own.compile(constraint)
    assert type(caught.value) is kind
    assert caught.value.status == 400


def test_checking_needs_no_compile(own) -> None:
    with pytest.raises(GrammarSyntaxError):
        own.check(Regex("([a"))
    assert own.check(JsonSchema('{"type":"string","format":"zip"}')) == ("#/format",)
    assert own.num_compiles == 0


def held_up(monkeypatch) -> tuple[threading.Event, list]:
    """Compiles wait for the event; the constraints whose compile began."""
    gate, begun, real = threading.Event(), [], module.compile_constraint

    def slow(constraint, vocabulary):
        begun.append(constraint)
        gate.wait(20)
        return real(constraint, vocabulary)

    monkeypatch.setattr(module, "compile_constraint", slow)
    return gate, begun


def test_what_nobody_waits_for_any_more_is_not_begun(own, monkeypatch) -> None:
    gate, begun = held_up(monkeypatch)
    under_way = [own.submit(Regex(f"{letter}+")) for letter in "ab"]  # as many as there are workers
    left = own.submit(Regex("c+"))
    asked_again = own.submit(Regex("d+"))
    assert left.cancel()
    assert asked_again.cancel()
    again, last = own.submit(Regex("d+")), own.submit(Regex("e+"))
    gate.set()
    for future in (*under_way, again, last):
        assert future.result(20).matcher() is not None
    assert Regex("c+") not in begun
    assert begun.count(Regex("d+")) == 1
    assert own.compile(Regex("c+")).matcher() is not None


def test_others_do_not_wait_behind_what_is_tried_first(own, monkeypatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(own._trial, "check", lambda constraint: gate.wait(20))
    suspects = [own.submit(Grammar(f'start: "{letter}"', "lark")) for letter in "abc"]
    assert own.submit(Regex("f+")).result(20).matcher() is not None
    assert not any(future.done() for future in suspects)
    gate.set()
    for future in suspects:
        assert future.result(20).matcher() is not None


@pytest.mark.parametrize(
    ("constraint", "code", "told"),
    [
        (Xml("<!ELEMENT a (a)>"), "unsatisfiable_schema", "root element"),
        (Grammar('root ::= "a" root'), "unsatisfiable_schema", "from root"),
        (Choice(("x" * 70_000, "y")), "grammar_too_large", "70000 bytes"),
        (Regex("(?:" * 90 + "[ab]{1,9}" + "c?)*" * 90 + "[a-z]{1,900}"), "grammar_too_large", "nested too deeply"),
    ],
    ids=["xml", "grammar", "choice", "regex"],
)
def test_refusals_speak_of_what_the_user_wrote(own, constraint, code, told) -> None:
    with pytest.raises(GrammarError, match=told) as caught:
        own.compile(constraint)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "constraint", [Grammar('start: "\ud800"', "lark"), Grammar('root ::= "\ud800"'), Choice(("\ud800",))]
)
def test_half_a_surrogate_pair_is_the_users_error(compiler, constraint) -> None:
    with pytest.raises(GrammarError):
        compiler.compile(constraint)
