"""Calls of tools as a constraint: a structural tag in a model family's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ....constrained.constraint import Choice, JsonObject, JsonSchema, Regex, StructuralTag
from ....constrained.fields import FoundConstraint, locate
from ....errors import GrammarError
from ....lang.reasoning import ReasoningTags
from .forms import Channels, ToolForm
from .keywords import keywords_format

Format = dict[str, Any]
"""A structural tag's `format`."""
_FLAGS = re.compile(r"\(\?[a-zA-Z]+\)")
"""What a pattern may begin with that holds for all of it."""


class CallGrammar(NamedTuple):
    """What an answer is that holds calls in a form, or may hold some."""

    form: ToolForm
    schemas: Mapping[str, dict[str, Any]]
    """Of the arguments, by the tools' names."""
    is_parallel: bool
    """Whether more than one call may be made."""
    is_forced: bool
    """Whether the answer is calls, and nothing else."""
    answer: FoundConstraint | None = None
    """What an answer without calls must be; None: free text."""

    @property
    def calls_come_first(self) -> bool:
        """Whether an answer begins with a call, or holds none."""
        return self.form.channels is None and (self.is_forced or self.answer is not None or not self.form.triggers)

    def constraint(self, thought: ReasoningTags | None, *, is_open: bool) -> FoundConstraint:
        """As a constraint. `thought`: how the answer may begin; `is_open`: the prompt began the thought.

        A thought is free but for what begins a call: nothing in it could be taken for one. Raises GrammarError where
        `answer` cannot be told from calls or is none that stands beside them.
        """
        taken = [one for one in self.form.openings if one] if self.form.channels is None else []
        if thought is not None:
            taken.append(thought.start)
        text = None if self.answer is None else answer_format(self.answer, taken)
        if self.answer is not None and not self.form.openings[0]:
            raise _conflict(self.answer, "such answers could be taken for calls, which are JSON by themselves")
        if self.form.channels is not None:
            form = self._in_channels(self.form.channels, text)
        else:
            is_mixed = text is None and self.form.triggers and not self.is_forced
            form = self._mixed() if is_mixed else self._first(text, thought)
            if thought is not None:
                form = self._behind_a_thought(form, thought, is_open)
        spec = {"type": "structural_tag", "format": form}
        return FoundConstraint(StructuralTag(json.dumps(spec, ensure_ascii=False)), "tools")

    def _behind_a_thought(self, form: Format, thought: ReasoningTags, is_open: bool) -> Format:
        inside = {"type": "any_text", "excludes": list(self.form.triggers)}
        first: Format = {
            "type": "tag", "begin": "" if is_open else thought.start, "content": inside, "end": thought.end,
        }  # fmt: skip
        if form["type"] == "triggered_tags":
            form["excludes"] = [thought.start]
        else:
            blank = {"type": "optional", "content": {"type": "const_string", "value": "\n\n"}}
            calls, *others = form["elements"] if form["type"] == "or" else [form]
            form = {"type": "or", "elements": [{"type": "sequence", "elements": [blank, calls]}, *others]}
        first = first if is_open else {"type": "optional", "content": first}
        return {"type": "sequence", "elements": [first, form]}

    def _mixed(self) -> Format:
        """Free text with calls."""
        form: Format = {"type": "triggered_tags", "triggers": list(self.form.triggers), "tags": self._blocks()}
        return form if self.is_parallel else {**form, "stop_after_first": True}

    def _first(self, text: Format | None, thought: ReasoningTags | None) -> Format:
        """Calls, or what an answer without them is."""
        calls: Format = {
            "type": "tags_with_separator", "tags": self._blocks(), "separator": self.form.between, "at_least_one": True,
        }  # fmt: skip
        if not self.is_parallel or self.form.separator is not None:  # one block holds all
            calls["stop_after_first"] = True
        if self.is_forced:
            return calls
        if text is None:
            begin = self._blocks()[0]["begin"][0]
            no_thought = "" if thought is None else f"(?!{re.escape(thought.start)})"
            pattern = rf"\s*{no_thought}[^\s\{begin}][\s\S]*"
            text = {"type": "optional", "content": {"type": "regex", "pattern": pattern}}
        return {"type": "or", "elements": [calls, text]}

    def _in_channels(self, channels: Channels, text: Format | None) -> Format:
        """A thought and something said, if any; then a call, or the answer."""
        inside = {"type": "any_text", "excludes": [channels.mark]}
        again = {"type": "const_string", "value": channels.again}
        before: list[Format] = []
        for begin in (channels.thought, channels.said):
            message = {"type": "tag", "begin": begin, "content": inside, "end": channels.end}
            before.append({"type": "optional", "content": {"type": "sequence", "elements": [message, again]}})
        last: Format = {"type": "or", "elements": [{"type": "tag", **call} for call in self._blocks()]}
        if not self.is_forced:
            begins = {"type": "const_string", "value": channels.final}
            last["elements"].append({"type": "sequence", "elements": [begins, text or inside]})
        return {"type": "sequence", "elements": [*before, last]}

    def _blocks(self) -> list[Format]:
        form = self.form
        # Beside an answer of its own, JSON may begin as a call without an opening does.
        openings = [one for one in form.openings if one or len(form.openings) == 1 or self.answer is None]
        if form.separator is None:
            return [
                self._call(name, schema, opening, form.end)
                for name, schema in self.schemas.items()
                for opening in openings
            ]
        calls: Format = {
            "type": "tags_with_separator",
            "tags": [self._call(name, schema) for name, schema in self.schemas.items()],
            "separator": form.separator,
            "at_least_one": True,
        }
        if not self.is_parallel:
            calls["stop_after_first"] = True
        return [{"begin": opening, "content": calls, "end": form.end} for opening in openings]

    def _call(self, name: str, schema: dict[str, Any], opening: str = "", end: str = "") -> Format:
        content = (
            keywords_format(schema) if self.form.style == "python" else {"type": "json_schema", "json_schema": schema}
        )
        return {"begin": self.form.begin(name, opening), "content": content, "end": self.form.tail + end}


