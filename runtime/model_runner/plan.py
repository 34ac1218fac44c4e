"""One step: what the scheduler asks of an executor, and what comes back. numpy only.

T packed tokens, B sequences (requests that compute something in this step), S samples, N scored rows, W mask words.
Decode rows, prefill chunks, forced tokens and drafts are all rows of one packed batch; every layer writes K and V of
all rows before it attends, so a sequence may read slots that another sequence of the same step computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...kernels.cpu.predictor import HabitTables
    from ..lora.adapter import Adapter

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


class SharedPrefix(NamedTuple):
    """Sequences [first, end) begin with the same `length` slots: attention over it may be computed as one (cascade)."""

    first: int
    end: int
    length: int


class SamplePlan(NamedTuple):
    """How to draw one token. Order of application: see SamplingParams."""

    row: int
    """Packed row whose logits decide. Several samples may read one row (n > 1, forks)."""
    temperature: float
    """0: arg max, lowest id on ties."""
    top_k: int
    """0: all."""
    top_p: float
    min_p: float
    seed: int
    """Unsigned 64 bits."""
    counter: int
    """Draws this request has made: the random number is a function of (seed, counter) alone; see `uniform`."""
    mask_row: int
    """Row of `StepPlan.masks_MW`, -1: everything is allowed."""
    bias_ids: Int32
    bias_values: Float32
    """Added to the logits; -inf bans."""
    penalty_ids: Int32
    """Distinct tokens of prompt and output, when a penalty is set; else empty."""
    penalty_counts: Int32
    """How often each occurs in the output (0: prompt only); frequency and presence look at the output alone."""
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    num_top: int
    """-1: no log-probabilities; k >= 0: the drawn token's and those of the k likeliest."""
    logprob_ids: Int32
    """Further ids whose log-probabilities are wanted."""


class ScorePlan(NamedTuple):
    """A row whose log-probabilities are wanted without a draw (prompt scoring)."""

    row: int
    target: int
    """The token that follows in the prompt; -1: none."""
    num_top: int
    logprob_ids: Int32


class Predictor(Protocol):
    """Guesses the next token from the last ones, and knows what a guess is worth; of an executor that `Predicts`."""

    def learn(self, ids_N: Int32, begin: int) -> None:
        """That ids_N[begin:] came, each behind those before it."""
        ...


class Guessing(NamedTuple):
    """How the steps of a burst of one row guess tokens to try behind it."""

    predictor: Predictor
    ids: Int32
    """What the sequence holds, its last token included."""
    num_learned: int
    """Of these the predictor has learned so many."""
    streak: int
    """How many tokens in a row it had guessed right there."""
    max_guessed: int
    """Tokens that one step tries, at most,"""
    num_rounds: int
    """and that all steps draw: what one draws as it was guessed counts as if steps of their own had drawn it."""


class Guessed(NamedTuple):
    """What came of it."""

    num_learned: int
    streak: int
    num_steps: int
    num_tries: int
    """Steps that tried tokens."""
    num_guessed: int
    num_right: int
    """Guessed tokens that were tried, and that were what was drawn."""


class Burst(NamedTuple):
    """More steps behind a step: each computes the draws of the one before, a position further. For plans whose every
    row is the last token of a sequence and has one sample, in the order of the rows, without scores or hidden rows; the
    page table holds the slots. An executor may run fewer, or one alone."""

    num_steps: int
    """At most, that of the plan included."""
    end_ids: Int32
    """None follows a step that draws one of these,"""
    halt: Int32
    """[1]: nor one behind which this is not 0. Another thread sets it when it wants the loop."""
    look: Callable[[Int32], bool] | None = None
    """Nor one that this answers False to: called between two steps, on the caller's thread, with the token_ids_S of the
    first one. It fills the plan's masks for the second; plans with masks have it."""
    guessing: Guessing | None = None
    """For an executor that `Predicts`, and a plan of one row without a mask."""


_NONE: Int32 = np.zeros(0, np.int32)
CAUSAL: NDArray[np.uint32] = np.zeros(0, np.uint32)
TREE_ROWS = 32
"""Bits of a word."""


