"""Any order of submits, steps, aborts, failures and time: every request ends once, rightly, and no slot is lost."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Abort, AbortAll, Control, Expected, LogprobRequest, Pause, Release

EOS = 5
RARELY = st.integers(0, 7).map(lambda number: number == 7)
STEM = [(i * 17 + 3) % 61 for i in range(48)]


class Machine(RuleBasedStateMachine):
    def __init__(self, let_guess, make_harness, make_grammars, make_matcher) -> None:
        super().__init__()
        self.let_guess = let_guess
        self.make_harness, self.make_grammars, self.make_matcher = make_harness, make_grammars, make_matcher

    @initialize(
        page_size=st.sampled_from([1, 1, 2, 8, 16, 32]),
        chunk=st.sampled_from([1, 3, 16, 64, 512]),
        num_slots=st.sampled_from([64, 96, 160, 1024]),
        rows=st.sampled_from([1, 3, 8, 32]),
        policy=st.sampled_from(["lru", "lfu", "slru", "tlru", "program-gdsf", "program-gdsf"]),
        queued=st.sampled_from([1, 256, 256]),
        schedule=st.sampled_from(["lpm", "fcfs"]),
        no_cache=st.booleans(),
        jump=st.booleans(),
        overlap=st.booleans(),
        late=st.booleans(),
        settles=st.lists(st.booleans(), min_size=1, max_size=5),
        held=st.booleans(),
        draft_len=st.sampled_from([0, 0, 1, 3, 8]),
        wrong_every=st.sampled_from([1, 2, 3, 7, 100]),
        lucky=st.lists(st.integers(0, 4), max_size=3),
        step_s=st.sampled_from([0.0, 1e-3, 4e-3]),
        ends_early=st.lists(st.booleans(), min_size=1, max_size=4),
    )
    def start(
        self,
        page_size,
        chunk,
        num_slots,
        rows,
        policy,
        queued,
        schedule,
        no_cache,
        jump,
        overlap,
        late,
        settles,
        held,
        draft_len,
        wrong_every,
        lucky,
        step_s,
        ends_early,
    ) -> None:
        """step_s: what steps take; bursts are made of short ones, and end early in turn.
        lucky: so many of their guesses are right, in turn; empty: they make none."""
        self.chunk = chunk
        self.grammars = self.make_grammars(held=held)
        self.harness = self.make_harness(
            page_size=page_size,
            chunked_prefill_size=chunk,
            num_slots=num_slots,
            max_running_requests=rows,
            max_queued_requests=queued,
            max_context=64,
            radix_eviction_policy=policy,
            schedule_policy=schedule,
            disable_radix_cache=no_cache,
            disable_overlap_schedule=not overlap,
            late=late,
            settles=settles,
            eos={EOS},
            grammars=self.grammars,
            disable_jump_forward=not jump,
        )
        self.harness.executor.seconds_per_step = step_s
        self.harness.executor.ends_early = itertools.cycle(ends_early).__next__
        if draft_len:
            self.let_guess(
                self.harness,
                is_wrong=lambda position: position % wrong_every == 0,
                max_draft_len=draft_len,
                predicts=bool(lucky),
            )
            self.harness.executor.lucky = itertools.cycle(lucky or [0]).__next__
        self.asked = {}
        self.kept = {}
        self.aborted, self.late, self.poisoned = set(), set(), []
        self.num = 0

    @rule(
        stem=st.integers(20, 48),
        tail=st.lists(st.integers(0, 1), max_size=4),
        max_new_tokens=st.integers(4, 14),
        copies=st.integers(1, 3),
        echo=st.booleans(),
        keep=st.booleans(),
    )
    def submit_plain(self, **asked) -> None:
        self.submit(**asked)

    @rule(
        stem=st.integers(0, 48),
        tail=st.lists(st.integers(0, 3), max_size=6),
        max_new_tokens=st.integers(0, 14),
        temperature=st.sampled_from([0.0, 1.0]),
        ignore_eos=st.booleans(),
        min_new_tokens=st.integers(0, 4),
        penalty=st.sampled_from([0.0, 0.0, 0.5]),
        stop=st.sampled_from([(), ("B",), ("AB", "Z", "MN")]),
        stop_ids=st.sampled_from([(), (9, 11, 30)]),
        pattern=st.sampled_from([None, None, "1,3:9", "2,1,1,4:30", "3:4"]),
        prompt_start=st.sampled_from([-1, -1, 0, 1, 20]),
        output_logprobs=st.booleans(),
        copies=st.sampled_from([1, 1, 1, 4]),
        keep=st.booleans(),
        echo=st.booleans(),
        hidden=st.booleans(),
        namespace=st.sampled_from(["", "", "other"]),
        client=st.sampled_from(["a", "b"]),
        parent=st.integers(0, 5),
        priority=st.sampled_from([0, 0, 1, -3]),
        program=st.sampled_from(["", "", "p", "q"]),
        pin=st.booleans(),
        next_use=st.integers(0, 3),
        expects=st.sampled_from([None, None, "e1", "e2"]),
    )
    def submit_any(self, **asked) -> None:
        self.submit(**asked)

    def submit(
        self,
        stem,
        tail,
        max_new_tokens,
        copies,
        echo,
        keep,
        temperature=0.0,
        ignore_eos=True,
        min_new_tokens=0,
        penalty=0.0,
        stop=(),
        stop_ids=(),
        pattern=None,
        prompt_start=-1,
        output_logprobs=False,
        hidden=False,
        namespace="",
        client="a",
        parent=0,
        priority=0,
        program="",
        pin=False,
        next_use=0,
        expects=None,
    ) -> None:
        for copy in range(copies):
            self.num += 1
            rid = f"r{self.num}"
            prompt = STEM[:stem] + tail or [1]
            fields = {}
            if parent == 0 and self.kept:
                name, (ids, where) = sorted(self.kept.items())[-1]
                cut = min(len(ids), 40)
                fields = {"parent": name, "parent_len": cut}
                namespace, delta = where, tail or [1]
                prompt = ids[:cut] + delta
            if keep:
                fields |= {"keep": f"k{self.num % 4}", "pin": pin, "next_use": next_use}
            if expects is not None:
                fields["expects"] = (Expected(expects, STEM[: stem // 2 + 1], 1 + next_use),)
            wants_scores = output_logprobs or prompt_start >= 0
            self.asked[rid] = {
                "prompt": prompt,
                "max_new_tokens": max_new_tokens,
                "temperature": temperature,
                "ignore_eos": ignore_eos,
                "min_new_tokens": min(min_new_tokens, max_new_tokens),
                "stop": stop,
                "stop_ids": stop_ids,
                "pattern": pattern,
                "prompt_start": min(prompt_start, len(prompt) - 1),
                "seed": 77 + self.num,
                "output_logprobs": output_logprobs,
                "hidden": hidden,
            }
            self.harness.submit(
                rid,
                prompt[fields.get("parent_len", 0) :],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                ignore_eos=ignore_eos,
                min_new_tokens=min(min_new_tokens, max_new_tokens),
                frequency_penalty=penalty,
                stop=stop,
                stop_token_ids=stop_ids,
                sampling_seed=77 + self.num,
                constraint=Regex(pattern) if pattern and max_new_tokens else None,
                logprobs=LogprobRequest(output_logprobs, self.asked[rid]["prompt_start"], 2, (4,))
                if wants_scores
                else None,
                echo_steps=echo,
                want_hidden=hidden,
                namespace=namespace,
                client=client,
                priority=priority,
                program=program,
                group=f"g{self.num - copy}" if copies > 1 else None,
                **fields,
            )

    @rule(times=st.integers(1, 12))
    def step(self, times) -> None:
        for _ in range(times):
            running = list(self.harness.scheduler._state.running)
            times = running[0].times_retracted if running else 0
            self.harness.step()
            self.harness.clock.now += 0.01
            assert not running or running[0].times_retracted == times, "the oldest was retracted"
            assert all(r.times_retracted <= 2 for r in running)
        self.note_kept()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def abort(self, data) -> None:
        rid = data.draw(st.sampled_from(sorted(self.asked)))
        if rid not in self.harness.finish:
            self.aborted.add(rid)
        self.harness.scheduler.post(Abort(rid=rid))
        self.harness.scheduler.post(Abort(rid=rid[:-1]))
        if rid[:-1] in self.asked and rid[:-1] not in self.harness.finish:
            self.aborted.add(rid[:-1])

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), on=st.booleans())
    def reader_lags(self, data, on) -> None:
        rid = data.draw(st.sampled_from(sorted(self.asked)))
        self.harness.scheduler.post(Pause(rid=rid, on=on))

    @rule(on=st.booleans())
    def pause_all(self, on) -> None:
        self.harness.scheduler.post(Control(id="p", action="pause" if on else "resume"))
        self.harness.step()
        self.note_kept()

    @rule()
    def grammars_are_ready(self) -> None:
        self.grammars.release()

    @rule(really=RARELY)
    def abort_all(self, really) -> None:
        if not really:
            return
        self.aborted |= set(self.asked) - set(self.harness.finish)
        self.harness.scheduler.post(AbortAll())

    @rule(really=st.booleans())
    def fail_next_step(self, really) -> None:
        """Once: it is repaired by running it again, which must not meet another failure."""
        under_way = self.harness.steps.under_way
        if not really or self.harness.executor.poison or any(getattr(step, "error", None) for step in under_way):
            return
        self.harness.executor.fail_at = self.harness.executor.num_steps + 1
        self.harness.step()
        self.note_kept()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def poison(self, data) -> None:
        """No step survives a draw of this request, nor of those that may sample from its row."""
        rid = data.draw(st.sampled_from(sorted(self.asked)))
        self.poisoned.append(self.asked[rid]["prompt"])
        self.harness.executor.fail_at = None
        self.harness.executor.poison.add(self.asked[rid]["seed"])

    @rule(really=RARELY)
    def time_passes(self, really) -> None:
        if not really:
            return
        self.harness.clock.now += 700
        self.late |= set(self.asked) - set(self.harness.finish)
        self.harness.step()
        self.note_kept()

    @rule(really=RARELY)
    def flush(self, really) -> None:
        if not really:
            return
        self.harness.scheduler.post(Control(id="f", action="flush"))
        self.harness.step()
        self.note_kept()

    @rule(name=st.sampled_from(["k0", "k1", "k2", "e1", "e2", "nobody"]))
    def release(self, name) -> None:
        self.step(1)
        self.harness.scheduler.post(Release(streams=[name]))
        self.kept.pop(name, None)
        self.step(1)

    def note_kept(self) -> None:
        """A stream may be continued from when its request's end was told."""
        state = self.harness.scheduler._state
        leases = {name: lease for name, lease in state.leases._leases.items() if not lease.is_expected}
        self.kept = {name: (lease.ids.tolist(), lease.namespace) for name, lease in leases.items()}

    def reference(self, asked):
        """(token ids, type, matched) of a request that runs alone."""
        matcher = None
        if asked["pattern"] and asked["max_new_tokens"]:
            widths, length = asked["pattern"].split(":")
            matcher = self.make_matcher([int(w) for w in widths.split(",")], int(length))
        room = min(64, self.harness.executor.num_slots) - len(asked["prompt"])
        limit = min(asked["max_new_tokens"], room)
        executor = self.harness.executor
        out, text = [], ""
        ends = set(asked["stop_ids"]) | (set() if asked["ignore_eos"] else {EOS})
        while len(out) < limit:
            banned = set(asked["stop_ids"]) | {EOS} if len(out) < asked["min_new_tokens"] else set()
            allowed = None if matcher is None else set(matcher.allowed())
            token = executor.draw(asked["prompt"] + out, asked["seed"], len(out), asked["temperature"], banned, allowed)
            out.append(token)
            if token in ends or (matcher is not None and token == EOS):
                return out, "stop", token
            if matcher is not None and not matcher.accept(token):
                return out, "error", None
            text += chr(65 + token)
            found = [(text.find(s), i, s) for i, s in enumerate(asked["stop"]) if s in text]
            if found:
                return out, "stop", min(found)[2]
            if matcher is not None and matcher.is_finished:
                return out, "stop", None
        return out, "length", None

    def teardown(self) -> None:
        if not hasattr(self, "harness"):
            return
        harness = self.harness
        harness.scheduler.post(Control(id="p", action="resume"))
        for rid in self.asked:
            harness.scheduler.post(Pause(rid=rid, on=False))
        harness.run()
        self.grammars.release()
        harness.run()
        assert harness.executor.max_tokens <= self.chunk
        assert set(harness.finish) == set(self.asked)
        for rid, asked in self.asked.items():
            self.check_one(rid, asked)
        assert harness.stats["num_used_tokens"] == 0
        assert not harness.scheduler._state.requests
        assert not harness.scheduler._state.compiling
        assert len(harness.scheduler._state.queue) == 0
        harness.scheduler.post(Control(id="f", action="flush"))
        harness.step()
        assert harness.stats["kv_available_tokens"] == harness.stats["max_total_num_tokens"]

    def check_one(self, rid, asked) -> None:
        finish, got = self.harness.finish[rid], self.harness.token_ids[rid]
        expected, kind, matched = self.reference(asked)
        assert got == expected[: len(got)], rid
        if finish.type == "abort":
            assert rid in self.aborted | self.late
            return
        if finish.type == "error" and finish.status == 500 and finish.code == "internal_error":
            assert asked["prompt"] in self.poisoned
            return
        if finish.code in ("unknown_stream", "queue_full"):
            return
        if len(asked["prompt"]) + min(1, asked["max_new_tokens"]) > 64:
            assert finish.code == "context_length_exceeded"
            return
        assert (got, finish.type) == (expected, kind), finish
        if kind == "stop":
            assert finish.matched == matched
        outputs = self.harness.outputs[rid]
        logprobs = [x for output in outputs for x in output.logprobs]
        score = self.harness.executor.score_after
        if asked["output_logprobs"] and got:
            assert [x.token_id for x in logprobs] == got
            assert logprobs[0].logprob == score(asked["prompt"], got[0])
        elif asked["output_logprobs"] and asked["max_new_tokens"] == 0:
            assert len(logprobs) == 1
            assert logprobs[0].logprob == max(score(asked["prompt"], token) for token in range(61))
        if (start := asked["prompt_start"]) >= 0:
            told = [x for output in outputs for x in output.prompt_logprobs]
            prompt = asked["prompt"]
            assert [x.token_id for x in told] == prompt[start:]
            wanted = [score(prompt[:i], prompt[i]) if i else None for i in range(start, len(prompt))]
            assert [x.logprob for x in told] == wanted
            assert outputs[0].cached_len <= start
        assert bool(outputs[0].hidden) == asked["hidden"]
        if asked["hidden"]:
            assert outputs[0].hidden[0] == self.harness.executor.hash_of(asked["prompt"]) % 1000


def test_any_schedule(let_guess, make_harness, make_grammars, make_matcher) -> None:
    run_state_machine_as_test(
        lambda: Machine(let_guess, make_harness, make_grammars, make_matcher),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
