"""What a model thought, told apart from what it said, and POST /separate_reasoning.

Which tags enclose thoughts the model's chat template says, or --reasoning-parser. A template that opens the thought
itself ends the prompt with the tag.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec

from ...errors import RequestError
from ...lang.reasoning import REASONING_TAGS, ReasoningSplitter, ReasoningTags, split_reasoning
from ..generate_request import GenerateChunk
from .channels import ChannelSplitter
from .http import Answer, Request, json_response
from .route import Route
from .service import Service
from .tools.forms import Channels

_BY_TEMPLATE = {
    "qwen3": "</think>", "kimi": "◁/think▷", "mistral": "[/THINK]", "gpt-oss": "<|channel|>analysis<|message|>",
}  # fmt: skip
"""One format for each pair of tags, and what the templates of its models have."""
_TAIL = 16
"""Tokens at a prompt's end that a tag and the white space behind it may take."""


class Thinking(NamedTuple):
    """How the answers to one prompt think."""

    format: str
    is_open: bool
    """The prompt ends within a thought."""
    is_special: bool = False
    """Special tokens enclose thoughts: text without them tells none apart."""
    channels: Channels | None = None
    """Of an answer in messages that nothing else reads."""

    @property
    def tags(self) -> ReasoningTags:
        """What encloses a thought."""
        return REASONING_TAGS[self.format]

    def reader(self, *, is_held: bool = False) -> Thoughts:
        """For one answer; `is_held`: its thoughts come as one piece."""
        return Thoughts(self, is_held=is_held)


def format_of(service: Service) -> str | None:
    """The format of the served model's thoughts; None: it has none."""
    asked = service.config.reasoning_parser
    if asked != "auto":
        return None if asked == "none" else asked
    template = service.front.template
    source = template.source if template is not None else ""
    return next((name for name, told in _BY_TEMPLATE.items() if told in source), None)


def thinking_of(service: Service, prompt_ids: list[int]) -> Thinking | None:
    """How answers to this prompt think; None: not."""
    name = format_of(service)
    if name is None:
        return None
    tags = REASONING_TAGS[name]
    tokenizer = service.front.tokenizer
    tail = tokenizer.decode(prompt_ids[-_TAIL:], skip_special_tokens=False).rstrip()
    is_named = service.config.reasoning_parser != "auto"
    is_special = not tokenizer.decode(tokenizer.encode(tags.end, add_bos=False)).strip()
    return Thinking(name, tail.endswith(tags.start) or (is_named and tags.begins_inside), is_special)


class Thoughts:
    """Splits one answer as it comes, without the blanks around a thought. `text`: what was thought so far."""

    def __init__(self, thinking: Thinking, *, is_held: bool = False) -> None:
        self._splitter: ReasoningSplitter | ChannelSplitter
        if thinking.channels is not None:
            self._splitter = ChannelSplitter(thinking.channels, is_open=thinking.is_open)
        else:
            self._splitter = ReasoningSplitter(thinking.format, begins_inside=thinking.is_open)
        self._is_held = is_held
        self._blank = self._waiting = ""
        self._has_said = False
        self.text = ""

    def push(self, text: str, *, is_last: bool) -> tuple[str, str]:
        """(thought, said): what `text` adds to each."""
        thought, said = self._splitter.push(text)
        if is_last:
            rest = self._splitter.flush()
            thought, said = thought + rest[0], said + rest[1]
        thought = self._blank + (thought if self.text else thought.lstrip())
        kept = thought.rstrip()
        self._blank = thought[len(kept) :]
        self.text += kept
        if not self._has_said and self.text:
            said = said.lstrip()
        self._has_said = self._has_said or bool(said)
        if self._is_held:
            self._waiting += kept
            kept = ""
            if said or is_last:
                kept, self._waiting = self._waiting, ""
        return kept, said


async def told_apart(
    chunks: AsyncGenerator[GenerateChunk, None], thinking: Thinking
) -> AsyncGenerator[GenerateChunk, None]:
    """The chunks of one answer, thoughts moved from `text` to `thought`."""
    reader = thinking.reader()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            chunk.thought, chunk.text = reader.push(chunk.text, is_last=chunk.finish is not None)
            yield chunk


class SeparateBody(msgspec.Struct):
    """SGLang's body."""

    text: str
    reasoning_parser: str | None = None


async def separate(service: Service, request: Request) -> Answer:
    """POST /separate_reasoning: {"reasoning_text", "text"}."""
    body = await request.struct(SeparateBody)
    name = body.reasoning_parser or "deepseek-r1"
    if name not in REASONING_TAGS:
        known = ", ".join(sorted(REASONING_TAGS))
        raise RequestError(f"reasoning_parser must be one of {known}; found {name!r}", param="reasoning_parser")
    thought, said = split_reasoning(body.text, name)
    return json_response({"reasoning_text": thought, "text": said})


def routes() -> list[Route]:
    return [Route(path="/separate_reasoning", handler=separate, body=SeparateBody, summary="Tell thoughts from text")]