def answer_format(found: FoundConstraint, taken: Sequence[str]) -> Format:
    """A request's own constraint as one of the things that an answer may be. Raises GrammarError.

    `taken`: what begins the others, which a text that it allows does not begin with.
    """
    from ....constrained.translate import check_constraint  # here and below: its libraries are loaded with a first tool

    try:
        check_constraint(found.constraint)
    except GrammarError as error:
        raise locate(error, found.param) from None
    match found.constraint:
        case JsonSchema(schema, "fixed", strict, "error"):
            form: Format = {"type": "json_schema", "json_schema": schema}
            return {**form, "strict": True} if strict else form
        case JsonObject("fixed"):
            return {"type": "json_schema", "json_schema": {"type": "object"}}
        case Regex(pattern):
            flags = _FLAGS.match(pattern)
            at = flags.end() if flags is not None else 0
            others = "|".join(map(re.escape, taken)) or "(?!)"
            return {"type": "regex", "pattern": rf"{pattern[:at]}(?!\s*(?:{others}))(?:{pattern[at:]})"}
        case Choice(choices) if not any(choice.lstrip().startswith(tuple(taken)) for choice in choices):
            return {"type": "or", "elements": [{"type": "const_string", "value": choice} for choice in choices]}
    raise _conflict(found, "give a JSON schema without options")


def _conflict(found: FoundConstraint, why: str) -> GrammarError:
    return GrammarError(
        f'{found.param} cannot be combined with tools that may be called: {why}; or take tool_choice: "none"',
        code="conflicting_constraints",
        param=found.param,
    )


def check_schema(parameters: dict[str, Any], param: str, form: ToolForm, *, is_strict: bool) -> None:
    """Raises the GrammarError of a tool's schema, located at `param`, that reading it finds."""
    try:
        _check(json.dumps(parameters, ensure_ascii=False), is_strict)
        if form.style == "python":
            keywords_format(parameters)
    except GrammarError as error:
        raise locate(error, param) from None


@lru_cache(maxsize=4096)  # clients send the same tools with every request
def _check(schema: str, is_strict: bool) -> None:
    from ....constrained.translate import check_constraint

    check_constraint(JsonSchema(schema, strict=is_strict))
