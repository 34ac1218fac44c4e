"""Decode steps that run in one call: the same tokens, fewer calls, and an ear for what happens meanwhile."""

from __future__ import annotations

import itertools

import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Regex
from radixlang.constrained.matcher import Steady
from radixlang.runtime.messages import Abort, LogprobRequest

STEP_S = 1e-3
VOCAB = 61


@pytest.fixture
def harness_of(make_harness):
    """A harness whose steps take a millisecond each; `calls` is how many steps each call ran."""

    def make(**fields):
        harness = make_harness(**fields)
        harness.executor.seconds_per_step = STEP_S
        harness.calls = []
        execute = harness.executor.execute

        def note(plan):
            output = execute(plan)
            harness.calls.append(1 + len(output.further))
            return output

        harness.executor.execute = note
        return harness

    return make


def learn(harness) -> None:
    """How long a decode step takes."""
    harness.submit("learn", [60], max_new_tokens=3)
    harness.run()
    harness.calls.clear()


def test_short_steps_run_in_one_call(harness_of) -> None:
    harness = harness_of()
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=20)
    harness.run()
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 20)
    assert harness.calls == [1, 8, 8, 3]  # the prompt, then no more than it may have
    assert harness.stats["num_steps"] == 3 + 20
    assert harness.scheduler._state.pace.base_s(1) == pytest.approx(STEP_S)
    assert harness.stats["num_used_tokens"] == 0


@pytest.mark.parametrize(("step_s", "most"), [(2.5e-3, 7), (4e-3, 4), (10e-3, 2), (16e-3, 1)])
def test_a_call_takes_no_longer_than_a_reader_notices(harness_of, step_s, most) -> None:
    harness = harness_of()
    harness.executor.seconds_per_step = step_s
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=20)
    harness.run()
    assert max(harness.calls) == most


KINDS = {
    "greedy": {},
    "seeded": {"temperature": 1.0, "sampling_seed": 5, "echo_steps": True},
    "penalised": {"frequency_penalty": 0.5, "sampling_seed": 6, "temperature": 1.0},
    "least": {"min_new_tokens": 11, "sampling_seed": 7},
    "stop": {"stop": ("B", "CD")},
    "ids": {"stop_token_ids": (3, 4, 50)},
    "logprobs": {"logprobs": LogprobRequest(True, -1, 2, (4,)), "echo_steps": True},
    "short": {"max_new_tokens": 3},
}


@pytest.mark.parametrize("page_size", [1, 4, 32])
def test_rows_of_all_kinds_draw_the_same_in_bursts(harness_of, page_size) -> None:
    eos = {7}
    found = {}
    for step_s in (0.0, STEP_S):
        harness = harness_of(page_size=page_size, eos=eos)
        harness.executor.seconds_per_step = step_s
        learn(harness)
        for at, (rid, fields) in enumerate(KINDS.items()):
            harness.submit(rid, [at, 2, 3], **{"max_new_tokens": 40} | fields)
        harness.run()
        assert (max(harness.calls) > 1) == (step_s > 0)
        told = {rid: [(list(o.token_ids), o.logprobs) for o in harness.outputs[rid]] for rid in KINDS}
        found[step_s] = harness.token_ids, harness.finish, told["seeded"], told["logprobs"]
        assert harness.stats["num_used_tokens"] == 0
        assert harness.stats["generation_tokens_total"] == sum(map(len, harness.token_ids.values()))
    assert found[0.0] == found[STEP_S]


def test_a_call_of_many_steps_ends_when_something_arrives(harness_of) -> None:
    """Submitted and aborted while the second step of a call runs."""
    harness = harness_of()
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=40)
    harness.submit("b", [4], max_new_tokens=40)
    harness.step()
    seen = []

    def meanwhile() -> bool:
        seen.append(None)
        if len(seen) == 2:
            harness.submit("c", [5], max_new_tokens=2)
            harness.scheduler.post(Abort(rid="b"))
        return False

    harness.executor.ends_early = meanwhile
    harness.step()
    assert harness.calls == [1, 3]
    harness.step()
    assert harness.finish["b"].type == "abort"
    assert harness.token_ids["c"] == harness.expected([5], 2)[:1]
    harness.run()
    assert harness.token_ids["c"] == harness.expected([5], 2)
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 40)
    assert harness.stats["num_used_tokens"] == 0


