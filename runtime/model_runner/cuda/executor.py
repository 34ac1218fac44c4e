"""Steps on a CUDA device: forward and draw are put on a stream, results fetched when they are there.

T packed rows, B sequences, S samples, V vocabulary. `execute` runs one step; `launch` returns at once, so that the next
step may be launched before this one's results are read (see steps.py): its tokens are then taken from the draws on the
device. Batch invariance holds to rounding: cuBLAS sums in another order for other numbers of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ....kernels.paged import describe
from ....kernels.reference.batch import PackedBatch
from ...model.adapted import AdapterSlots
from ...model.decoder import Decoder
from ...model.kv_pool import KvPool
from ...scheduler.step_thread import Steps
from ..plan import TREE_ROWS, Logprobs, StepOutput, StepPlan
from .graphs import Bucket, DecodeGraphs
from .logprobs import Asked, Gathered, gather
from .page_mirror import PageMirror
from .sample_arrays import draw
from .staging import Fetched, send
from .warm_up import plans

_LOGITS_BYTES = 256 << 20
"""Logits of prompt scoring that exist at once."""


@dataclass(slots=True)
class Launched:
    """A step on its way."""

    plan: StepPlan
    logits_RV: Tensor | None = None
    place: dict[int, int] = field(default_factory=dict)
    sampled: Gathered | None = None
    scored: list[Gathered] = field(default_factory=list)
    fetched: Fetched | None = None

    def result(self) -> StepOutput:
        """Blocks until the device is done."""
        assert self.fetched is not None
        tokens_S, hidden_RE, *told = self.fetched.wait()
        pairs = list(zip(told[::2], told[1::2], strict=True))
        logprobs: list[Logprobs | None] = [None] * len(self.plan.samples)
        if self.sampled is not None:
            wanted = [i for i, s in enumerate(self.plan.samples) if s.num_top >= 0]
            for i, logprob in zip(wanted, self.sampled.tell(*pairs.pop(0)), strict=True):
                logprobs[i] = logprob
        scores = [logprob for part, pair in zip(self.scored, pairs, strict=True) for logprob in part.tell(*pair)]
        return StepOutput(tokens_S, logprobs, scores, hidden_RE)


class CudaExecutor:
    """Implements `Executor`, `LaunchesAhead` and `TakesTrees`. Not thread-safe."""

    def __init__(
        self,
        decoder: Decoder,
        pool: KvPool,
        *,
        num_rows: int,
        max_context: int,
        page_size: int,
        uses_graphs: bool,
        adapters: AdapterSlots | None = None,
    ) -> None:
        """pool: one slot more than may be used; padding writes there. num_rows: sequences of a step, at most."""
        self._decoder, self._pool, self._adapters = decoder, pool, adapters
        self._device = decoder.device
        self.vocab_size = decoder.config.vocab_size
        self.num_slots = pool.num_slots - 1
        self.hidden_size = decoder.config.hidden_size
        self.kv_bytes_per_token = pool.bytes_per_token
        config = decoder.config
        self.takes_trees = all(window == 0 or window >= TREE_ROWS for window in config.windows)
        self._group = config.num_heads // config.num_kv_heads
        self._is_cuda = self._device.type == "cuda"
        self._stream = self._copies = None
        if self._is_cuda:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            # Weights and pool were filled on the stream that is current now.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._uses_graphs = uses_graphs
        name = torch.cuda.get_device_name(self._device) if self._is_cuda else "cpu"
        self.device = f"{self._device} ({name}, {str(decoder.embedding_VE.dtype).removeprefix('torch.')})"
        self._drawn_S: Tensor | None = None
        self._num_rows = num_rows
        self._mirror: PageMirror
        self._graphs: DecodeGraphs
        self._adapted_graphs: DecodeGraphs | None = None
        """Of steps in which a sequence has an adapter."""
        self._prepare(num_rows, -(-max_context // page_size) * page_size)

    def _prepare(self, num_rows: int, width: int) -> None:
        with torch.inference_mode(), self._on_stream():
            self._mirror = PageMirror(num_rows, width, self.num_slots, self._device)
            logits_RV = torch.empty(self._num_rows, self.vocab_size, dtype=torch.float32, device=self._device)
            make = partial(
                DecodeGraphs, self._num_rows, self._mirror, self.num_slots, logits_RV,
                captures=self._uses_graphs and self._is_cuda,
            )  # fmt: skip
            if self._adapters is not None:
                self._adapted_graphs = make(self._adapted_logits_of_all)
                self._adapters.release()
            self._graphs = make(self._logits_of_all)

    def _on_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def warm_up(self, largest_chunk: int) -> None:
        """Runs every kind of step once, so that none waits for a compiler later. largest_chunk: rows of a prompt."""
        adapters = self._adapters
        for blank in [None] if adapters is None else [None, adapters.blank()]:
            for plan in plans(
                num_rows=self._num_rows, width=self._mirror.width, spare_slot=self.num_slots,
                largest_chunk=largest_chunk, vocab_size=self.vocab_size, takes_trees=self.takes_trees,
            ):  # fmt: skip
                if blank is not None:
                    plan.adapters, plan.adapters_B = [blank], np.zeros(len(plan.kv_lens_B), np.int32)
                self.execute(plan)
            if blank is not None and adapters is not None:
                adapters.forget(blank)

    def steps(self, clock: Callable[[], float], on_done: Callable[[], None]) -> Steps:
        """See `scheduler.step_thread.LaunchesAhead`."""
        from .steps import CudaSteps

        return CudaSteps(self, clock, on_done)

    def execute(self, plan: StepPlan) -> StepOutput:
        """See `Executor`."""
        return self.launch(plan, relays=False).result()

    @torch.inference_mode()
    def launch(self, plan: StepPlan, *, relays: bool) -> Launched:
        """Puts a step on the stream; blocks only where `fill_masks` does.

        relays: tokens that the plan takes from the step before are taken from its draws on the device.
        """
        with self._on_stream():
            if not self._mirror.fits(plan.page_table):
                self._prepare(*plan.page_table.shape)
            self._mirror.update(plan)
            launched = Launched(plan)
            hidden_TE = self._forward(launched, relays=relays)
            if plan.fill_masks is not None:
                plan.fill_masks()
            self._draw(launched)
            self._score(launched, hidden_TE)
            return launched

    def _forward(self, launched: Launched, *, relays: bool) -> Tensor | None:
        """Logits of the rows that are sampled, and all rows' hidden states; None after a graph, which keeps none."""
        plan = launched.plan
        num_tokens = len(plan.token_ids_T)
        if self._adapters is not None:
            self._adapters.use(plan)
        is_decode = num_tokens == len(plan.kv_lens_B) <= self._graphs.largest
        if is_decode and not (plan.scores or len(plan.hidden_rows)):
            graphs, forward = self._graphs, self._logits_of_all
            adapters_B = None
            if plan.adapters and self._adapters is not None and self._adapted_graphs is not None:
                graphs, forward = self._adapted_graphs, self._adapted_logits_of_all
                adapters_B = self._adapters.slots_of(plan)
            bucket = graphs.bucket(num_tokens)
            bucket.fill(plan, adapters_B)
            if relays:
                self._relay(bucket.token_ids, plan)
            launched.logits_RV = bucket.run(forward)[:num_tokens]
            launched.place = {row: row for row in range(num_tokens)}
            return None
        ids_T, positions_T, slots_T = send([plan.token_ids_T, plan.positions_T, plan.slots_T], self._device)
        if relays:
            self._relay(ids_T, plan)
        paged = describe(
            plan.query_start_B1, plan.kv_lens_B, plan.table_rows_B, self._mirror.table, group=self._group,
            head_dim=self._decoder.config.head_dim, tree=(plan.tree_T, plan.positions_T) if plan.tree_T.size else None,
        )  # fmt: skip
        hidden_TE = self._decoder.forward(ids_T, slots_T, PackedBatch([], positions_T, paged), self._pool)
        rows = sorted({s.row for s in plan.samples})
        launched.place = {row: i for i, row in enumerate(rows)}
        launched.logits_RV = self._logits(hidden_TE, rows)
        return hidden_TE

    def _relay(self, ids_T: Tensor, plan: StepPlan) -> None:
        if plan.relay_rows.size:
            assert self._drawn_S is not None
            rows, samples = send([plan.relay_rows, plan.relay_samples], self._device)
            ids_T.index_copy_(0, rows.long(), self._drawn_S[samples.long()])

    def _logits_of_all(self, bucket: Bucket) -> None:
        hidden_TE = self._decoder.forward(bucket.token_ids, bucket.slots, bucket.batch, self._pool)
        self._decoder.logits(self._decoder.norm(hidden_TE), bucket.logits_RV)

    def _adapted_logits_of_all(self, bucket: Bucket) -> None:
        assert self._adapters is not None
        self._adapters.bind(bucket.adapters)
        self._logits_of_all(bucket)

    def _logits(self, hidden_TE: Tensor, rows: list[int]) -> Tensor:
        (there,) = send([np.array(rows, np.int32)], self._device)
        if self._adapters is not None:
            self._adapters.keep(rows)
        return self._decoder.logits(self._decoder.norm(hidden_TE[there.long()]))

    def _draw(self, launched: Launched) -> None:
        plan, logits_RV = launched.plan, launched.logits_RV
        assert logits_RV is not None
        if not plan.samples:
            self._drawn_S = torch.zeros(0, dtype=torch.int32, device=self._device)
            return
        self._drawn_S = draw(logits_RV, launched.place, plan)
        asking = [i for i, s in enumerate(plan.samples) if s.num_top >= 0]
        if asking:
            asked = [
                Asked(launched.place[s.row], 0, s.num_top, s.logprob_ids) for s in (plan.samples[i] for i in asking)
            ]
            (places,) = send([np.array(asking, np.int32)], self._device)
            launched.sampled = gather(logits_RV, asked, self._drawn_S[places.long()])

    def _score(self, launched: Launched, hidden_TE: Tensor | None) -> None:
        """Prompt log-probabilities, so many rows at once, and hidden states; then everything is sent for."""
        plan = launched.plan
        a_time = max(1, _LOGITS_BYTES // (4 * self.vocab_size))
        for at in range(0, len(plan.scores), a_time):
            assert hidden_TE is not None
            part = plan.scores[at : at + a_time]
            logits_RV = self._logits(hidden_TE, [s.row for s in part])
            asked = [Asked(i, s.target, s.num_top, s.logprob_ids) for i, s in enumerate(part)]
            launched.scored.append(gather(logits_RV, asked, None))
        hidden_RE = torch.zeros(0, self.hidden_size)
        if len(plan.hidden_rows):
            assert hidden_TE is not None
            (there,) = send([plan.hidden_rows], self._device)
            hidden_RE = self._decoder.norm(hidden_TE[there.long()]).float()
        assert self._drawn_S is not None
        wanted = [self._drawn_S, hidden_RE]
        for gathered in [launched.sampled, *launched.scored]:
            if gathered is not None:
                wanted += [gathered.values_N, gathered.top_ids_RK]
        launched.fetched = Fetched(wanted, self._copies)

    def close(self) -> None:
        """Frees weights, pool and graphs; the executor must not be used again."""
        del self._graphs, self._adapted_graphs, self._mirror, self._decoder, self._pool, self._adapters
        self._drawn_S = None
