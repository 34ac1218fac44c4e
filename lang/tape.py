"""Recording the calls of programs, and replaying them without a model.

A tape is JSON Lines: the chat template, then one line a call with its key, value and meta information. Replaying
answers a call with the first unused recording of the same key, so branches may come in any order.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import IO, Any

from ..errors import ProgramError
from .backend.base_backend import BaseBackend
from .call_key import digest_of
from .chat_template import ChatTemplate, ChatTemplateStyle

FORMAT_VERSION = 1

Path = str | os.PathLike[str]


class ReplayMismatch(ProgramError):
    """A replayed program asked something that was not recorded."""


class Tape:
    """Open for writing (`record`) or reading (`replay`)."""

    def __init__(self, path: Path, file: IO[str] | None) -> None:
        self.path = os.fspath(path)
        self._file = file
        self._lock = threading.Lock()
        self._template: dict[str, Any] | None = None
        self._calls: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._prompts: list[str] = []
        if file is None:
            self._read()

    @property
    def is_replayed(self) -> bool:
        return self._file is None

    def _read(self) -> None:
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                if entry.get("version", FORMAT_VERSION) != FORMAT_VERSION:
                    raise ProgramError(f"{self.path} is a tape of version {entry['version']}")
                if "template" in entry:
                    self._template = entry["template"]
                else:
                    self._calls[entry["key"]].append(entry)
                    self._prompts.append(entry["prompt"])

    def write(self, key: dict[str, Any], value: Any, meta: dict[str, Any], template: ChatTemplate) -> None:
        """Records a call that was answered."""
        assert self._file is not None
        shape = {**dataclasses.asdict(template), "style": template.style.name}
        with self._lock:
            if self._template != shape:
                self._template = shape
                self._line({"version": FORMAT_VERSION, "template": shape})
            self._line({"key": digest_of(key), "prompt": key["prompt"], "value": value, "meta": meta})

    def _line(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()

    def answer(self, key: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(value, meta) of the recorded call. ReplayMismatch if there is none left."""
        with self._lock:
            found = self._calls.get(digest_of(key))
            if found:
                entry = found.popleft()
                return entry["value"], entry["meta"]
        prompt = key["prompt"]
        same = sum(recorded == prompt for recorded in self._prompts)
        why = f"it was recorded {same} times, with other options or fewer times" if same else "a new prompt"
        raise ReplayMismatch(f"{self.path} has no answer to the prompt that ends in {prompt[-80:]!r}: {why}")

    def chat_template(self) -> ChatTemplate | None:
        if self._template is None:
            return None
        pairs = {role: tuple(pair) for role, pair in self._template["role_prefix_and_suffix"].items()}
        style = ChatTemplateStyle[self._template["style"]]
        return ChatTemplate(**{**self._template, "role_prefix_and_suffix": pairs, "style": style})


class ReplayBackend(BaseBackend):
    """Stands where the recorded backend was; the tape answers before it is called."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.chat_template = tape.chat_template() or self.chat_template

    def get_model_name(self) -> str:
        return "replay"


_current: contextvars.ContextVar[Tape | None] = contextvars.ContextVar("radixlang_tape", default=None)


def current_tape() -> Tape | None:
    """The tape that runs begun in this context record to, or are replayed from."""
    return _current.get()


@contextlib.contextmanager
def _use(tape: Tape) -> Iterator[Tape]:
    token = _current.set(tape)
    try:
        yield tape
    finally:
        _current.reset(token)


@contextlib.contextmanager
def record(path: Path) -> Iterator[Tape]:
    """Programs that are run inside write their calls to `path`. They must have finished when the block ends."""
    with open(path, "w", encoding="utf-8") as file, _use(Tape(path, file)) as tape:
        yield tape


@contextlib.contextmanager
def replay(path: Path) -> Iterator[Tape]:
    """Programs that are run inside get the answers recorded in `path`, without a backend."""
    with _use(Tape(path, None)) as tape:
        yield tape
