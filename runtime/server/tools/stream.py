"""Calls of tools in a streamed answer, as deltas of OpenAI's kind."""

from __future__ import annotations

from typing import Any

from ....lang.reasoning import open_end
from .parsers import MARKERS, ToolCall, parse
from .plan import ToolPlan, call_object
from .reader import BETWEEN, CallReader, Piece

_TAG, _END = "<tool_call>", "</tool_call>"
_STARTS = (_TAG, *MARKERS)
_WHOLE_MARKERS = ("{", "[", *MARKERS)
"""What an answer begins with that may be a call as a whole."""


class ToolStream:
    """Deltas of one streamed answer. Text that may be the beginning of a call is held back until it is decided."""

    def __init__(self, plan: ToolPlan) -> None:
        self._plan = plan
        self._reader: CallReader | None = None
        if plan.grammar is not None:
            self._reader = CallReader(plan.grammar, plan.shown_thought, is_open=plan.is_thinking)
        self._held = ""
        self._whole = False
        self._seen_text = False
        self.num_calls = 0

    @property
    def ends_in_calls(self) -> bool:
        """Whether there are calls, and the last is whole."""
        return self.num_calls > 0 and not (self._reader is not None and self._reader.is_in_call)

    def push(self, text: str) -> list[dict[str, Any]]:
        """Deltas that became certain."""
        if self._reader is not None:
            return [d for piece in self._reader.push(text) for d in self._of_form(piece)]
        self._held += text
        return self._free()

    def take(self, text: str, *, is_last: bool) -> list[dict[str, Any]]:
        """As `push`; with the last text also what was held back."""
        return self.push(text) + (self.finish() if is_last else [])

    def finish(self) -> list[dict[str, Any]]:
        """What was held back."""
        if self._reader is not None:
            return [d for piece in self._reader.finish() for d in self._of_form(piece)]
        if not self._held:
            return []
        parsed, self._held = parse(self._held, self._plan.parser, self._plan.names), ""
        return self._text(parsed.text) + [d for call in parsed.calls for d in self._call(call)]

    def _of_form(self, piece: Piece) -> list[dict[str, Any]]:
        if piece.name:
            return self._call(ToolCall(piece.name, ""))
        return self._piece(piece.arguments) if piece.arguments else self._text(piece.text)

    def _piece(self, arguments: str) -> list[dict[str, Any]]:
        if not arguments:
            return []
        return [{"tool_calls": [{"index": self.num_calls - 1, "function": {"arguments": arguments}}]}]

    def _free(self) -> list[dict[str, Any]]:
        if self._whole:
            return []
        if not self._seen_text:
            begun = self._held.lstrip()
            if not begun or any(m.startswith(begun) for m in _WHOLE_MARKERS):
                return []
            if begun.startswith(_WHOLE_MARKERS):
                self._whole = True  # it may be a call as a whole: told at the end
                return []
        deltas: list[dict[str, Any]] = []
        while True:
            found = [(at, start) for start in _STARTS if (at := self._held.find(start)) >= 0]
            if not found:
                cut = len(self._held) - max(open_end(self._held, start) for start in _STARTS)
                deltas += self._text(self._held[:cut])
                self._held = self._held[cut:]
                return deltas
            at, start = min(found)
            deltas += self._text(self._held[:at])
            self._held = self._held[at:]
            if start != _TAG:
                self._whole = True
                return deltas
            end = self._held.find(_END)
            if end < 0:
                return deltas
            block, self._held = self._held[: end + len(_END)], self._held[end + len(_END) :]
            parsed = parse(block, "auto", self._plan.names)
            if parsed.calls:
                deltas += [d for call in parsed.calls for d in self._call(call)]
            else:
                deltas += self._text(block)

    def _text(self, text: str) -> list[dict[str, Any]]:
        if not text or (self.num_calls and not text.strip(BETWEEN if self._reader is not None else None)):
            return []
        self._seen_text = True
        return [{"content": text}]

    def _call(self, call: ToolCall) -> list[dict[str, Any]]:
        index = self.num_calls
        self.num_calls += 1
        self._seen_text = True
        return [{"tool_calls": [call_object(call, index=index)]}]
