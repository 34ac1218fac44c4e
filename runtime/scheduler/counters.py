"""What the scheduler counts, by the names that /metrics tells."""

from __future__ import annotations

from ..messages import Finish


class Counters:
    """Since the start; seconds are those of the scheduler's clock."""

    def __init__(self, now_s: float) -> None:
        self.num_requests_total = 0
        self.num_finished_total = 0
        self.num_aborted_requests_total = 0
        self.num_failed_requests_total = 0
        self.num_retracted_reqs = 0
        self.prompt_tokens_total = 0
        self.cached_tokens_total = 0
        self.generation_tokens_total = 0
        self.computed_tokens_total = 0
        """Rows that the executor ran."""
        self.forced_tokens_total = 0
        self.spec_verify_total = 0
        """Drafts that were tried,"""
        self.spec_proposed_drafts_total = 0
        """their tokens,"""
        self.spec_correct_drafts_total = 0
        """and those that were right."""
        self.retaken_tokens_total = 0
        """Taken back by a constraint's checks."""
        self.num_so_requests_total = 0
        self.num_steps = 0
        self.num_failed_steps = 0
        self.scheduler_seconds = 0.0
        self.executor_seconds = 0.0
        self.stall_seconds = 0.0
        """The executor had work and waited for the scheduler."""
        self.kv_leaked_tokens_total = 0
        self._window = (now_s, 0)
        self._throughput = 0.0

    def gen_throughput(self, now_s: float) -> float:
        """Generated tokens a second since it was last asked, over a second at least."""
        begun_s, tokens = self._window
        if now_s - begun_s >= 1.0:
            self._throughput = (self.generation_tokens_total - tokens) / (now_s - begun_s)
            self._window = (now_s, self.generation_tokens_total)
        return self._throughput

    def totals(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def finished(self, finish: Finish) -> None:
        self.num_finished_total += 1
        if finish.type == "abort":
            self.num_aborted_requests_total += 1
        elif finish.type == "error":
            self.num_failed_requests_total += 1
