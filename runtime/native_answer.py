"""The answers of the native API, in SGLang's shape."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .generate_request import GenerateChunk
from .messages import Finish, TokenLogprobs


class Answer:
    """Builds SGLang's answer of one generation from its chunks; `stream` bodies are cumulative unless `deltas`."""

    def __init__(self, rid: str, token_text: Callable[[int], str] | None, *, deltas: bool, has_logprobs: bool) -> None:
        self._token_text = token_text
        """For texts in log-probabilities; None: leave them out."""
        self._deltas = deltas
        self._started = time.perf_counter()
        self._text: list[str] = []
        self._ids: list[int] = []
        self._meta: dict[str, Any] = {
            "id": rid, "finish_reason": None, "prompt_tokens": 0, "weight_version": "default",
            "completion_tokens": 0, "cached_tokens": 0, "forced_tokens": 0,
        }  # fmt: skip
        self._hidden: list[float] = []
        if has_logprobs:
            for side in ("input", "output"):
                for kind in ("token_logprobs", "top_logprobs", "token_ids_logprobs"):
                    self._meta[f"{side}_{kind}"] = []
        self._has_logprobs = has_logprobs

    def take(self, chunk: GenerateChunk, *, asked: tuple[int, ...] = ()) -> None:
        """`asked`: the ids whose log-probabilities were wanted."""
        if self._deltas:
            self._text.clear()
            self._ids = []
        self._text.append(chunk.text)
        self._ids.extend(chunk.token_ids)
        meta = self._meta
        meta["prompt_tokens"] = chunk.prompt_len
        meta["cached_tokens"] = chunk.cached_len
        meta["completion_tokens"] = chunk.completion_len
        meta["forced_tokens"] = chunk.forced_len
        meta["finish_reason"] = None if chunk.finish is None else finish_reason(chunk.finish)
        if chunk.queue_s or chunk.prefill_s or chunk.grammar_s:
            meta["queue_ms"] = round(chunk.queue_s * 1e3, 3)
            meta["prefill_ms"] = round(chunk.prefill_s * 1e3, 3)
            meta["compile_ms"] = round(chunk.grammar_s * 1e3, 3)
        if chunk.mask_s:
            meta["mask_us"] = round(chunk.mask_s * 1e6)
        if self._has_logprobs:
            self._add("input", chunk.prompt_logprobs, asked)
            self._add("output", chunk.logprobs, asked)
        if drafts := chunk.drafts.verified:
            meta["spec_verify_ct"] = drafts
            meta["spec_accept_length"] = 1 + chunk.drafts.correct / drafts
            meta["spec_accept_rate"] = chunk.drafts.correct / chunk.drafts.proposed
            meta["spec_num_proposed_drafts"] = chunk.drafts.proposed
            meta["spec_num_correct_drafts"] = chunk.drafts.correct
        if chunk.healed is not None:
            meta["healed_tokens"], meta["healed_text"] = chunk.healed
        if chunk.parts:
            meta["parts"] = [list(part) for part in chunk.parts]
        if chunk.kept is not None:  # for who goes on from these ids
            meta["text_token_ids_len"], meta["text_token_ids_chars"] = chunk.kept
        if chunk.hidden:
            self._hidden = chunk.hidden
        if chunk.finish is not None:
            meta["e2e_latency"] = time.perf_counter() - self._started

    def _add(self, side: str, positions: list[TokenLogprobs], asked: tuple[int, ...]) -> None:
        meta, text = self._meta, self._text_of
        if self._deltas:
            for kind in ("token_logprobs", "top_logprobs", "token_ids_logprobs"):
                meta[f"{side}_{kind}"] = []
        for p in positions:
            meta[f"{side}_token_logprobs"].append([p.logprob, p.token_id, text(p.token_id)])
            known = p.logprob is not None or p.top
            meta[f"{side}_top_logprobs"].append([[lp, i, text(i)] for lp, i in p.top] if known else None)
            meta[f"{side}_token_ids_logprobs"].append(
                [[lp, i, text(i)] for lp, i in zip(p.asked, asked, strict=True)] if p.asked else None
            )
        if side == "input" and positions:
            values = [p.logprob for p in positions if p.logprob is not None]
            meta["prompt_logprob"] = sum(values)
            meta["normalized_prompt_logprob"] = sum(values) / max(1, len(values))

    def _text_of(self, token_id: int) -> str | None:
        return self._token_text(token_id) if self._token_text is not None else None

    def body(self) -> dict[str, Any]:
        """{"text", "output_ids", "meta_info"}; independent of later `take`s except for log-probability lists."""
        answer: dict[str, Any] = {
            "text": "".join(self._text),
            "output_ids": list(self._ids),
            "meta_info": dict(self._meta),
        }
        if self._hidden:
            answer["embedding"] = self._hidden
        return answer


def finish_reason(finish: Finish) -> dict[str, Any]:
    """SGLang's finish_reason object."""
    if finish.type == "length":
        return {"type": "length", "length": finish.length}
    if finish.type == "stop":
        return {"type": "stop", "matched": finish.matched}
    return {"type": finish.type, "message": finish.message}
