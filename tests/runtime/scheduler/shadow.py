"""A model without weights, and an executor that checks every slot it reads. Loaded by conftest.py."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from radixlang.runtime.model_runner.plan import Guessed, Logprobs, StepOutput, StepPlan

VOCAB = 61
MASK = (1 << 61) - 1


def mix(prefix_hash: int, token: int) -> int:
    """Hash of a prefix with one more token."""
    return (prefix_hash * 6364136223846793005 + token * 1442695040888963407 + 1) & MASK


def next_token(prefix_hash: int, seed: int, counter: int, temperature: float) -> int:
    """What the shadow model draws: arg max depends on the prefix alone, a draw on seed and counter too."""
    if temperature == 0:
        return (prefix_hash >> 20) % VOCAB
    return (mix(mix(prefix_hash, seed % (1 << 32)), counter) >> 20) % VOCAB


def choose(prefix_hash, seed, counter, temperature, banned, allowed) -> int:
    token = next_token(prefix_hash, seed, counter, temperature)
    for _ in range(VOCAB):
        if token not in banned and (allowed is None or token in allowed):
            break
        token = (token + 1) % VOCAB
    return token


def hash_of(token_ids) -> int:
    prefix_hash = 0
    for token in token_ids:
        prefix_hash = mix(prefix_hash, token)
    return prefix_hash


def start_of(plan: StepPlan, b: int) -> int:
    """Hash of an empty prefix: with an adapter, K and V of the first token are others already."""
    adapter = plan.adapters[plan.adapters_B[b]] if plan.adapters and plan.adapters_B[b] >= 0 else None
    return 0 if adapter is None else int(adapter.digest, 16) & MASK


class ShadowExecutor:
    """Each slot holds (token, position, hash of the whole prefix), and is read through the page table like attention.

    Any wrong share, early free, stale row or race shows as a failed assertion or a wrong token.
    """

    vocab_size = VOCAB
    hidden_size = 2
    device = "shadow"
    kv_bytes_per_token = 1
    takes_trees = True
    max_guessed = 4

    def __init__(self, num_slots: int = 4096, seconds_per_token: float = 0.0, clock=None) -> None:
        self.num_slots = num_slots
        self.token = np.full(num_slots, -1, np.int64)
        self.position = np.full(num_slots, -1, np.int64)
        self.prefix = [0] * num_slots
        self.num_computed = 0
        self.num_steps = 0
        self.max_tokens = 0
        self.fail_at: int | None = None
        self.poison: set[int] = set()
        """Seeds of samples that no step survives."""
        self.clock = clock
        self.seconds_per_token = seconds_per_token
        self.seconds_per_step = 0.0
        self.ends_early = lambda: False
        self.lucky = lambda: 0
        self.plans: list[tuple[int, int]] = []

    def execute(self, plan: StepPlan) -> StepOutput:
        """Of a burst as many steps as `ends_early` lets it, after the first."""
        if plan.burst is not None and plan.burst.guessing is not None:
            return self.execute_guessing(plan)
        output = self.execute_one(plan)
        last = output
        while plan.burst is not None and 1 + len(output.further) < plan.burst.num_steps:
            if plan.burst.halt[0] or np.isin(last.token_ids_S, plan.burst.end_ids).any() or self.ends_early():
                break
            if plan.burst.look is not None and not plan.burst.look(last.token_ids_S):
                break
            plan = self.next_plan(plan, last.token_ids_S)
            last = self.execute_one(plan)
            output.further.append(last)
        return output

    def execute_guessing(self, plan: StepPlan) -> StepOutput:
        """Guesses are right as often as `lucky` says; behind them lie K and V of tokens that did not come."""
        burst, outputs, num_steps = plan.burst, list[StepOutput](), 0
        guessing, num_right = burst.guessing, 0
        known = guessing.ids.tolist()
        assert len(known) == plan.kv_lens_B[0] == plan.positions_T[0] + 1
        assert known[-1] == plan.token_ids_T[0]
        while num_steps < burst.num_steps and len(outputs) < guessing.num_rounds:
            num_steps += 1
            most = min(guessing.max_guessed, guessing.num_rounds - len(outputs) - 1)
            last = int(plan.positions_T[0]) + (len(outputs) > 0) + most
            for more in range(1 + min(most, self.lucky())):
                if outputs:
                    plan = self.next_plan(plan, outputs[-1].token_ids_S)
                outputs.append(self.execute_one(plan))
                num_right += more > 0
                if np.isin(outputs[-1].token_ids_S, burst.end_ids).any():
                    break
            position = int(plan.positions_T[0])
            wrong = plan.page_table[plan.table_rows_B[0], position + 1 : last + 1]
            self.token[wrong], self.position[wrong] = -1, -1
            if burst.halt[0] or np.isin(outputs[-1].token_ids_S, burst.end_ids).any() or self.ends_early():
                break
        known += [int(output.token_ids_S[0]) for output in outputs]
        first, *further = outputs
        return dataclasses.replace(
            first,
            further=further,
            guessed=Guessed(len(known), 0, num_steps, num_steps, num_right + num_steps, num_right),
        )

    def new_predictor(self, habits=None):
        return self

    def learn(self, ids_N, begin) -> None:
        assert 0 <= begin <= ids_N.size

    @staticmethod
    def next_plan(plan: StepPlan, drawn) -> StepPlan:
        """What follows it in a burst."""
        rows = np.arange(drawn.size)
        assert np.array_equal(plan.query_start_B1, np.arange(drawn.size + 1))
        assert [sample.row for sample in plan.samples] == rows.tolist()
        assert not plan.scores
        assert not plan.hidden_rows.size
        assert plan.burst.look is not None or all(sample.mask_row < 0 for sample in plan.samples)
        samples = []
        for sample, token in zip(plan.samples, drawn.tolist(), strict=True):
            ids, counts = sample.penalty_ids, sample.penalty_counts
            if ids.size:
                if token not in ids:
                    ids, counts = np.append(ids, np.int32(token)), np.append(counts, np.int32(0))
                counts = counts + (ids == token)
            samples.append(sample._replace(counter=sample.counter + 1, penalty_ids=ids, penalty_counts=counts))
        return dataclasses.replace(
            plan,
            token_ids_T=drawn.copy(),
            positions_T=plan.positions_T + 1,
            slots_T=plan.page_table[plan.table_rows_B, plan.positions_T + 1],
            kv_lens_B=plan.kv_lens_B + 1,
            samples=samples,
            fill_masks=None,
        )

    def execute_one(self, plan: StepPlan) -> StepOutput:
        self.num_steps += 1
        if self.fail_at is not None and self.num_steps == self.fail_at:
            raise RuntimeError("injected")
        if self.poison and any(sample.seed in self.poison for sample in plan.samples):
            raise RuntimeError("poisoned")
        num_tokens = plan.token_ids_T.size
        self.num_computed += num_tokens
        self.max_tokens = max(self.max_tokens, num_tokens)
        assert num_tokens == plan.query_start_B1[-1] == plan.positions_T.size == plan.slots_T.size
        assert len(set(plan.slots_T.tolist())) == num_tokens, "two rows write one slot"
        assert np.array_equal(
            plan.query_start_B1[1:] - plan.query_start_B1[:-1] > 0, np.ones(plan.kv_lens_B.size, bool)
        )
        hashes = [0] * num_tokens
        self.token[plan.slots_T] = plan.token_ids_T
        self.position[plan.slots_T] = plan.positions_T
        order = sorted(range(num_tokens), key=lambda row: int(plan.positions_T[row]))
        starts = [start_of(plan, b) for b in range(plan.kv_lens_B.size)]
        owner = np.repeat(np.arange(plan.kv_lens_B.size), np.diff(plan.query_start_B1))
        for row in order:  # a position at a time over the batch, so that sharing within the step sees what is written
            b, position, slot = int(owner[row]), int(plan.positions_T[row]), int(plan.slots_T[row])
            table = plan.page_table[plan.table_rows_B[b]]
            at, above = self.place(plan, b, row)
            assert int(table[at]) == slot, "a row writes a slot that its table does not name"
            before = self.prefix[int(table[above])] if position else starts[b]
            self.prefix[slot] = hashes[row] = mix(before, int(plan.token_ids_T[row]))
        for b in range(plan.kv_lens_B.size):
            last = int(plan.query_start_B1[b + 1]) - 1
            length = int(plan.kv_lens_B[b])
            if plan.tree_T.size and plan.tree_T[last]:
                length -= last - int(plan.query_start_B1[b])  # whole up to its first row
            else:
                assert int(plan.positions_T[last]) == length - 1
            slots = plan.page_table[plan.table_rows_B[b], :length]
            assert np.array_equal(self.position[slots], np.arange(length)), "a slot holds another position"
            expected = starts[b]
            for slot in slots.tolist():
                expected = mix(expected, int(self.token[slot]))
                assert self.prefix[slot] == expected, "a slot was computed behind another prefix"
        for group in plan.groups:
            shared = [plan.page_table[plan.table_rows_B[b], : group.length] for b in range(group.first, group.end)]
            assert len(shared) > 1
            assert all(np.array_equal(shared[0], other) for other in shared)
        if plan.fill_masks is not None:
            plan.fill_masks()
        tokens = np.zeros(len(plan.samples), np.int32)
        logprobs: list[Logprobs | None] = []
        for i, sample in enumerate(plan.samples):
            banned = set(sample.bias_ids[np.isneginf(sample.bias_values)].tolist())
            counted = int(sample.penalty_counts.sum())
            assert not sample.penalty_ids.size or counted == sample.counter or sample.mask_row >= 0 < counted
            allowed = None
            if sample.mask_row >= 0:
                mask = plan.masks_MW[sample.mask_row]
                allowed = {token for token in range(VOCAB) if mask[token // 32] >> (token % 32) & 1}
            token = choose(hashes[sample.row], sample.seed, sample.counter, sample.temperature, banned, allowed)
            tokens[i] = token
            scored = self.score(hashes[sample.row], token, max(0, sample.num_top), sample.logprob_ids)
            logprobs.append(scored if sample.num_top >= 0 else None)
        scores = [self.score(hashes[s.row], s.target, s.num_top, s.logprob_ids) for s in plan.scores]
        hidden = np.array([[hashes[row] % 1000, 1.0] for row in plan.hidden_rows.tolist()], np.float32).reshape(-1, 2)
        if self.clock is not None:
            self.clock.now += self.seconds_per_step + self.seconds_per_token * num_tokens
        return StepOutput(tokens, logprobs, scores, hidden)

    @staticmethod
    def place(plan: StepPlan, b: int, row: int) -> tuple[int, int]:
        """Places in the page table of a row's own slot and of what it goes on from."""
        position, first = int(plan.positions_T[row]), int(plan.query_start_B1[b])
        if not plan.tree_T.size or not plan.tree_T[first]:
            return position, position - 1
        base, own, seen = int(plan.positions_T[first]), row - first, int(plan.tree_T[row])
        assert seen >> own == 1, "a row sees itself and none behind it"
        above = (seen & ~(1 << own)).bit_length() - 1
        assert own == 0 or (above >= 0 and seen == int(plan.tree_T[first + above]) | 1 << own)
        assert position == base + int(seen).bit_count() - 1
        return base + own, base + above

    @staticmethod
    def score(prefix_hash: int, target: int, num_top: int, asked) -> Logprobs:
        def of(token: int) -> float:
            return -1.0 - (mix(prefix_hash, token) % 1000) / 100

        top = sorted(range(VOCAB), key=lambda token: (-of(token), token))[:num_top]
        return Logprobs(of(target) if target >= 0 else math.nan, top, [of(t) for t in top], [of(int(t)) for t in asked])

    def draw(self, token_ids, seed, counter, temperature, banned, allowed) -> int:
        """What it would draw after these tokens."""
        return choose(hash_of(token_ids), seed, counter, temperature, banned, allowed)

    def score_after(self, token_ids, token) -> float:
        return self.score(hash_of(token_ids), token, 0, ()).logprob

    hash_of = staticmethod(hash_of)

    def close(self) -> None:
        pass
