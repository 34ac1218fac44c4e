"""One of a request's n while it runs: its text and its counts."""

from __future__ import annotations

from .generate_request import GenerateChunk
from .messages import DraftCounts, Output
from .text_stream import TextStream


class Generation:
    """Collects what each step brought."""

    __slots__ = ("cached_len", "completion_len", "drafts", "forced_len", "ids", "index", "prompt_len", "text")

    def __init__(self, index: int, text: TextStream) -> None:
        self.index = index
        self.text = text
        self.ids: list[int] = []
        self.prompt_len = self.cached_len = self.completion_len = self.forced_len = 0
        self.drafts = DraftCounts()

    def take(self, output: Output, healed: tuple[int, str] | None) -> GenerateChunk:
        self.prompt_len = output.prompt_len or self.prompt_len
        self.cached_len = max(self.cached_len, output.cached_len)
        self.completion_len += len(output.token_ids)
        self.forced_len += output.forced_len
        self.drafts = output.drafts or self.drafts
        self.ids += output.token_ids
        text = self.text.push(output.token_ids, output.finish)
        return GenerateChunk(
            index=self.index,
            text=text,
            kept=self.text.kept(self.ids, output.finish),
            token_ids=output.token_ids,
            logprobs=output.logprobs,
            prompt_logprobs=output.prompt_logprobs,
            prompt_len=self.prompt_len,
            cached_len=self.cached_len,
            completion_len=self.completion_len,
            forced_len=self.forced_len,
            finish=output.finish,
            healed=healed,
            hidden=output.hidden,
            drafts=self.drafts,
            queue_s=output.queue_s,
            prefill_s=output.prefill_s,
            grammar_s=output.grammar_s,
            mask_s=output.mask_s,
            parts=[(begin, end, why, self.text.decoded(self.ids[begin:end])) for begin, end, why in output.parts],
        )
