"""Who is refused after the engine died."""

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.errors import RequestError
from radixlang.runtime import poison
from radixlang.runtime.messages import Submit
from radixlang.runtime.poison import REFUSED_FOR_S, Suspects
from radixlang.runtime.sampling_params import SamplingParams


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def suspects(clock):
    return Suspects(clock)


def submit(*token_ids, rid="r", **fields):
    return Submit(rid=rid, token_ids=list(token_ids), sampling=SamplingParams(**fields.pop("sampling", {})), **fields)


def refused(suspects, request):
    try:
        suspects.check(request)
    except RequestError as error:
        return (error.status, error.code) == (400, "poison_pill")
    return False


def test_one_death_refuses_nobody_and_two_refuse_who_ran_at_both(suspects):
    suspects.note_death([submit(1), submit(2)])
    assert not refused(suspects, submit(1))
    suspects.note_death([submit(3), submit(1, rid="another", client="someone else")])
    assert refused(suspects, submit(1))
    assert not any(refused(suspects, submit(token)) for token in (2, 3))


def test_several_of_one_request_count_once_a_death(suspects):
    suspects.note_death([submit(1, rid="r"), submit(1, rid="r#1")])
    assert not refused(suspects, submit(1))


def test_what_is_computed_tells_requests_apart(suspects):
    for _ in range(2):
        suspects.note_death([submit(1)])
    assert not refused(suspects, submit(1, sampling={"temperature": 0.5}))
    assert not refused(suspects, submit(1, constraint=Regex("a")))
    assert not refused(suspects, submit(1, 1))


def test_it_is_forgotten_after_a_while(suspects, clock):
    suspects.note_death([submit(1)])
    clock.now += REFUSED_FOR_S - 1
    suspects.note_death([submit(1)])
    clock.now += REFUSED_FOR_S - 1
    assert refused(suspects, submit(1))
    clock.now += 2
    assert not refused(suspects, submit(1))


def test_deaths_far_apart_do_not_add_up(suspects, clock):
    suspects.note_death([submit(1)])
    clock.now += REFUSED_FOR_S + 1
    suspects.note_death([submit(1)])
    assert not refused(suspects, submit(1))


def test_only_so_many_are_remembered_and_the_latest_are(suspects, monkeypatch):
    monkeypatch.setattr(poison, "_MAX_SUSPECTS", 2)
    for _ in range(2):
        suspects.note_death([submit(1)])
    suspects.note_death([submit(2)])
    suspects.note_death([submit(3)])
    assert not refused(suspects, submit(1))