def test_what_a_row_draws_behind_a_stop_string_is_dropped(harness_of) -> None:
    harness = harness_of()
    learn(harness)
    whole = harness.expected([9, 9], 30)
    stop = chr(ord("A") + whole[4])
    end = whole.index(whole[4]) + 1
    harness.submit("stopped", [9, 9], max_new_tokens=30, stop=(stop,), keep="k")
    harness.submit("other", [8], max_new_tokens=30)
    harness.run()
    assert max(harness.calls) == 8
    assert harness.token_ids["stopped"] == whole[:end]
    assert harness.token_ids["other"] == harness.expected([8], 30)
    assert harness.stats["generation_tokens_total"] == 3 + end + 30
    # What follows it in place goes on behind its end.
    harness.submit("more", [6], parent="k", parent_len=2 + end, max_new_tokens=5)
    harness.run()
    assert harness.token_ids["more"] == harness.expected([9, 9, *whole[:end], 6], 5)


def asked_under_constraints(harness, step_s) -> None:
    harness.executor.seconds_per_step = step_s
    learn(harness)
    harness.submit("free", [1], max_new_tokens=30)
    harness.submit("bound", [2], max_new_tokens=30, constraint=Regex("4:20"))
    harness.submit("often", [3], max_new_tokens=30, constraint=Regex("2,3,1,5:17"), echo_steps=True)
    harness.submit("counted", [4], max_new_tokens=11, constraint=Regex("9:25"), presence_penalty=0.5, stop=("C",))


@pytest.mark.parametrize("no_jump", [True, False])
def test_rows_under_constraints_draw_the_same_in_bursts(harness_of, make_grammars, no_jump) -> None:
    """Masks are filled between the steps; where tokens are forced, a burst ends."""
    found = {}
    for step_s in (0.0, STEP_S):
        harness = harness_of(grammars=make_grammars(), disable_jump_forward=no_jump)
        asked_under_constraints(harness, step_s)
        harness.run()
        told = [list(output.token_ids) for output in harness.outputs["often"]]
        found[step_s] = harness.token_ids, harness.finish, told, harness.stats["generation_tokens_total"]
        assert (max(harness.calls) > 2) == (step_s > 0)
        assert harness.stats["num_used_tokens"] == 0
    assert found[0.0] == found[STEP_S]
    assert harness.token_ids["free"] == harness.expected([1], 30)


def test_a_burst_under_constraints_that_fails_is_repaired(harness_of, make_grammars) -> None:
    """What the matchers accepted before it failed is not accepted twice."""
    found = {}
    for failed_at in (None, 2, 3, 6):
        harness = harness_of(grammars=make_grammars(), disable_jump_forward=True)
        asked_under_constraints(harness, STEP_S)
        harness.step()
        if failed_at is not None:
            harness.executor.fail_at = harness.executor.num_steps + failed_at
        harness.run()
        assert harness.stats["num_failed_steps"] == (failed_at is not None)
        assert harness.stats["num_used_tokens"] == 0
        found[failed_at] = harness.token_ids, harness.finish
    assert all(one == found[None] for one in found.values())


class Breaking:
    """A matcher that a call of one of its methods breaks, the n-th."""

    def __init__(self, matcher, name, nth) -> None:
        self._matcher, self._name, self._left = matcher, name, nth

    def __getattr__(self, name):
        value = getattr(self._matcher, name)
        if name == self._name:
            self._left -= 1
            if self._left <= 0:
                raise RuntimeError("broken")
        return value


@pytest.mark.parametrize("name", ["fill", "accept", "forced", "is_finished", "take_back"])
@pytest.mark.parametrize("nth", [3, 4, 9])
def test_a_matcher_that_breaks_within_a_burst_ends_its_request_alone(harness_of, make_grammars, name, nth) -> None:
    harness = harness_of(grammars=make_grammars())
    harness.executor.seconds_per_step = STEP_S
    learn(harness)
    grammars = harness.scheduler._grammars._compiler
    whole = grammars.matcher_type
    grammars.matcher_type = lambda widths, length: Breaking(whole(widths, length), name, nth)
    harness.submit("broken", [2], max_new_tokens=30, constraint=Regex("4:29"))
    harness.step()
    grammars.matcher_type = whole
    harness.submit("bound", [2], max_new_tokens=30, constraint=Regex("4:29"))
    harness.submit("free", [1], max_new_tokens=30)
    harness.run()
    assert harness.finish["broken"].type == "error"
    assert harness.finish["bound"].type != "error"
    assert harness.token_ids["bound"][: len(harness.token_ids["broken"]) - 1] == harness.token_ids["broken"][:-1]
    assert harness.token_ids["free"] == harness.expected([1], 30)
    assert harness.stats["num_failed_steps"] == 0
    assert harness.stats["num_used_tokens"] == 0


