"""How a model's family writes calls of tools within free text: as a structural tag, and read back from what it allows.

Used where a tool is strict. What opens a call opens it for the constraint and for the reader alike, so that no call is
told whose arguments the constraint did not see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ...constrained.constraint import JsonSchema, StructuralTag
from ...constrained.fields import FoundConstraint, locate
from ...constrained.translate import check_constraint
from ...errors import GrammarError
from ...lang.jinja import JinjaChatTemplate
from ...lang.reasoning import ReasoningTags


class ToolForm(NamedTuple):
    """One family's calls."""

    name: str
    openings: tuple[str, ...]
    """What may stand before `{"name": …`."""
    key: str
    """Of the arguments."""
    closings: tuple[str, ...]
    """What may stand behind the arguments."""
    triggers: tuple[str, ...]
    """Texts that begin an opening; free text holds none of them."""

    def heads(self, name: str) -> list[str]:
        """What opens a call of this tool, up to its arguments."""
        return [f'{opening}{{"name": {json.dumps(name)}, "{self.key}": ' for opening in self.openings]


HERMES = ToolForm("hermes", ("<tool_call>",), "arguments", ("}</tool_call>", "}\n</tool_call>"), ("<tool_call>",))
QWEN = HERMES._replace(name="qwen", openings=("<tool_call>\n",), closings=("}\n</tool_call>",))
LLAMA3 = ToolForm("llama3", ("<|python_tag|>", ""), "parameters", ("}",), ("<|python_tag|>", '{"name": "'))
MISTRAL = ToolForm("mistral", ("[TOOL_CALLS] [",), "arguments", ("}]",), ("[TOOL_CALLS]",))


def form_of(template: JinjaChatTemplate | None) -> ToolForm:
    """The family of the model with this chat template; Hermes where it knows no tools, which are then told that way."""
    source = template.source if template is not None and "tools" in template.source else ""
    if "[TOOL_CALLS]" in source:
        return MISTRAL if "[TOOL_CALLS] [" in source else MISTRAL._replace(openings=("[TOOL_CALLS][",))
    if "<tool_call>" in source:
        # A template spells the line end as it is or as an escape.
        return QWEN if re.search(r"<tool_call>(\n|\\n)", source) else HERMES
    if "<|python_tag|>" in source or ("<|eot_id|>" in source and '"parameters"' in source):
        return LLAMA3
    return HERMES


class StrictTools(NamedTuple):
    """Tools of which one or more are strict, where the model may call them or not."""

    form: ToolForm
    schemas: Mapping[str, dict[str, Any]]
    """Of the arguments, by the tools' names."""
    is_parallel: bool
    """Whether more than one call may be made."""

    def constraint(self, thought: ReasoningTags | None, *, is_open: bool) -> FoundConstraint:
        """Free text with calls. `thought`: how the answer may begin; `is_open`: the prompt began the thought.

        A thought is free but for what begins a call: nothing in it could be taken for one.
        """
        triggers = self.form.triggers
        tags = [
            {"begin": head, "content": {"type": "json_schema", "json_schema": schema}, "end": list(self.form.closings)}
            for name, schema in self.schemas.items()
            for head in self.form.heads(name)
        ]
        form: dict[str, Any] = {"type": "triggered_tags", "triggers": triggers, "tags": tags}
        if not self.is_parallel:
            form["stop_after_first"] = True
        if thought is not None:
            form["excludes"] = [thought.start]
            inside = {"type": "any_text", "excludes": triggers}
            begins = {"type": "tag", "begin": "" if is_open else thought.start, "content": inside, "end": thought.end}
            first = begins if is_open else {"type": "optional", "content": begins}
            form = {"type": "sequence", "elements": [first, form]}
        spec = {"type": "structural_tag", "format": form}
        return FoundConstraint(StructuralTag(json.dumps(spec, ensure_ascii=False)), "tools")


def strict_schema(parameters: dict[str, Any], param: str) -> None:
    """Raises the GrammarError of a strict tool's schema, located at `param`, that reading it finds."""
    try:
        _check(json.dumps(parameters, ensure_ascii=False))
    except GrammarError as error:
        raise locate(error, param) from None


@lru_cache(maxsize=1024)  # clients send the same tools with every request
def _check(schema: str) -> None:
    check_constraint(JsonSchema(schema, strict=True))


class _ArgumentsEnd:
    """Where a call's arguments end, found as they come: one look at every character."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False

    def find(self, text: str) -> int | None:
        """The index behind the document, which goes on with `text`; None: not in it."""
        for at, char in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped, self._in_string = char == "\\", char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                if self._depth <= 1:  # 0: behind a number, in a schema that is no object's
                    return at + self._depth
                self._depth -= 1
        return None


class Piece(NamedTuple):
    """What a reader made out: text, the name of a call that begins, or more of its arguments."""

    text: str = ""
    name: str = ""
    arguments: str = ""


class FormReader:
    """Reads an answer in a form, as it comes. What may become the opening of a call waits until that is decided."""

    def __init__(self, strict: StrictTools) -> None:
        form = strict.form
        openings = "|".join(re.escape(opening) for opening in form.openings)
        self._names = strict.schemas
        self._head = re.compile(rf'(?:{openings})\{{"name": "([^"]*)", "{form.key}": ')
        self._starts = form.triggers
        self._longest = max(len(head) for name in strict.schemas for head in form.heads(name))
        self._closings = form.closings
        self._held = ""
        self._end: _ArgumentsEnd | None = None
        """Of the call whose arguments are under way."""
        self._is_closing = False

    def push(self, text: str) -> Iterator[Piece]:
        """What became certain."""
        self._held += text
        while self._held:
            step = self._close() if self._is_closing else self._arguments() if self._end is not None else self._free()
            if step is None:
                return
            yield from step

    def finish(self) -> str:
        """Text that was held back and began no call."""
        rest, self._held = "" if self._is_closing else self._held, ""
        return rest

    def _free(self) -> list[Piece] | None:
        found = [at for start in self._starts if (at := self._held.find(start)) >= 0]
        if not found:
            keep = max(_open_end(self._held, start) for start in self._starts)
            text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            return [Piece(text=text)] if text else None
        at = min(found)
        head = self._head.match(self._held, at)
        if head is None and len(self._held) - at < self._longest:
            text, self._held = self._held[:at], self._held[at:]
            return [Piece(text=text)] if text else None
        if head is None or head[1] not in self._names:
            text, self._held = self._held[: at + 1], self._held[at + 1 :]
            return [Piece(text=text)]
        text, self._held = self._held[:at], self._held[head.end() :]
        self._end = _ArgumentsEnd()
        return [*([Piece(text=text)] if text else []), Piece(name=head[1])]

    def _arguments(self) -> list[Piece]:
        assert self._end is not None
        end = self._end.find(self._held)
        cut = len(self._held) if end is None else end
        arguments, self._held = self._held[:cut], self._held[cut:]
        if end is not None:
            self._end, self._is_closing = None, True
        return [Piece(arguments=arguments)] if arguments else []

    def _close(self) -> list[Piece] | None:
        closing = next((c for c in self._closings if self._held.startswith(c)), None)
        if closing is None and any(c.startswith(self._held) for c in self._closings):
            return None
        self._is_closing = False
        self._held = self._held[len(closing or "") :]
        return []


def _open_end(text: str, start: str) -> int:
    """How many of the text's last characters may be the beginning of `start`."""
    return next((n for n in range(min(len(text), len(start) - 1), 0, -1) if text.endswith(start[:n])), 0)
