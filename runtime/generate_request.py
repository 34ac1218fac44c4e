"""What a caller asks of the front, and what it gets: the same for every API and for programs in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from ..constrained.constraint import Constraint, Healed
from .messages import DraftCounts, Finish, LogprobRequest, Submit, TokenLogprobs
from .sampling_params import SamplingParams

PromptPart = str | list[int]
MAX_INT = 2**31 - 1
Priority = Annotated[int, msgspec.Meta(ge=-MAX_INT, le=MAX_INT)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
"""Under which something is kept."""
Salt = Annotated[str, msgspec.Meta(max_length=1024)]
"""Whose prefixes are shared with nobody else's."""


class SessionParams(msgspec.Struct):
    """`session_params` of a request, by SGLang's names."""

    id: str | None = None
    """The session."""
    rid: str | None = None
    """The request to go on from; none: a new path."""
    offset: int | None = None
    """Tokens of that request's path that count; none or 0: all, negative: from its end."""
    replace: bool | None = None
    """What followed `rid` is forgotten, or all where there is no rid; what runs of it is aborted."""
    drop_previous_output: bool | None = None
    """Go on from the prompt of `rid`, without its output."""


class ExpectedPrompt(msgspec.Struct):
    """What a stream of a program will begin with after `next_use` of its calls, that one counted."""

    keep: Name
    """Name under which what is cached of it is held, until it is released."""
    prompt_parts: list[PromptPart]
    next_use: Annotated[int, msgspec.Meta(ge=1, le=MAX_INT)]


@dataclass(slots=True, kw_only=True)
class GenerateRequest:
    """One prompt, `sampling.n` generations."""

    prompt: list[PromptPart]
    """Spans of text, each tokenized by itself, and spans of token ids; the prompt is their concatenation."""
    sampling: SamplingParams
    constraint: Constraint | None = None
    logprobs: LogprobRequest | None = None
    rid: str | None = None
    """Unique; made up when absent. Generation i > 0 of n runs under "rid#i"."""
    stream: bool = False
    """Chunks as they come; otherwise one chunk per generation, at its end."""
    batch: str | None = None
    """The id that a client gave its batch of prompts: an abort of it ends each of them."""
    call: str = ""
    """The API request that it is a part of, where that has several; the queue's bound counts those."""
    client: str = ""
    program: str = ""
    """Of which of the client's program runs it is a call: who was served less goes first."""
    namespace: str = ""
    adapter: str = ""
    """Name of the LoRA adapter that computes it; empty: the model itself."""
    priority: int = 0
    timeout_s: float = 600.0
    keep: str | None = None
    """Name under which the engine keeps prompt and output as a path (n must be 1)."""
    keep_s: float = 0.0
    """Seconds that the engine keeps it after its last use; 0: the engine's default."""
    pin: bool = False
    """`keep` is a pin for `keep_s` seconds: memory pressure takes it last."""
    next_use: int = 0
    """Calls of the program until it goes on from `keep`, as its graph says (1: the next one); 0: not known."""
    expects: list[ExpectedPrompt] = field(default_factory=list)
    """What later streams of the program begin with, as its graph says."""
    parent: str | None = None
    """A kept path whose first `parent_len` tokens precede `prompt`."""
    parent_len: int = 0
    group: str | None = None
    """Requests of one fork: admitted as a unit where they fit."""
    gather: int | None = None
    """None: it goes to the engine at once. 0: with what this pass of the event loop brings. Else: with so many of its
    group, itself counted, or after a short while with those that came."""
    session: SessionParams | None = None
    """The session that the prompt goes on in (Sessions.generate, n must be 1)."""
    want_hidden: bool = False
    add_bos: bool = True
    """Begin with the tokenizer's BOS where the model wants one."""

    def submit(
        self,
        rid: str,
        token_ids: list[int],
        constraint: Constraint | Healed | None,
        *,
        index: int,
        group: str | None,
        call: str,
    ) -> Submit:
        """Generation `index` of it, for the engine."""
        return Submit(
            rid=rid,
            token_ids=token_ids,
            sampling=self.sampling,
            constraint=constraint,
            logprobs=self.logprobs,
            parent=self.parent,
            parent_len=self.parent_len,
            keep=self.keep,
            keep_s=self.keep_s,
            pin=self.pin,
            next_use=self.next_use,
            index=index,
            group=group,
            call=call,
            client=self.client,
            program=self.program,
            namespace=self.namespace,
            adapter=self.adapter,
            priority=self.priority,
            timeout_s=self.timeout_s,
            want_hidden=self.want_hidden,
            echo_steps=self.stream,
        )


@dataclass(slots=True, kw_only=True)
class GenerateChunk:
    """What generation `index` got since its last chunk."""

    index: int
    text: str = ""
    """New text: stop strings cut off, never half a character."""
    thought: str = ""
    """What of the new text was thought and not said, where a server tells them apart: `text` is without it."""
    token_ids: list[int] = field(default_factory=list)
    """New ids, the one that ended the generation included."""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_len: int = 0
    cached_len: int = 0
    completion_len: int = 0
    """Tokens generated so far."""
    forced_len: int = 0
    finish: Finish | None = None
    """Set in the last chunk of this generation."""
    kept: tuple[int, int] | None = None
    """Where a stop cut the text: how many of all ids spell a prefix of what is left, and how many characters it has."""
    healed: tuple[int, str] | None = None
    """With `sampling.heal`: how many tokens of the prompt were given up, and their text, which `token_ids` begin with
    and `text` does not."""
    hidden: list[float] = field(default_factory=list)
    drafts: DraftCounts = field(default_factory=DraftCounts)
    """What speculation tried so far."""
    queue_s: float = 0.0
    prefill_s: float = 0.0
    grammar_s: float = 0.0
    mask_s: float = 0.0
    parts: list[tuple[int, int, str, str]] = field(default_factory=list)
    """Of a finished sequence: each finished part's begin and end among all ids, why it ended, and its text."""
    is_followed: bool = False
    """The next chunk was there already: steps that ran in one call, drafts, or a reader that lags."""