GUESSES = {
    "never": lambda taken, token: False,
    "right": lambda taken, token: token % 20 > 0,
    "often right": lambda taken, token: token % 20 > 0 or (token + len(taken)) % 3 == 0,
    "always": lambda taken, token: True,
}


class PlateauMatcher(Steady):
    """What may follow stays the same up to a token that 20 divides; behind each second of those a token is forced."""

    error = None

    def __init__(self, length, guess, steps) -> None:
        self.length, self.guess, self.steps, self.taken, self.accepted_at = length, guess, steps, [], []

    def allowed(self):
        if self.is_finished:
            return []
        ends = [place for place, token in enumerate(self.taken) if token % 20 == 0]
        if len(ends) % 2 and ends[-1] == len(self.taken) - 1:
            return [len(self.taken) % VOCAB]
        return [(13 * len(ends) + 3 * k) % VOCAB for k in range(30)]

    def fill(self, mask_W):
        mask_W[:] = mask.from_ids(self.allowed(), len(mask_W))

    def accept(self, token_id):
        if token_id not in self.allowed():
            return False
        self.taken.append(token_id)
        self.accepted_at.append(self.steps())
        return True

    def may_keep(self, token_id):
        return self.guess(self.taken, token_id)

    def forced(self):
        allowed = self.allowed()
        return allowed if len(allowed) == 1 else []

    @property
    def is_finished(self):
        return len(self.taken) >= self.length

    is_accepting = is_finished


def under_plateaus(harness, guess, step_s) -> list[PlateauMatcher]:
    harness.executor.seconds_per_step = step_s
    learn(harness)
    made = []

    def matcher_of(widths, length):
        made.append(PlateauMatcher(length, GUESSES[guess], lambda: harness.executor.num_steps))
        return made[-1]

    harness.scheduler._grammars._compiler.matcher_type = matcher_of
    for at, fields in enumerate([{}, {"temperature": 1.0, "sampling_seed": 3}, {"presence_penalty": 0.5}]):
        more = {"stop": ("DG",), "echo_steps": True} if at == 1 else {}
        constraint = Regex(f"1:{90 - 20 * at}")
        harness.submit(f"bound {at}", [at], max_new_tokens=80, constraint=constraint, **fields, **more)
    return made


@pytest.mark.parametrize("no_jump", [True, False])
def test_draws_under_masks_that_were_kept_are_those_of_masks_that_were_filled(
    harness_of, make_grammars, no_jump
) -> None:
    found, steps, waited = {}, {}, {}
    for guess in ("never", *GUESSES):
        harness = harness_of(grammars=make_grammars(), disable_jump_forward=no_jump)
        made = under_plateaus(harness, guess, STEP_S if found else 0.0)
        harness.run()
        found[guess, len(found)] = harness.token_ids, harness.finish, harness.stats["generation_tokens_total"]
        steps[guess] = harness.executor.num_steps
        waited[guess] = sum(len(matcher.accepted_at) - len(set(matcher.accepted_at)) for matcher in made)
        assert harness.stats["num_used_tokens"] == 0
    first = next(iter(found.values()))
    assert all(one == first for one in found.values())
    assert waited["right"] > waited["never"] + 40
    assert steps["right"] < steps["never"] + 3 * 7  # at most: a constraint's end is not foreseen
    assert steps["never"] < steps["always"] < 2 * steps["never"]  # wrong guesses cost steps, and are given up


@pytest.mark.parametrize("failed_at", [3, 5, 8, 12])
def test_kept_masks_survive_a_step_that_fails(harness_of, make_grammars, failed_at) -> None:
    found = []
    for fails in (False, True):
        harness = harness_of(grammars=make_grammars(), disable_jump_forward=True)
        under_plateaus(harness, "often right", STEP_S)
        harness.step()
        if fails:
            harness.executor.fail_at = harness.executor.num_steps + failed_at
        harness.run()
        assert harness.stats["num_failed_steps"] == fails
        found.append((harness.token_ids, harness.finish))
    assert found[0] == found[1]


