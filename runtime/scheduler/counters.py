"""What the scheduler counts, by the names that /metrics tells."""

from __future__ import annotations

from ..messages import Finish


class Counters:
    """Since the start; seconds are those of the scheduler's clock."""

    def __init__(self) -> None:
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
        self.num_so_requests_total = 0
        self.num_steps = 0
        self.num_failed_steps = 0
        self.scheduler_seconds = 0.0
        self.executor_seconds = 0.0
        self.kv_leaked_tokens_total = 0

    def finished(self, finish: Finish) -> None:
        self.num_finished_total += 1
        if finish.type == "abort":
            self.num_aborted_requests_total += 1
        elif finish.type == "error":
            self.num_failed_requests_total += 1
