"""Telling what a model thought from what it said."""

from __future__ import annotations

from typing import NamedTuple


class ReasoningTags(NamedTuple):
    start: str
    end: str
    begins_inside: bool
    """The chat template opened the thought already: text without a start tag is thought."""


_THINK = ReasoningTags("<think>", "</think>", False)
_THINK_OPEN = ReasoningTags("<think>", "</think>", True)

REASONING_TAGS: dict[str, ReasoningTags] = {
    "deepseek-r1": _THINK_OPEN,
    "deepseek-v3": _THINK,
    "qwen3": _THINK,
    "qwen3-thinking": _THINK_OPEN,
    "qwen-2.5": _THINK_OPEN,
    "glm45": _THINK,
    "interns1": _THINK,
    "step3": _THINK_OPEN,
    "minimax": _THINK_OPEN,
    "kimi": ReasoningTags("◁think▷", "◁/think▷", False),
    "mistral": ReasoningTags("[THINK]", "[/THINK]", False),
    "gpt-oss": ReasoningTags("<|channel|>analysis<|message|>", "<|end|>", False),
}


class ReasoningSplitter:
    """Splits a text as it arrives. A tag that may still be growing is held back until it is decided."""

    def __init__(self, model_type: str | None, *, begins_inside: bool | None = None) -> None:
        """begins_inside: in place of what the format says."""
        name = (model_type or "deepseek-r1").lower()
        if name not in REASONING_TAGS:
            raise ValueError(f"no reasoning format {model_type!r}; there are {', '.join(sorted(REASONING_TAGS))}")
        self.model_type = name
        self.tags = REASONING_TAGS[name]
        self._inside = self.tags.begins_inside if begins_inside is None else begins_inside
        self._at_start = True
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """(thought, said): what `text` adds to each."""
        self._held += text
        thought, said = "", ""
        while self._held:
            if self._at_start:
                blank = self._held.lstrip()
                if self.tags.start.startswith(blank[: len(self.tags.start)]) and len(blank) < len(self.tags.start):
                    break
                self._at_start = False
                if blank.startswith(self.tags.start):
                    self._held, self._inside = blank[len(self.tags.start) :], True
                continue
            if not self._inside:
                said, self._held = said + self._held, ""
                break
            before, tag, after = self._held.partition(self.tags.end)
            if tag:
                thought, self._held, self._inside = thought + before, after, False
                continue
            keep = open_end(self._held, self.tags.end)
            thought, self._held = thought + self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            break
        return thought, said

    def flush(self) -> tuple[str, str]:
        """What was still held back."""
        rest, self._held = self._held, ""
        return (rest, "") if self._inside else ("", rest)


def open_end(text: str, tag: str) -> int:
    """How many of the text's last characters may be the beginning of `tag`."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)


def split_reasoning(text: str, model_type: str | None) -> tuple[str, str]:
    """(thought, said) of a whole text, without the blanks around them."""
    splitter = ReasoningSplitter(model_type)
    first, last = splitter.push(text), splitter.flush()
    return (first[0] + last[0]).strip(), (first[1] + last[1]).strip()