def test_nobody_waits_for_a_call_of_many_steps(harness_of) -> None:
    """Who waits for a row is admitted behind the step that frees one."""
    harness = harness_of(max_running_requests=2)
    learn(harness)
    for rid in "abc":
        harness.submit(rid, [ord(rid) - 90], max_new_tokens=20)
    harness.step()
    while "c" not in harness.outputs:
        harness.step()
    assert set(harness.calls) == {1}
    harness.run()
    assert max(harness.calls) > 1


def test_bursts_take_no_slots_that_others_need(harness_of) -> None:
    harness = harness_of(num_slots=64, max_context=64)
    learn(harness)
    for at in range(3):
        harness.submit(f"r{at}", [at] * 8, max_new_tokens=12)
    harness.run()
    for at in range(3):
        assert harness.token_ids[f"r{at}"] == harness.expected([at] * 8, 12)
    assert harness.stats["num_retracted_reqs"] == 0


def test_a_burst_that_fails_is_repaired(harness_of) -> None:
    harness = harness_of()
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=30)
    harness.submit("b", [4, 5], max_new_tokens=30, sampling_seed=13)
    harness.step()
    begun = harness.executor.num_steps
    harness.executor.fail_at = begun + 3
    harness.step()
    assert harness.executor.num_steps == begun + 3 + 1  # its first step is run once more
    harness.run()
    assert harness.stats["num_failed_steps"] == 1
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 30)
    assert harness.token_ids["b"] == harness.expected([4, 5], 30)


def test_bursts_grow_while_no_draft_is_right(harness_of, let_guess) -> None:
    """Right behind a right draft the next step may have one again; within a burst nobody asks."""
    harness = let_guess(harness_of())
    learn(harness)
    guesses = harness.scheduler._state.speculator._drafters[0]
    propose, quiet = guesses.propose, []
    guesses.propose = lambda tracks, num_tokens: [None] * len(tracks) if quiet else propose(tracks, num_tokens)
    harness.submit("a", [1, 2, 3], max_new_tokens=60)
    while len(harness.calls) < 3:
        harness.step()
    assert set(harness.calls) == {1}
    quiet.append(None)
    begun = len(harness.calls)
    harness.run()
    assert harness.calls[begun : begun + 4] == [1, 1, 2, 4]
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 60)


def test_wrong_drafts_keep_no_bursts_short(harness_of, let_guess) -> None:
    harness = let_guess(harness_of(), is_wrong=lambda position: True)
    learn(harness)
    guesses = harness.scheduler._state.speculator._drafters[0]
    propose, turns = guesses.propose, itertools.count()
    guesses.propose = lambda *args: propose(*args) if next(turns) % 2 else [None] * len(args[0])
    harness.submit("a", [1, 2, 3], max_new_tokens=60)
    harness.run()
    assert harness.stats["spec_proposed_drafts_total"] > 0
    assert max(harness.calls) == 8
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 60)


class Silent:
    """A drafter that knows nothing."""

    name, is_free = "silent", True

    def propose(self, tracks, num_tokens):
        return [None] * len(tracks)

    def observe(self, request, ids):
        pass

    forget = flush = lambda *args: None


@pytest.mark.parametrize("page_size", [1, 4, 32])
def test_a_request_that_runs_alone_draws_the_same_with_guesses(harness_of, let_guess, page_size) -> None:
    found = {}
    for lucky in (None, [0], [3, 0, 1], [9]):
        harness = harness_of(page_size=page_size, eos={7})
        if lucky is not None:
            let_guess(harness, Silent(), predicts=True)
            harness.executor.lucky = itertools.cycle(lucky).__next__
        learn(harness)
        for at, (rid, fields) in enumerate(KINDS.items()):
            harness.submit(rid, [at, 2, 3], **{"max_new_tokens": 40} | fields)
            harness.run()
        told = {rid: [(list(o.token_ids), o.logprobs) for o in harness.outputs[rid]] for rid in KINDS}
        assert harness.stats["num_used_tokens"] == 0
        assert harness.stats["generation_tokens_total"] == sum(map(len, harness.token_ids.values()))
        found[str(lucky)] = harness.token_ids, harness.finish, told["seeded"], told["logprobs"]
    assert all(one == found["None"] for one in found.values())


