"""Log-probabilities in OpenAI's two shapes: chat's list of objects, and completions' parallel lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..messages import TokenLogprobs
from ..tokenizer.interface import Tokenizer

LOWEST = -9999.0
"""OpenAI's stand-in for log 0, which JSON cannot hold."""


def token_name(tokenizer: Tokenizer, token_id: int) -> str:
    """The token's text; OpenAI's `bytes:\\xe2…` where its bytes are no text by themselves."""
    raw = tokenizer.token_bytes(token_id)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _finite(logprob: float | None) -> float:
    return LOWEST if logprob is None or logprob < LOWEST else logprob


def chat_logprobs(tokenizer: Tokenizer, positions: Sequence[TokenLogprobs], num_top: int) -> dict[str, Any]:
    """choices[].logprobs of chat completions."""

    def one(token_id: int, logprob: float | None) -> dict[str, Any]:
        return {
            "token": token_name(tokenizer, token_id),
            "logprob": _finite(logprob),
            "bytes": list(tokenizer.token_bytes(token_id)),
        }

    return {
        "content": [
            {**one(p.token_id, p.logprob), "top_logprobs": [one(i, lp) for lp, i in p.top[:num_top]]} for p in positions
        ],
        "refusal": None,
    }


class LegacyLogprobs:
    """choices[].logprobs of text completions: four parallel lists, text offsets counted over all chunks."""

    def __init__(self, tokenizer: Tokenizer, num_top: int) -> None:
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._detokenizer = tokenizer.detokenizer(skip_special_tokens=False)
        self._offset = 0

    def take(self, positions: Sequence[TokenLogprobs]) -> dict[str, Any]:
        """The lists for the next positions. The first of a prompt has null for both probabilities."""
        tokens: list[str] = []
        logprobs: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        offsets: list[int] = []
        for p in positions:
            tokens.append(token_name(self._tokenizer, p.token_id))
            offsets.append(self._offset)
            self._offset += len(self._detokenizer.push([p.token_id]))
            if p.logprob is None and not p.top:
                logprobs.append(None)
                tops.append(None)
                continue
            logprobs.append(_finite(p.logprob))
            top = {token_name(self._tokenizer, i): _finite(lp) for lp, i in p.top[: self._num_top]}
            top.setdefault(tokens[-1], _finite(p.logprob))
            tops.append(top)
        return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}
