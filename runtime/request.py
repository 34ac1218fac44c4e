"""One request as the scheduler sees it: what was asked, where it stands, what it has got so far."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..constrained.matcher import Matcher
from ..radix_cache.node import Int32, Node
from .messages import Submit, TokenLogprobs

if TYPE_CHECKING:
    from .lora.adapter import Adapter
    from .scheduler.penalties import Penalties
    from .scheduler.stops import StopChecker

Float32 = NDArray[np.float32]


class Status(Enum):
    """WAITING → RUNNING → FINISHED; a retracted request goes back to WAITING."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Request:
    """Counts that change every step (known, computed, allocated …) lie in the arrays of `Rows` while it runs."""

    __slots__ = (
        "adapter",
        "admitted_s",
        "arrival_s",
        "asks_logprobs",
        "ban_bias",
        "benefit",
        "bias",
        "bucket",
        "cached_len",
        "call",
        "calm_needed",
        "charged",
        "client",
        "deadline_s",
        "draws_forced",
        "force_rate",
        "forced_len",
        "grammar_s",
        "group",
        "handle",
        "held_since_s",
        "hidden",
        "ids",
        "is_free",
        "is_paused",
        "is_starved",
        "is_straggler",
        "logprobs",
        "mask_s",
        "masked_fields",
        "matcher",
        "max_new_tokens",
        "namespace",
        "num_ahead",
        "num_calm",
        "num_correct",
        "num_passed",
        "num_proposed",
        "num_verified",
        "owed",
        "penalties",
        "prefill_s",
        "prompt_len",
        "prompt_logprobs",
        "queue_s",
        "queue_seq",
        "reported_len",
        "rid",
        "row",
        "sample_fields",
        "sample_head",
        "scored_len",
        "seed",
        "seq",
        "status",
        "stint",
        "stop_ids",
        "stops",
        "submit",
        "times_retracted",
        "waiting_since_s",
    )

    def __init__(self, submit: Submit, ids: Int32, *, seq: int, now_s: float) -> None:
        self.submit = submit
        self.rid = submit.rid
        self.call = submit.call or submit.rid
        self.client = submit.client
        self.adapter: Adapter | None = None
        self.namespace = submit.namespace
        """Where its prefixes are shared: with an adapter, among its own requests alone."""
        self.group = submit.group
        self.seq = seq
        """Order of arrival."""
        self.ids = ids
        """Prompt, and the output so far when it was retracted; while it runs the ids lie in `Rows.ids`."""
        self.prompt_len = ids.size
        self.max_new_tokens = submit.sampling.max_new_tokens
        self.status = Status.WAITING
        self.arrival_s = now_s
        self.waiting_since_s = now_s
        self.deadline_s = now_s + submit.timeout_s
        self.admitted_s = 0.0
        self.held_since_s = -1.0
        """Its prompt is computed, its grammar is not: since when; -1: that is not so."""
        self.queue_s = self.prefill_s = self.grammar_s = 0.0
        self.row = -1
        self.handle: Node | None = None
        self.benefit = 0
        """Cached tokens when it last looked."""
        self.bucket: dict[Request, bool] | None = None
        """Where the cache keeps it while it waits for its prefix to grow."""
        self.queue_seq = 0
        """Number of its valid entry in the waiting queue; 0: it is not there."""
        self.stint = 0
        self.is_starved = self.is_straggler = False
        """Waits for too long; is the rest of a fork that runs."""
        self.num_passed = 0
        """Requests behind it that were admitted because it did not fit."""
        self.is_paused = False
        """Its reader lags: it keeps its slots and takes no steps."""
        self.times_retracted = 0
        self.cached_len = -1
        """-1: never admitted."""
        self.charged = 0.0
        """Weighted tokens of service that its client has paid for."""
        self.forced_len = 0
        self.mask_s = 0.0
        """Spent on filling its masks."""
        self.draws_forced = False
        """Forced tokens are drawn all the same, for their log-probabilities:"""
        self.owed: list[int] = []
        """these are next; also the last token of an answer that is forced from its beginning."""
        self.force_rate = 0.5
        """How often its grammar let a drawn token be followed by other than a draw, of late."""
        self.num_verified = self.num_proposed = self.num_correct = 0
        """Drafts that were tried, their tokens, and those that were right."""
        self.reported_len = 0
        """Output tokens told so far."""
        self.seed = 0
        self.bias: tuple[Int32, Float32] = _NO_BIAS
        self.ban_bias: tuple[Int32, Float32] | None = None
        """The bias while min_new_tokens bans the ids that end the text."""
        self.stop_ids: frozenset[int] = frozenset()
        """Ids that end the text, the model's own included unless they are ignored."""
        self.stops: StopChecker | None = None
        self.penalties: Penalties | None = None
        self.matcher: Matcher | None = None
        self.num_ahead = 0
        """Tokens that it has accepted while a burst goes on and that are not known yet."""
        self.num_calm = 0
        """Tokens in a row behind which its mask stayed as it was;"""
        self.calm_needed = 1
        """so many let a burst go on before the next is looked at."""
        self.is_free = False
        """What it had to obey is behind it: the prompt's healed end, without a constraint."""
        self.asks_logprobs = submit.logprobs is not None and submit.logprobs.output
        self.sample_head: tuple[object, ...] = ()
        """Temperature … seed of its SamplePlan."""
        self.sample_fields: list[object] | None = None
        """All fields of its SamplePlan, where only `row` (0) and `counter` (6) ever change."""
        self.masked_fields: list[object] | None = None
        """The same where `mask_row` (7) changes, too."""
        self.scored_len = 0
        """Prompt positions whose log-probability is known end here."""
        self.logprobs: list[TokenLogprobs] = []
        self.prompt_logprobs: list[TokenLogprobs] = []
        self.hidden: list[float] = []

    @property
    def is_held(self) -> bool:
        """Its grammar is still being compiled: the prompt is computed but for its last token."""
        return self.submit.constraint is not None and self.matcher is None and not self.is_free

    @property
    def is_scoring(self) -> bool:
        """Prompt positions are still to be scored."""
        return self.scores_prompt and self.scored_len < self.prompt_len

    @property
    def scores_prompt(self) -> bool:
        return self.scored_from >= 0

    @property
    def scored_from(self) -> int:
        """First prompt position that is reported, -1: none."""
        return -1 if self.submit.logprobs is None else self.submit.logprobs.prompt_start

    @property
    def first_needed(self) -> int:
        """The first position of `ids` that must be computed whatever the cache holds: its output row is read."""
        need = self.ids.size
        if not self.wants_no_token or self.asks_logprobs or self.submit.constraint is not None:
            need -= 1
        if self.is_scoring:
            need = min(need, max(self.scored_len - 1, 0))
        if self.cached_len < 0 and self.scores_prompt:
            need = min(need, self.scored_from)
        if self.submit.want_hidden and not self.hidden:
            need = min(need, self.prompt_len - 1)
        return need

    @property
    def wants_no_token(self) -> bool:
        return self.max_new_tokens == 0

    def __repr__(self) -> str:
        return f"Request({self.rid!r}, {self.status.value}, row={self.row})"


_NO_BIAS: tuple[Int32, Float32] = (np.zeros(0, np.int32), np.zeros(0, np.float32))