def test_right_guesses_are_steps_saved_and_counted(harness_of, let_guess) -> None:
    harness = let_guess(harness_of(), Silent(), predicts=True, max_draft_len=3)
    harness.executor.lucky = lambda: 3
    learn(harness)
    begun = harness.stats
    harness.submit("a", [1, 2, 3], max_new_tokens=41)
    harness.run()
    counts = {name: value - begun[name] for name, value in harness.stats.items() if isinstance(value, int)}
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 41)
    tried, right = counts["spec_verify_total"], counts["spec_correct_drafts_total"]
    assert right >= 25
    assert counts["num_steps"] == 41 - right
    drafts = harness.outputs["a"][-1].drafts
    assert (drafts.verified, drafts.correct) == (tried, right)
    assert 8 < max(harness.calls) <= 8 + 3


def test_who_does_not_run_alone_guesses_nothing(harness_of, let_guess, make_grammars) -> None:
    harness = let_guess(harness_of(grammars=make_grammars()), Silent(), predicts=True)
    harness.submit("learn", [60], max_new_tokens=2)
    harness.submit("other", [9], max_new_tokens=40)
    harness.submit("a", [1, 2, 3], max_new_tokens=40)
    harness.run()
    harness.submit("bound", [2], max_new_tokens=30, constraint=Regex("4:29"))
    harness.run()
    assert harness.stats["spec_verify_total"] == 0
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 40)


def test_an_abort_ends_a_burst_that_guesses(harness_of, let_guess) -> None:
    harness = let_guess(harness_of(), Silent(), predicts=True)
    harness.executor.lucky = lambda: 2
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=60)
    harness.step()
    harness.executor.ends_early = lambda: harness.scheduler.post(Abort(rid="a")) or False
    harness.step()
    harness.executor.ends_early = lambda: False
    harness.run()
    told = harness.token_ids["a"]
    assert harness.finish["a"].type == "abort"
    assert told == harness.expected([1, 2, 3], 60)[: len(told)]
    assert harness.stats["num_used_tokens"] == 0


def test_a_burst_that_guesses_and_fails_is_repaired(harness_of, let_guess) -> None:
    harness = let_guess(harness_of(), Silent(), predicts=True)
    harness.executor.lucky = lambda: 2
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=30, sampling_seed=13)
    harness.step()
    harness.executor.fail_at = harness.executor.num_steps + 5
    harness.run()
    assert harness.stats["num_failed_steps"] == 1
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 30)


def note_starts(harness) -> list:
    """Plans that the loop gave to the thread of steps."""
    plans = []
    start = harness.steps.start
    harness.steps.start = lambda plan, *, is_ahead: (plans.append(plan), start(plan, is_ahead=is_ahead))
    return plans


@pytest.mark.parametrize(("step_s", "most"), [(1e-3, 8), (5e-3, 4), (7e-3, 3), (8e-3, 1)])
def test_a_loop_that_plans_ahead_runs_bursts_itself_where_steps_are_short(harness_of, step_s, most) -> None:
    harness = harness_of(disable_overlap_schedule=False)
    harness.executor.seconds_per_step = step_s
    learn(harness)
    plans = note_starts(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=20)
    harness.run()
    assert max(harness.calls) == most
    assert all(plan.burst is None for plan in plans)
    assert len(plans) == 20 if most == 1 else len(plans) <= 2, "the prompt, and what was planned behind it"
    assert harness.token_ids["a"] == harness.expected([1, 2, 3], 20)
    assert harness.stats["num_used_tokens"] == 0


def test_a_message_ends_a_burst_of_a_loop_that_plans_ahead(harness_of) -> None:
    harness = harness_of(disable_overlap_schedule=False)
    learn(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=40)
    while not any(calls > 1 for calls in harness.calls):
        harness.step()
    ends_early = iter([False, True])

    def interrupt() -> bool:
        if next(ends_early, False):
            harness.scheduler.post(Abort(rid="a"))
        return False

    harness.executor.ends_early = interrupt
    harness.step()
    assert harness.calls[-1] == 3, "the step that ran when it came was the last"
    harness.run()
    assert harness.finish["a"].type == "abort"
    got = harness.token_ids["a"]
    assert got == harness.expected([1, 2, 3], 40)[: len(got)]


def test_a_device_that_takes_the_next_step_while_one_runs_is_never_waited_for(harness_of) -> None:
    harness = harness_of(disable_overlap_schedule=False)
    harness.scheduler._loop._is_device = True
    plans = note_starts(harness)
    harness.submit("a", [1, 2, 3], max_new_tokens=20)
    harness.run()
    assert len(plans) == 20
    assert max(harness.calls) == 1
