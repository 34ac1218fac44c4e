from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, Regex
from radixlang.constrained.fsm.index import FsmGrammar
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary


def row_of(matcher, vocabulary: Vocabulary) -> list[int]:
    row = mask.allocate(1, vocabulary.words)[0]
    matcher.fill(row)
    return mask.to_ids(row)


def test_masks_are_remembered_by_state(vocabulary) -> None:
    grammar = compile_constraint(Regex("[ab]*"), vocabulary)
    assert isinstance(grammar, FsmGrammar)
    assert grammar.mask_of(1) is grammar.mask_of(1)


def test_tokens_that_lead_into_a_dead_end_are_not_allowed() -> None:
    """No token is "c" alone: after "ab" nothing could end the answer, after "a" the token "bc" can."""
    vocabulary = Vocabulary([b"</s>", b"a", b"b", b"bc", b"ab", b"x"], frozenset({0}), frozenset({0}), 6)
    matcher = compile_constraint(Regex("abc|x"), vocabulary).matcher()
    assert row_of(matcher, vocabulary) == [1, 5]
    assert not matcher.accept(4)
    assert matcher.would_accept([4]) == 0
    assert matcher.accept(1)
    assert row_of(matcher, vocabulary) == [3]
    assert matcher.forced() in ([3], [])


def test_a_choice_may_be_the_empty_string(compiler, vocabulary) -> None:
    matcher = compiler.compile(Choice(("", "a"))).matcher()
    assert matcher.is_accepting
    assert not matcher.is_finished
    assert 0 in row_of(matcher, vocabulary)


def test_finished_means_nothing_but_an_end_may_follow(compiler, vocabulary) -> None:
    matcher = compiler.compile(Regex("ab?")).matcher()
    assert matcher.accept(vocabulary.tokenize(b"a")[0])
    assert matcher.is_accepting
    assert not matcher.is_finished
    assert matcher.accept(vocabulary.tokenize(b"b")[0])
    assert matcher.is_finished
    assert row_of(matcher, vocabulary) == [0]