@dataclass(slots=True)
class StepPlan:
    """The arrays are valid until the executor returns; the page table belongs to the scheduler and is only read.

    A plan made while the step before it still runs takes tokens that this step will draw (`relay_rows`). Who runs the
    steps in order (`RelayedSteps`) puts them into token_ids_T, so that an executor always finds every token there.
    """

    step: int
    token_ids_T: Int32
    positions_T: Int32
    slots_T: Int32
    """KV slot that each token writes."""
    query_start_B1: Int32
    """[B + 1] row offsets: sequence b owns rows query_start[b] .. query_start[b + 1]."""
    kv_lens_B: Int32
    """Tokens visible to the last row of each sequence, itself included; row r of it sees positions <= its own."""
    table_rows_B: Int32
    """Row of `page_table` of each sequence."""
    page_table: Int32
    """[rows, max_context]: slot of each position. C-contiguous, persistent."""
    groups: list[SharedPrefix] = field(default_factory=list)
    samples: list[SamplePlan] = field(default_factory=list)
    scores: list[ScorePlan] = field(default_factory=list)
    masks_MW: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, 0), np.uint32))
    """Bit t % 32 of word t // 32: token t is allowed."""
    fill_masks: Callable[[], None] | None = None
    """Fills `masks_MW` and the penalties of `samples` (their rows are known before), which may depend on the draws of
    the step before and are read only then; the executor calls it once before it samples, after the forward pass started
    where it can."""
    fill_waits: bool = False
    """It blocks until another thread is done with the step before: worth two calls instead of one."""
    hidden_rows: Int32 = field(default_factory=lambda: _NONE)
    """Rows whose final hidden state (after the last norm) is wanted, for embeddings."""
    relay_rows: Int32 = field(default_factory=lambda: _NONE)
    """Packed rows whose token is a draw of the step before,"""
    relay_samples: Int32 = field(default_factory=lambda: _NONE)
    """and which of its samples that is."""
    adapters: list[Adapter] = field(default_factory=list)
    """Those that sequences of this step are computed with, each once; at most as many as the executor has slots."""
    adapters_B: Int32 = field(default_factory=lambda: _NONE)
    """Place in `adapters` of each sequence's, -1: none. Read where there are adapters."""
    tree_T: NDArray[np.uint32] = field(default_factory=lambda: CAUSAL)
    """Sequences whose drafts branch; empty: none does. Bit j of such a sequence's row: it sees the sequence's row j of
    this step, and everything before this step. Its rows, at most TREE_ROWS, have their slots in the page table one
    after the other, parents before their children, while `positions_T` says how deep they are. 0: a row of another
    sequence. Only for executors that are `TakesTrees`."""
    burst: Burst | None = None
    """Counters of its samples and counts of their penalties go on from step to step."""


class Logprobs(NamedTuple):
    """Natural logarithms under the model's own distribution (no temperature, penalty or mask)."""

    logprob: float
    """Of the drawn or target token; nan where there is none."""
    top_ids: list[int]
    top_logprobs: list[float]
    """Likeliest first; lowest id first on ties."""
    id_logprobs: list[float]
    """Of SamplePlan.logprob_ids, in their order."""


@dataclass(slots=True)
class StepOutput:
    token_ids_S: Int32
    logprobs_S: list[Logprobs | None]
    scores_N: list[Logprobs]
    hidden_RE: Float32
    """[len(hidden_rows), hidden_size]"""
    further: list[StepOutput] = field(default_factory=list)
    """Of a burst: what was drawn in the rounds behind the first, in order."""
    guessed: Guessed | None = None
    """Of a burst that guessed."""


class Executor(Protocol):
    """Runs steps on one device. Owns the weights and the KV pool, never a request. Not thread-safe: one step at a time.

    Batch invariance: a row's result must not depend on the other rows, on chunking or on what was cached.
    """

    vocab_size: int
    """Logits per row."""
    num_slots: int
    """KV slots, 0 .. num_slots - 1."""
    hidden_size: int
    device: str
    """For people: "cpu (native, avx512-vnni, 2 threads)"."""
    kv_bytes_per_token: int

    def execute(self, plan: StepPlan) -> StepOutput:
        """Blocks without the GIL where it can. An exception leaves the executor usable, for the same plan too."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class TakesTrees(Protocol):
    """An executor that may be given drafts that branch, `StepPlan.tree_T`."""

    takes_trees: bool
    """False: not with this model."""


@runtime_checkable
class Predicts(Protocol):
    """An executor whose bursts may guess tokens."""

    max_guessed: int
    """Tokens in one step, at most."""

    def new_predictor(self, habits: HabitTables | None = None) -> Predictor:
        """One that has learned nothing yet, beside the model's habits."""
        ...


_MASK64 = (1 << 64) - 1


def uniform(seed: int, counter: int) -> float:
    """The step's random number in [0, 1), 53 bits: splitmix64 (Steele et al., OOPSLA 2014) of seed and counter.

    Every sampler draws as follows, so that all agree: survivors get p = exp((logit - max) / temperature);
    the draw is the first survivor in order of ascending id whose running sum (float64) exceeds u * total. The filters,
    one after the other, over p of what the one before left, likeliest first and lowest id first on ties: top_k keeps
    k tokens; top_p keeps tokens until their sum reaches top_p of the total (at least one); min_p keeps those whose
    p >= min_p * largest.
    """
    x = (seed + 0x9E3779B97F4A7C15 * (counter + 1)) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    x ^= x >> 31
    return (x >> 11) * 2.0**-53
