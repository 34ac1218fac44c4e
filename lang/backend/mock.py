"""A backend that answers from a table: tests and documents need no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import ProgramError
from ..chat_template import ChatTemplate, get_chat_template
from ..choices import ChoicesDecision, ChoicesSamplingMethod
from ..sampling import SglSamplingParams
from .base_backend import BaseBackend

if TYPE_CHECKING:
    from ..stream_executor import StreamExecutor

Answer = str | Callable[["re.Match[str]"], str]


class Mock(BaseBackend):
    """Answers with the first entry of `answers` whose pattern is found in the prompt (re.search, DOTALL).

    An answer is text, or a function of the match. Stop strings cut it. A select takes the option that the answer is,
    and the first one where it is none. ProgramError if no pattern is found. `calls`: the prompts so far.
    """

    def __init__(self, answers: Mapping[str, Answer], chat_template: ChatTemplate | str = "chatml") -> None:
        super().__init__()
        self._answers = [(re.compile(pattern, re.DOTALL), answer) for pattern, answer in answers.items()]
        named = isinstance(chat_template, str)
        self.chat_template = get_chat_template(str(chat_template)) if named else chat_template  # type: ignore[assignment]
        self.calls: list[str] = []

    def get_model_name(self) -> str:
        return "mock"

    def _answer(self, prompt: str) -> str:
        self.calls.append(prompt)
        for pattern, answer in self._answers:
            match = pattern.search(prompt)
            if match is not None:
                return answer if isinstance(answer, str) else answer(match)
        raise ProgramError(f"the mock has no answer to a prompt that ends in {prompt[-80:]!r}")

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        text = self._answer(s.text_)
        ends = [text.index(stop) for stop in sampling_params.stop_strings() if stop and stop in text]
        text = text[: min(ends)] if ends else text
        counts = {"prompt_tokens": len(s.text_.split()), "completion_tokens": len(text.split())}
        return text, {**counts, "finish_reason": {"type": "stop"}}

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        text, meta = self.generate(s, sampling_params)
        for word in re.findall(r"\S+\s*|\s+", text):
            yield word, meta

    def select(
        self,
        s: StreamExecutor,
        choices: list[str],
        temperature: float,
        choices_method: ChoicesSamplingMethod | None = None,
    ) -> ChoicesDecision:
        answer = self._answer(s.text_)
        return ChoicesDecision(answer if answer in choices else choices[0], {"choices": list(choices)})
