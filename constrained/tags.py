"""Structural tags: free text with constrained parts, in SGLang's and in xgrammar's JSON form, as a Lark grammar.

Free text is every text in which no trigger occurs; the lexeme that ends it is the text up to and with the first
trigger. So the two never compete, and an answer cannot end between a trigger and the end of its tag. Where a tag begins
or ends with the text of a special token, that token may stand in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import GrammarError, GrammarTooLarge, UnsupportedGrammar
from .constraint import WhiteSpace
from .distinct import may_repeat
from .endless import may_be_endless
from .fsm.fallback import to_engine
from .fsm.pattern import Node, Seq
from .fsm.pattern import parse as parse_regex
from .guidance import UNFORCED
from .json_schema.bounded import bounded
from .json_schema.document import parse as parse_json
from .json_schema.judge import Watch, watch_of
from .json_schema.marks import first_mark, without_marks
from .json_schema.normalise import normalise
from .json_schema.refusal import check_keys, invalid
from .json_schema.strings import literal
from .json_schema.whitespace import engine_options
from .tag_cursor import TagStart, may_be_scalar
from .tag_parts import as_list, as_text, check_apart, constant, excluded, some_text, sparse, until

MAX_TAGS = 4096


class TagGrammar(NamedTuple):
    """A structural tag in the engine's Lark."""

    lark: str
    ignored: tuple[str, ...]
    special_token_ids: frozenset[int]
    """Special tokens that it names."""
    starts: tuple[TagStart, ...]
    """Where documents begin in which something is watched; empty: nowhere."""
    begins: tuple[bytes, ...]
    """Of the tags with a document, if one may hold names that it does not list; empty: none may."""


