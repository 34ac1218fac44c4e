"""A scheduler on the shadow executor (shadow.py), and what else it needs to run: grammars, drafters, a clock."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from radixlang.constrained.matcher import Steady
from radixlang.errors import GrammarTooLarge
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Outputs, Reply, Submit
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.audit import check
from radixlang.runtime.scheduler.scheduler import Scheduler
from radixlang.runtime.scheduler.step_thread import RelayedSteps, StepResult
from radixlang.runtime.speculation.drafter import Draft
from radixlang.runtime.speculation.predictions import Predictions
from radixlang.runtime.speculation.speculator import Speculator

_spec = importlib.util.spec_from_file_location("shadow", Path(__file__).with_name("shadow.py"))
shadow = importlib.util.module_from_spec(_spec)  # tests are no package: it cannot be imported
_spec.loader.exec_module(shadow)
VOCAB, ShadowExecutor, mix, next_token = shadow.VOCAB, shadow.ShadowExecutor, shadow.mix, shadow.next_token


class LetterDetokenizer:
    def push(self, token_ids) -> str:
        return "".join(chr(ord("A") + token) for token in token_ids)

    def flush(self) -> str:
        return ""


class LetterTokenizer:
    """Token t is the character chr(65 + t)."""

    vocab_size = VOCAB

    def detokenizer(self, *, skip_special_tokens: bool = True) -> LetterDetokenizer:
        return LetterDetokenizer()


class TestSteps:
    """Steps of the overlapped loop on one thread, at the worst moments: when they start, or when their result is asked.

    What the loop does in between must not disturb a late step, nor be disturbed by an early one. `next_done()`: whether
    the oldest step counts as done already when the loop looks.
    """

    __test__ = False

    def __init__(self, executor, clock, *, late, next_done) -> None:
        self.steps = RelayedSteps(executor, clock)
        self.late, self.next_done = late, next_done
        self.under_way = []
        self.may_be_done = False

    @property
    def is_done(self):
        return bool(self.under_way) and (self.may_be_done or self.next_done())

    def start(self, plan, *, is_ahead) -> None:
        assert len(self.under_way) < 2
        waits = is_ahead and plan.fill_masks is not None  # for the step before to be committed
        run = functools.partial(self.steps.run, plan, is_ahead=is_ahead)
        if not self.late and not waits and all(isinstance(step, StepResult) for step in self.under_way):
            run = run()
        self.under_way.append(run)

    def wait(self):
        self.may_be_done = False
        step = self.under_way.pop(0)
        return step if isinstance(step, StepResult) else step()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Harness:
    """A scheduler on the shadow executor; collects what it tells and audits after each step."""

    def __init__(
        self,
        *,
        num_slots=4096,
        max_context=512,
        eos=frozenset(),
        grammars=None,
        seconds_per_token=0.0,
        late=True,
        settles=(False,),
        **config,
    ):
        """late: steps run when their result is asked for. settles: in turn, whether the loop waits for the step that
        runs before it plans the next one."""
        self.clock = Clock()
        config.setdefault("speculative_algorithm", "none")  # `let_guess` lets it
        self.overlap = not config.setdefault("disable_overlap_schedule", True)
        self.executor = ShadowExecutor(num_slots, seconds_per_token, self.clock)
        self.token_ids: dict[str, list[int]] = {}
        self.finish = {}
        self.outputs: dict[str, list] = {}
        self.replies = []
        self.scheduler = Scheduler(
            EngineConfig(**config),
            self.executor,
            LetterTokenizer(),
            grammars,
            self.receive,
            max_context=max_context,
            eos_token_ids=frozenset(eos),
            clock=self.clock,
        )
        self.scheduler._state.pool.strict = True
        settles = itertools.cycle(settles)
        self.steps = TestSteps(self.executor, self.clock, late=late, next_done=lambda: next(settles))

    def receive(self, message) -> None:
        if isinstance(message, Reply):
            self.replies.append(message)
            return
        assert isinstance(message, Outputs)
        for output in message.items:
            assert output.rid not in self.finish or output.finish is not None, "an answer after its end"
            self.outputs.setdefault(output.rid, []).append(output)
            self.token_ids.setdefault(output.rid, []).extend(output.token_ids)
            if output.finish is not None:
                assert output.rid not in self.finish, f"{output.rid} ended twice"
                self.finish[output.rid] = output.finish

    def submit(self, rid: str, token_ids, *, max_new_tokens=8, **fields):
        names = SamplingParams.__struct_fields__
        sampling = {name: fields.pop(name) for name in list(fields) if name in names}
        sampling.setdefault("temperature", 0.0)
        sampling = SamplingParams(max_new_tokens=max_new_tokens, **sampling)
        self.scheduler.post(Submit(rid=rid, token_ids=list(token_ids), sampling=sampling, **fields))

    def step(self) -> bool:
        if not self.overlap:
            busy = self.scheduler.step()
        else:
            wait_s = self.scheduler._turn(self.steps)
            busy = wait_s == 0.0 or bool(self.steps.under_way)
            self.steps.may_be_done = wait_s != 0.0
        check(self.scheduler._state)
        return busy

    def run(self, max_steps: int = 10_000) -> None:
        for _ in range(max_steps):
            if not self.step():
                return
        raise AssertionError("it did not come to an end")

    def expected(self, token_ids, max_new_tokens=8, *, eos=frozenset(), seed=0, temperature=0.0) -> list[int]:
        """The sequential reference."""
        prefix_hash, out = 0, []
        for token in token_ids:
            prefix_hash = mix(prefix_hash, token)
        for counter in range(max_new_tokens):
            out.append(next_token(prefix_hash, seed, counter, temperature))
            prefix_hash = mix(prefix_hash, out[-1])
            if out[-1] in eos:
                break
        return out

    @property
    def stats(self):
        return self.scheduler.stats()


@pytest.fixture
def make_harness():
    return Harness


class Guesses:
    """A drafter that knows what the shadow model draws, and errs at every place that `is_wrong` names."""

    name = "guesses"
    is_free = True

    def __init__(self, executor, is_wrong) -> None:
        self.executor, self.is_wrong = executor, is_wrong

    def propose(self, tracks, num_tokens):
        return [self.guess(track, num_tokens) for track in tracks]

    def guess(self, track, num_tokens):
        request, ids = track.request, track.ids[: track.known].tolist()
        matcher = None if request.matcher is None else request.matcher.copy()
        temperature, seed = request.sample_head[0], request.sample_head[4]
        draft = []
        for _ in range(num_tokens):
            allowed = None if matcher is None else set(matcher.allowed())
            token = self.executor.draw(
                ids + draft, seed, len(ids + draft) - request.prompt_len, temperature, (), allowed
            )
            if self.is_wrong(len(ids + draft)):
                token = (token + 1) % VOCAB
            draft.append(token)
            if matcher is not None and not matcher.accept(token):
                break
        return Draft(np.array(draft, np.int32), self.name)

    def step_seconds(self, num_tracks):
        return 0.0

    def observe(self, request, ids):
        assert ids.size >= request.prompt_len

    def forget(self, track):
        assert track.request.row >= 0

    def flush(self):
        pass


class FreeRows:
    """Costs by which a step is the faster the more rows it has: whatever is drafted is tried."""

    def __init__(self) -> None:
        self.seconds = 1.0 / np.arange(1, 10_000)

    def curve(self, context):
        return self.seconds

    def add(self, num_rows, context, seconds):
        assert seconds >= 0


def guess(harness, *drafters, is_wrong=lambda position: False, max_draft_len=8, predicts=False):
    """Lets a harness try every draft of `drafters` (default: of one that knows the answers). predicts: bursts guess."""
    state, executor = harness.scheduler._state, harness.executor
    drafters = drafters or (Guesses(executor, is_wrong),)
    predictions = Predictions(executor, max_guessed=max_draft_len) if predicts else None
    state.speculator = Speculator(
        drafters, state.rows, max_draft_len=max_draft_len, max_rows=10_000, predictions=predictions
    )
    state.speculator.costs = FreeRows()
    return harness


@pytest.fixture
def let_guess():
    return guess


class CycleMatcher(Steady):
    """After token t, the `width` tokens from 7t + 1 on are allowed (one: it is forced); done after `length` tokens."""

    error = None

    def __init__(self, widths, length, eos=None):
        self.widths, self.length, self.eos, self.taken = widths, length, eos, []

    def allowed(self):
        if len(self.taken) >= self.length:
            return []
        width = self.widths[len(self.taken) % len(self.widths)]
        last = self.taken[-1] if self.taken else 0
        return [(7 * last + 1 + k) % VOCAB for k in range(width)]

    def fill(self, mask_W):
        mask_W[:] = 0
        for token in self.allowed():
            mask_W[token // 32] |= np.uint32(1 << (token % 32))

    def accept(self, token_id):
        if token_id not in self.allowed():
            return False
        self.taken.append(token_id)
        return True

    def copy(self):
        other = CycleMatcher(self.widths, self.length)
        other.taken = list(self.taken)
        return other

    def would_accept(self, token_ids):
        probe = self.copy()
        return next((i for i, token in enumerate(token_ids) if not probe.accept(token)), len(token_ids))

    def forced(self):
        probe, run = self.copy(), []
        while len(allowed := probe.allowed()) == 1:
            run.append(allowed[0])
            probe.accept(allowed[0])
        return run

    @property
    def is_finished(self):
        return len(self.taken) >= self.length

    is_accepting = is_finished


class CycleGrammars:
    """Constraint Regex("1,2,3:9"): CycleMatcher((1, 2, 3), 9). Ready when `release` is called, at once by default."""

    matcher_type = CycleMatcher

    def __init__(self, held=False):
        """held: ready only when `release` is called."""
        self.held, self.waiting = held, []

    def submit(self, constraint):
        future = Future()
        if self.held:
            self.waiting.append((future, constraint))
        else:
            self.answer(future, constraint)
        return future

    def release(self):
        for future, constraint in self.waiting:
            if future.set_running_or_notify_cancel():
                self.answer(future, constraint)
        self.waiting = []

    def answer(self, future, constraint):
        if constraint.pattern == "bad":
            future.set_exception(GrammarTooLarge("too large", param="regex"))
            return
        widths, length = constraint.pattern.split(":")
        grammar = SimpleNamespace(matcher=lambda _: self.matcher_type([int(w) for w in widths.split(",")], int(length)))
        future.set_result(grammar)


@pytest.fixture
def make_grammars():
    return CycleGrammars


@pytest.fixture
def make_matcher():
    return CycleMatcher
