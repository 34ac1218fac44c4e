"""What the front and the engine tell each other: msgspec structs, in one process or over zmq, never pickle.

A stream is a path of token ids that the engine keeps under a name: a Submit may start from the first `parent_len`
tokens of a kept path, and may keep its own path (prompt and output) under a name. Forking is several Submits with
one parent.
"""

from __future__ import annotations

import msgspec

from ..constrained.constraint import Constraint, Healed
from ..errors import RequestError
from .sampling_params import SamplingParams

Ids = list[int]


MAX_LOGPROBS = 1 << 18
"""Of one generation, beside the tokens' own: 20 at each position of a long context. More would hold up the others."""


class LogprobRequest(msgspec.Struct, frozen=True, array_like=True):
    """Which log-probabilities a request reports."""

    output: bool = False
    prompt_start: int = -1
    """First prompt position reported (position 0 has none); -1: no prompt scoring."""
    num_top: int = 0
    token_ids: tuple[int, ...] = ()

    def check(self, vocab_size: int, prompt_len: int, max_new_tokens: int) -> None:
        """Raises RequestError naming the field whose value no step can serve, or that asks for too many numbers."""
        if self.prompt_start > prompt_len:
            raise RequestError(
                f"logprob_start_len {self.prompt_start} is beyond the prompt of {prompt_len} tokens",
                param="logprob_start_len",
            )
        unknown = next((t for t in self.token_ids if not 0 <= t < vocab_size), None)
        if unknown is not None:
            raise RequestError(
                f"a token id of token_ids_logprob is outside of the vocabulary (0 … {vocab_size - 1})",
                param="token_ids_logprob",
            )
        positions = (prompt_len - self.prompt_start if self.prompt_start >= 0 else 0) + max_new_tokens
        if positions * (self.num_top + len(self.token_ids)) > MAX_LOGPROBS:
            raise RequestError(
                f"at most {MAX_LOGPROBS} log-probabilities of other tokens are told; {positions} positions of "
                f"{self.num_top + len(self.token_ids)} are asked for",
                param="token_ids_logprob" if len(self.token_ids) > self.num_top else "top_logprobs_num",
            )


class Expected(msgspec.Struct, frozen=True, array_like=True):
    """What a later stream of the program will begin with."""

    keep: str
    """Name of the lease on as much of it as is cached, until Release."""
    token_ids: Ids
    next_use: int
    """Calls of the program until then, that one counted."""


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """One generation (n > 1 is n of these with one `group`)."""

    rid: str
    """Unique among those that run; with an `index`, the request's own id with "#index" behind it."""
    token_ids: Ids
    """What follows the parent's first `parent_len` tokens; the whole prompt without a parent."""
    sampling: SamplingParams
    constraint: Constraint | Healed | None = None
    logprobs: LogprobRequest | None = None
    parent: str | None = None
    parent_len: int = 0
    keep: str | None = None
    """Name under which prompt and output stay leased after the end, until Release."""
    keep_s: float = 0.0
    """Seconds that the lease lasts after its last use; 0: the engine's default."""
    pin: bool = False
    """`keep` is a pin: it lasts `keep_s` from the end on, and memory pressure takes it last."""
    next_use: int = 0
    """Calls of the program until it goes on from `keep`, that one counted (1: the next one); 0: not known."""
    expects: tuple[Expected, ...] = ()
    """What the program's graph says that its later streams begin with."""
    index: int = 0
    """Its place in an n > 1."""
    group: str | None = None
    """Requests of one fork or one n > 1: admitted as a unit where they fit."""
    call: str = ""
    """The client's request, or program run, that it is a part of: the queue's bound counts those. Empty: it alone."""
    client: str = ""
    """Whose share of the machine this takes (API key or user)."""
    program: str = ""
    """Of which program run it is a call: among the calls of a client, those of who was served less go first."""
    namespace: str = ""
    """Prefixes are shared within it alone (tenant salt), and by requests of one adapter."""
    adapter: str = ""
    """Name of the LoRA adapter; empty: the model itself."""
    priority: int = 0
    timeout_s: float = 600.0
    want_hidden: bool = False
    """Report the final hidden state of the last prompt token (embeddings)."""
    echo_steps: bool = True
    """False: one Output at the end instead of one a step (non-streaming requests)."""


class Submits(msgspec.Struct, frozen=True, tag="submits"):
    """Several at once: no step begins between them."""

    items: list[Submit]


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Ends a request, exactly that id; unknown ids are remembered 30 s. Idempotent."""

    rid: str
    reason: str = "aborted by the client"


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """A request takes no steps (`on`), or takes them again: its reader lags. Unknown ids: nothing."""

    rid: str
    on: bool


class AbortAll(msgspec.Struct, frozen=True, tag="abort_all"):
    reason: str = "aborted by an operator"


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Drops leases of kept paths."""

    streams: list[str]


class Control(msgspec.Struct, frozen=True, tag="control"):
    """flush (drop unlocked cache), stats, ping, pause, resume, shutdown, and the questions of scheduler/inspect.py.

    Answered by Reply with the same id.
    """

    id: str
    action: str
    data: dict[str, object] = {}
    """What the action needs to know."""


ToEngine = Submit | Submits | Abort | Pause | AbortAll | Release | Control


class TokenLogprobs(msgspec.Struct, array_like=True):
    """Of one position: [logprob | None, token id, [[logprob, id], …], [logprob of asked ids …]]."""

    logprob: float | None
    token_id: int
    top: list[tuple[float, int]] = []
    asked: list[float] = []


class Finish(msgspec.Struct, frozen=True):
    """Why a request ended. type: stop, length, abort, error."""

    type: str
    matched: str | int | None = None
    """stop: the string, pattern or id that matched; None: the model's own end or a completed grammar."""
    length: int = 0
    message: str = ""
    status: int = 0
    code: str | None = None
    param: str | None = None
    """error: what an API tells (errors.py)."""


class DraftCounts(msgspec.Struct, frozen=True, array_like=True):
    """What speculation tried for a request."""

    verified: int = 0
    """Steps that tried a draft."""
    proposed: int = 0
    """Tokens of the drafts."""
    correct: int = 0
    """Those that were right: each is a step less."""


class Output(msgspec.Struct, array_like=True):
    """What one request got in one step."""

    rid: str
    token_ids: Ids
    prompt_len: int = 0
    cached_len: int = 0
    """Prompt tokens that needed no computing."""
    forced_len: int = 0
    """Output tokens that the grammar forced."""
    logprobs: list[TokenLogprobs] = []
    prompt_logprobs: list[TokenLogprobs] = []
    """With the first output: positions prompt_start … end of the prompt."""
    finish: Finish | None = None
    hidden: list[float] = []
    drafts: DraftCounts | None = None
    """Since the start of the request; None: nothing new."""
    queue_s: float = 0.0
    prefill_s: float = 0.0
    """Seconds waiting, and from admission to the first token; with the first output."""
    grammar_s: float = 0.0
    parts: list[tuple[int, int, str]] = []
    """Of a finished sequence: where the output's finished parts begin and end, and why."""
    mask_s: float = 0.0
    """Spent on filling its masks so far."""


class Outputs(msgspec.Struct, frozen=True, tag="outputs"):
    """One message a step."""

    items: list[Output]


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    id: str
    data: dict[str, object]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The engine serves; what the front must know of the model."""

    info: dict[str, object]


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """What the engine is at before it serves; for people."""

    what: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The engine could not start or died: the error's message, and its type's name."""

    message: str
    kind: str = "ModelError"


FromEngine = Outputs | Reply | Loading | Ready | Failed