KEYS: dict[str, frozenset[str]] = {
    "const_string": frozenset({"value"}),
    "json_schema": frozenset({"json_schema"}),
    "regex": frozenset({"pattern"}),
    "any_text": frozenset({"excludes"}),
    "sequence": frozenset({"elements"}),
    "or": frozenset({"elements"}),
    "optional": frozenset({"content"}),
    "plus": frozenset({"content"}),
    "star": frozenset({"content"}),
    "tag": frozenset({"begin", "content", "end"}),
    "triggered_tags": frozenset({"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}),
    "tags_with_separator": frozenset({"tags", "separator", "at_least_one", "stop_after_first"}),
}
"""What each format may hold beside its type."""


def to_lark(
    spec: str, whitespace: WhiteSpace = "fixed", special_tokens: Mapping[str, int] = MappingProxyType({})
) -> TagGrammar:
    """The grammar of a structural tag's JSON. Raises a GrammarError with the pointer of what is wrong.

    `special_tokens`: ids by their text.
    """
    document = parse_json(spec)
    if not isinstance(document, dict):
        raise invalid("a structural tag is an object", "", "#")
    writer = _Writer(whitespace, special_tokens)
    if "format" in document:
        check_keys(document, {"type", "format"}, "#")
        writer.is_document = isinstance(document["format"], dict) and document["format"].get("type") == "json_schema"
        body = writer.format(document["format"], "#/format")
    elif "structures" in document or "triggers" in document:
        check_keys(document, {"type", "structures", "triggers"}, "#")
        try:
            body = writer.triggered(_legacy(document), "#")
        except GrammarError as error:
            raise _as_legacy(error) from None
    else:
        raise invalid("a structural tag has structures and triggers, or a format", "format", "#/format")
    lines = ["%llguidance {}", f"start: {body}", *writer.lines]
    return TagGrammar(
        "\n".join(lines) + "\n", tuple(writer.ignored), frozenset(writer.named), writer.tag_starts, writer.begins
    )


def _legacy(document: dict[str, Any]) -> dict[str, Any]:
    """SGLang's `structures` and `triggers` as xgrammar's `triggered_tags`."""
    structures = as_list(document.get("structures"), "#/structures")
    tags = []
    for i, structure in enumerate(structures):
        if not isinstance(structure, dict):
            raise invalid("a structure is an object with begin, schema and end", "structures", f"#/structures/{i}")
        check_keys(structure, {"begin", "schema", "end"}, f"#/structures/{i}")
        content = {"type": "json_schema", "json_schema": structure.get("schema", True)}
        tags.append({"begin": structure.get("begin"), "content": content, "end": structure.get("end")})
    return {"triggers": document.get("triggers"), "tags": tags}


def _as_legacy(error: GrammarError) -> GrammarError:
    """The pointers of an error in the words of SGLang's form."""
    for attribute in ("pointer", "message"):
        value = getattr(error, attribute, None)
        if value is not None:
            setattr(
                error, attribute, value.replace("#/tags", "#/structures").replace("/content/json_schema", "/schema")
            )
    return error


class _Writer:
    def __init__(self, whitespace: WhiteSpace, special_tokens: Mapping[str, int]) -> None:
        self.whitespace: WhiteSpace = whitespace
        self.special_tokens = special_tokens
        self.named: set[int] = set()
        self.rules: dict[str, str] = {}
        self.starts: dict[str, Watch | None] = {}
        self.has_free_names = False
        self.is_document = False  # the whole, without any tag
        self.schemas: dict[tuple[str, str], str] = {}  # a schema and its tag's begin → its rule
        self.lines: list[str] = []
        self.ignored: list[str] = []
        self.terminals: dict[Node, str] = {}

    def format(self, spec: Any, pointer: str) -> str:
        """The Lark expression of one `format`."""
        if not isinstance(spec, dict):
            raise invalid("a format is an object with a type", "type", pointer)
        kind = spec.get("type")
        if isinstance(kind, str) and kind in KEYS:
            check_keys(spec, KEYS[kind] | {"type"}, pointer)
        match kind:
            case "const_string":
                return self.text(as_text(spec.get("value"), f"{pointer}/value"))
            case "json_schema":
                return self.schema(spec.get("json_schema"), f"{pointer}/json_schema")
            case "regex":
                node = self.regex(spec, pointer)
                if may_be_endless(node) and UNFORCED not in self.lines:
                    self.lines.append(UNFORCED)
                return self.terminal(node)
            case "any_text":
                return f"{self.terminal(some_text(excluded(spec, pointer)))}?"
            case "optional" | "plus" | "star":
                inner = self.rule(self.format(spec.get("content"), f"{pointer}/content"))
                return inner + {"optional": "?", "plus": "+", "star": "*"}[kind]
            case "sequence":
                return self.sequence(spec, pointer)
            case "or":
                elements = as_list(spec.get("elements"), f"{pointer}/elements")
                options = [self.format(e, f"{pointer}/elements/{i}") for i, e in enumerate(elements)]
                return "(" + " | ".join(options) + ")"
            case "tag":
                return self.rule(self.tag(spec, pointer, ""))
            case "triggered_tags":
                return self.triggered(spec, pointer)
            case "tags_with_separator":
                return self.separated(spec, pointer)
        raise UnsupportedGrammar(
            f"format type {kind!r} is not served (at {pointer}/type)",
            keyword="type",
            pointer=f"{pointer}/type",
        )

    def sequence(self, spec: dict[str, Any], pointer: str) -> str:
        """Elements in order; text of any kind must stand last, or be ended by a tag.

        Behind nothing but constants and documents, a document is found again by the constant right before it.
        """
        elements = as_list(spec.get("elements"), f"{pointer}/elements")
        for i, element in enumerate(elements[:-1]):
            if isinstance(element, dict) and element.get("type") in ("any_text", "triggered_tags"):
                raise UnsupportedGrammar(
                    f"{element['type']} in the middle of a sequence has no end; put it last, or inside a tag",
                    keyword="type",
                    pointer=f"{pointer}/elements/{i}",
                )
        parts: list[str] = []
        announced, is_plain = "", pointer == "#/format"
        for i, element in enumerate(elements):
            where = f"{pointer}/elements/{i}"
            is_document = isinstance(element, dict) and element.get("type") == "json_schema"
            if is_plain and is_document and announced not in self.starts:
                check_keys(element, KEYS["json_schema"] | {"type"}, where)
                parts.append(self.schema(element.get("json_schema"), f"{where}/json_schema", begin=announced))
            else:
                parts.append(self.format(element, where))
            announced = constant(element)
            is_plain &= is_document or bool(announced)
        return " ".join(parts) or '""'

    def triggered(self, spec: dict[str, Any], pointer: str) -> str:
        """Free text in which each trigger begins one of its tags."""
        given = as_list(spec.get("triggers"), f"{pointer}/triggers")
        triggers = [as_text(t, f"{pointer}/triggers/{i}") for i, t in enumerate(given)]
        tags = as_list(spec.get("tags"), f"{pointer}/tags")
        if len(tags) > MAX_TAGS:
            raise GrammarTooLarge(f"{len(tags)} tags; at most {MAX_TAGS} are served", keyword="tags", pointer=pointer)
        if not all(triggers):
            raise invalid("a trigger must not be empty", "triggers", f"{pointer}/triggers")
        for i, trigger in enumerate(triggers):
            for other in triggers[:i] + triggers[i + 1 :]:
                if trigger in other:
                    raise invalid(
                        f"the trigger {trigger!r} is a part of {other!r}", "triggers", f"{pointer}/triggers/{i}"
                    )
        excludes = excluded(spec, pointer)
        bodies: dict[str, list[tuple[str, str]]] = {}
        specials: dict[int, list[str]] = {}
        for i, tag in enumerate(tags):
            where = f"{pointer}/tags/{i}"
            begin = as_text(tag.get("begin") if isinstance(tag, dict) else None, f"{where}/begin")
            starts = [t for t in triggers if begin.startswith(t)]
            if not starts:
                raise invalid(f"begin {begin!r} starts with no trigger", "begin", f"{where}/begin")
            trigger = starts[0]
            bodies.setdefault(trigger, []).append((begin, self.rule(self.tag(tag, where, trigger))))
            name = self.special_start(begin)
            if name is not None and (name.startswith(trigger) or trigger.startswith(name)):
                specials.setdefault(self.special_tokens[name], []).append(self.rule(self.tag(tag, where, name)))
        calls = []
        for trigger, begun in bodies.items():
            check_apart([begin for begin, _ in begun], f"{pointer}/tags")
            before = self.terminal(until(trigger, [*triggers, *excludes]))
            calls.append(f"{before} (" + " | ".join(rule for _, rule in begun) + ")")
        before = self.terminal(some_text([*triggers, *excludes]))
        for token_id, rules in specials.items():
            calls.append(f"{before}? {self.token(token_id)} (" + " | ".join(rules) + ")")
        one = self.rule(" | ".join(calls)) if calls else ""
        rest = f"{before}?"
        if not one:
            return rest
        if spec.get("stop_after_first"):
            return one if spec.get("at_least_one") else f"({one} | {rest})"
        return f"{one}{'+' if spec.get('at_least_one') else '*'} {rest}"

    def separated(self, spec: dict[str, Any], pointer: str) -> str:
        """Tags one after the other, with a separator between."""
        tags = as_list(spec.get("tags"), f"{pointer}/tags")
        begins = [
            as_text(t.get("begin") if isinstance(t, dict) else None, f"{pointer}/tags/{i}/begin")
            for i, t in enumerate(tags)
        ]
        check_apart(begins, f"{pointer}/tags")
        one = self.rule(" | ".join(self.rule(self.tag(t, f"{pointer}/tags/{i}", "")) for i, t in enumerate(tags)))
        separator = as_text(spec.get("separator", ""), f"{pointer}/separator")
        more = "" if spec.get("stop_after_first") else f" ({self.text(separator) if separator else ''} {one})*"
        return f"{one}{more}" if spec.get("at_least_one") else f"({one}{more})?"

    def tag(self, spec: Any, pointer: str, begun: str) -> str:
        """begin, content, end; `begun`: how much of begin has been read."""
        if not isinstance(spec, dict):
            raise invalid("a tag is an object with begin, content and end", "tags", pointer)
        check_keys(spec, KEYS["tag"] | {"type"}, pointer)
        begin = as_text(spec.get("begin"), f"{pointer}/begin")[len(begun) :]
        ends = spec.get("end", "")
        ends = [as_text(e, f"{pointer}/end") for e in (ends if isinstance(ends, list) and ends else [ends])]
        content = spec.get("content")
        head = self.text(begin) + " " if begin else ""
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "any_text":
            if not all(ends):
                raise invalid("any_text inside a tag needs an end", "end", f"{pointer}/end")
            assert isinstance(content, dict)
            check_keys(content, KEYS["any_text"] | {"type"}, f"{pointer}/content")
            stops = [*ends, *excluded(content, f"{pointer}/content")]
            options = [self.terminal(until(end, stops)) for end in ends]
            inside = self.terminal(some_text(stops))
            options += [f"{inside}? {self.token(self.special_tokens[e])}" for e in ends if e in self.special_tokens]
            return head + "(" + " | ".join(options) + ")"
        if kind == "regex":
            assert isinstance(content, dict)
            check_keys(content, KEYS["regex"] | {"type"}, f"{pointer}/content")
            tree = self.regex(content, f"{pointer}/content")
            return head + "(" + " | ".join(self.terminal(Seq((tree, literal(end)))) for end in ends) + ")"
        if kind == "json_schema":
            assert isinstance(content, dict)
            check_keys(content, KEYS["json_schema"] | {"type"}, f"{pointer}/content")
            body = self.schema(content.get("json_schema"), f"{pointer}/content/json_schema", begin=spec["begin"])
        else:
            body = self.format(content, f"{pointer}/content")
        tails = [self.text(end) if end else '""' for end in ends]
        return f"{head}{body} ({' | '.join(tails)})"

    def regex(self, spec: dict[str, Any], pointer: str) -> Node:
        return sparse(parse_regex(as_text(spec.get("pattern"), f"{pointer}/pattern")), f"{pointer}/pattern")

    @property
    def tag_starts(self) -> tuple[TagStart, ...]:
        """All tags with a document, if something in one is watched."""
        if not any(self.starts.values()):
            return ()
        return tuple(TagStart(begin.encode(), watch) for begin, watch in self.starts.items())

    @property
    def begins(self) -> tuple[bytes, ...]:
        """Of all tags with a document, if one may hold names that it does not list."""
        if not self.has_free_names:
            return ()
        return (b"",) if self.is_document else tuple(begin.encode() for begin in self.starts)

    def schema(self, value: Any, pointer: str, *, begin: str = "") -> str:
        """`begin`: what opens the tag of which this is the content."""
        text = value if isinstance(value, str) else json.dumps(value)
        if value is None:
            raise invalid("a schema is missing here", "json_schema", pointer)
        if (text, begin) in self.schemas:
            return self.schemas[text, begin]
        try:
            normalised = normalise(text)
        except GrammarError as error:
            inner = getattr(error, "pointer", None)
            if inner is not None:
                error.pointer = pointer + inner.lstrip("#")  # type: ignore[attr-defined]
            raise
        mark = first_mark(normalised.schema)
        watch = None if mark is None else watch_of(normalised.schema)
        if mark is not None and watch is not None and (not begin or may_be_scalar(normalised.schema, watch)):
            where = pointer + mark.pointer.lstrip("#")
            message = f"{mark.keyword} is served in a tag that has a begin and an object or array as its content"
            raise UnsupportedGrammar(f"{message} (at {where})", keyword=mark.keyword, pointer=where)
        if begin:
            self.starts[begin] = watch
        self.has_free_names |= may_repeat(normalised.schema)
        self.ignored += [pointer + place.lstrip("#") for place in normalised.ignored]
        schema = normalised.schema if isinstance(normalised.schema, dict) else {}
        schema = bounded(schema if mark is None else without_marks(schema))
        options = engine_options(self.whitespace, json.dumps(schema))
        name = self.schemas[text, begin] = self.rule("%json " + json.dumps({"x-guidance": options, **schema}))
        return name

    def text(self, text: str) -> str:
        """A literal; special tokens in it may be written as such."""
        found = next((name for name in self.special_tokens if name in text), None)
        if found is None:
            return json.dumps(text) if text else '""'
        before, _, after = text.partition(found)
        parts = [json.dumps(before)] if before else []
        parts += [self.token(self.special_tokens[found]), *([self.text(after)] if after else [])]
        return f"({json.dumps(text)} | {' '.join(parts)})"

    def special_start(self, text: str) -> str | None:
        """The special token with whose text `text` begins."""
        return next((name for name in self.special_tokens if text.startswith(name)), None)

    def token(self, token_id: int) -> str:
        """A special token."""
        self.named.add(token_id)
        return f"<[{token_id}]>"

    def terminal(self, tree: Node) -> str:
        """The name of a lexeme."""
        name = self.terminals.get(tree)
        if name is None:
            name = self.terminals[tree] = f"T{len(self.terminals)}"
            self.lines.append(f"{name}: /{to_engine(tree)}/")
        return name

    def rule(self, body: str) -> str:
        """The name of a rule with this body."""
        name = self.rules.get(body)
        if name is None:
            name = self.rules[body] = f"r{len(self.lines)}"
            self.lines.append(f"{name}: {body}")
        return name
