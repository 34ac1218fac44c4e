"""An answer in messages of channels, as gpt-oss writes it: thoughts and text told apart, as it comes."""

from __future__ import annotations

from ...lang.reasoning import open_end
from .tools.forms import Channels


class ChannelSplitter:
    """As ReasoningSplitter. What messages begin and end with is not told; behind the answer's beginning all is text."""

    def __init__(self, channels: Channels, *, is_open: bool) -> None:
        """`is_open`: it begins within a thought."""
        self._channels = channels
        self._marks = channels.marks
        self._held = ""
        self._is_thought = is_open

    def push(self, text: str) -> tuple[str, str]:
        """(thought, said): what `text` adds to each."""
        self._held += text
        thought = said = ""
        while self._held:
            found = [(at, mark) for mark in self._marks if (at := self._held.find(mark)) >= 0]
            keep = max((open_end(self._held, mark) for mark in self._marks), default=0)
            at, mark = min(found) if found else (len(self._held) - keep, "")
            piece, self._held = self._held[:at], self._held[at + len(mark) :]
            thought, said = (thought + piece, said) if self._is_thought else (thought, said + piece)
            if not mark:
                break
            self._is_thought = mark == self._channels.thought
            if mark == self._channels.final:
                self._marks = ()
        return thought, said

    def flush(self) -> tuple[str, str]:
        """What was still held back."""
        rest, self._held = self._held, ""
        return (rest, "") if self._is_thought else ("", rest)
