"""Structural tags: free text with constrained parts, in SGLang's and in xgrammar's JSON form, as a Lark grammar.

Free text is every text in which no trigger occurs; the lexeme that ends it is the text up to and with the first
trigger. So the two never compete, and an answer cannot end between a trigger and the end of its tag. Where a tag begins
or ends with the text of a special token, that token may stand in its place. What else stands side by side may compete:
then it is written in other lexemes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import GrammarError, GrammarTooLarge, UnsupportedGrammar
from ..constraint import WhiteSpace
from ..distinct import may_repeat
from ..fsm.pattern import Node, Seq, shortest_len
from ..fsm.pattern import parse as parse_regex
from ..json_schema.bounded import bounded
from ..json_schema.document import parse as parse_json
from ..json_schema.inline import edges
from ..json_schema.judge import watch_of
from ..json_schema.marks import first_mark, without_marks
from ..json_schema.normalise import normalise
from ..json_schema.refusal import check_keys, invalid, placed, unsatisfiable
from ..json_schema.strings import literal
from ..json_schema.whitespace import engine_options
from .body import Body, Document, LarkWriter, Lexeme, Text, Token, alt, repeat, seq
from .cursor import may_be_scalar
from .follower import Follower
from .lexemes import in_lexemes
from .parts import (
    as_flag,
    as_list,
    as_text,
    check_apart,
    check_reachable,
    excluded,
    is_unambiguous,
    some_text,
    sparse,
    until,
)

MAX_TAGS = 4096


class TagGrammar(NamedTuple):
    """A structural tag in the engine's Lark."""

    lark: str
    ignored: tuple[str, ...]
    special_token_ids: frozenset[int]
    """Special tokens that it names."""
    body: Body
    """As it is written in `lark`."""
    is_watched: bool
    """Something in a document is."""
    has_free_names: bool
    """A document may hold names that it does not list."""

    def follower(self) -> Follower:
        """Finds the documents in what is written."""
        return Follower(self.body)


KEYS: dict[str, frozenset[str]] = {
    "const_string": frozenset({"value"}),
    "json_schema": frozenset({"json_schema", "strict"}),  # strict: as response_format has it
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
    if document.get("type", "structural_tag") != "structural_tag":
        raise invalid("the type of a structural tag is structural_tag", "type", "#/type")
    writer = _Writer(whitespace, special_tokens)
    is_plain, pointer = True, "#"
    if "format" in document:
        check_keys(document, {"type", "format"}, "#")
        body = writer.format(document["format"], "#/format")
        is_plain, pointer = is_unambiguous(document["format"]), "#/format"
    elif "structures" in document or "triggers" in document:
        check_keys(document, {"type", "structures", "triggers"}, "#")
        try:
            body = writer.triggered(_legacy(document), "#")
        except GrammarError as error:
            raise _as_legacy(error) from None
    else:
        raise invalid("a structural tag has structures and triggers, or a format", "format", "#/format")
    if writer.may_run_on or not is_plain:
        body = in_lexemes(body, pointer)
    lark = LarkWriter()
    start = lark.write(body)
    lines = ["%llguidance {}", f"start: {start}", *writer.lines, *lark.lines]
    return TagGrammar(
        "\n".join(lines) + "\n",
        tuple(writer.ignored),
        frozenset(writer.named),
        body,
        writer.is_watched,
        writer.has_free_names,
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
        self.is_watched = False
        self.has_free_names = False
        self.may_run_on = False  # a number with what stands behind its tag
        self.schemas: dict[tuple[str, bool], Document] = {}
        self.lines: list[str] = []
        self.ignored: list[str] = []

    def format(self, spec: Any, pointer: str) -> Body:
        """The body of one `format`."""
        if not isinstance(spec, dict):
            raise invalid("a format is an object with a type", "type", pointer)
        kind = spec.get("type")
        if isinstance(kind, str) and kind in KEYS:
            check_keys(spec, KEYS[kind] | {"type"}, pointer)
        match kind:
            case "const_string":
                return self.text(as_text(spec.get("value"), f"{pointer}/value"))
            case "json_schema":
                return self.schema(spec, pointer)
            case "regex":
                return Lexeme(self.regex(spec, pointer))
            case "any_text":
                return repeat(Lexeme(some_text(excluded(spec, pointer)), is_free=True), 0, 1)
            case "optional" | "plus" | "star":
                low, high = {"optional": (0, 1), "plus": (1, None), "star": (0, None)}[kind]
                return repeat(self.format(spec.get("content"), f"{pointer}/content"), low, high)
            case "sequence":
                return self.sequence(spec, pointer)
            case "or":
                elements = as_list(spec.get("elements"), f"{pointer}/elements")
                if not elements:
                    raise invalid("or needs something to choose from", "elements", f"{pointer}/elements")
                options = [self.format(e, f"{pointer}/elements/{i}") for i, e in enumerate(elements)]
                return alt(*options)
            case "tag":
                return self.one_of([(spec, pointer)], "")
            case "triggered_tags":
                return self.triggered(spec, pointer)
            case "tags_with_separator":
                return self.separated(spec, pointer)
        raise UnsupportedGrammar(
            f"format type {kind!r} is not served (at {pointer}/type)",
            keyword="type",
            pointer=f"{pointer}/type",
        )

    def sequence(self, spec: dict[str, Any], pointer: str) -> Body:
        """Elements in order; text of any kind must stand last, or be ended by a tag."""
        elements = as_list(spec.get("elements"), f"{pointer}/elements")
        for i, element in enumerate(elements[:-1]):
            if isinstance(element, dict) and element.get("type") in ("any_text", "triggered_tags"):
                raise UnsupportedGrammar(
                    f"{element['type']} in the middle of a sequence has no end; put it last, or inside a tag",
                    keyword="type",
                    pointer=f"{pointer}/elements/{i}",
                )
        return seq(*(self.format(element, f"{pointer}/elements/{i}") for i, element in enumerate(elements)))

    def triggered(self, spec: dict[str, Any], pointer: str) -> Body:
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
        check_reachable(triggers, excludes, pointer)
        at_least_one = as_flag(spec, "at_least_one", pointer)
        if at_least_one and not tags:
            raise unsatisfiable("there is no tag of which one must be there", "tags", f"{pointer}/tags")
        begun: dict[str, list[tuple[str, Any, str]]] = {}
        specials: dict[str, list[tuple[Any, str]]] = {}
        for i, tag in enumerate(tags):
            where = f"{pointer}/tags/{i}"
            begin = as_text(tag.get("begin") if isinstance(tag, dict) else None, f"{where}/begin")
            starts = [t for t in triggers if begin.startswith(t)]
            if not starts:
                raise invalid(f"begin {begin!r} starts with no trigger", "begin", f"{where}/begin")
            trigger = starts[0]
            begun.setdefault(trigger, []).append((begin, tag, where))
            name = self.special_start(begin)
            if name is not None and (name.startswith(trigger) or trigger.startswith(name)):
                specials.setdefault(name, []).append((tag, where))
        calls: list[Body] = []
        for trigger, found in begun.items():
            check_apart([begin for begin, _, _ in found], f"{pointer}/tags")
            before = Lexeme(until(trigger, [*triggers, *excludes]), is_free=True)
            calls.append(seq(before, self.one_of([one[1:] for one in found], trigger)))
        rest = repeat(Lexeme(some_text([*triggers, *excludes]), is_free=True), 0, 1)
        calls += [seq(rest, self.token(name), self.one_of(found, name)) for name, found in specials.items()]
        if not calls:
            return rest
        one = alt(*calls)
        if as_flag(spec, "stop_after_first", pointer):
            return one if at_least_one else alt(one, rest)
        return seq(repeat(one, int(at_least_one), None), rest)

    def separated(self, spec: dict[str, Any], pointer: str) -> Body:
        """Tags one after the other, with a separator between."""
        tags = as_list(spec.get("tags"), f"{pointer}/tags")
        begins = [
            as_text(t.get("begin") if isinstance(t, dict) else None, f"{pointer}/tags/{i}/begin")
            for i, t in enumerate(tags)
        ]
        check_apart(begins, f"{pointer}/tags")
        at_least_one = as_flag(spec, "at_least_one", pointer)
        if not tags and at_least_one:
            raise unsatisfiable("there is no tag of which one must be there", "tags", f"{pointer}/tags")
        if not tags:
            return seq()
        one = self.one_of([(tag, f"{pointer}/tags/{i}") for i, tag in enumerate(tags)], "")
        separator = as_text(spec.get("separator", ""), f"{pointer}/separator")
        is_one = as_flag(spec, "stop_after_first", pointer)
        more = seq() if is_one else repeat(seq(self.text(separator), one), 0, None)
        return repeat(seq(one, more), int(at_least_one), 1)

    def one_of(self, tags: list[tuple[Any, str]], begun: str) -> Body:
        """One of these tags, each with its pointer; `begun`: how much of their begins has been read.

        Those with the same content share it, those that end alike their end: many are told apart in less time.
        """
        by_end: dict[Body, dict[Body, list[Body]]] = {}
        for spec, pointer in tags:
            head, inside, end = self.tag(spec, pointer, begun)
            by_end.setdefault(end, {}).setdefault(inside, []).append(head)
        return alt(
            *(
                seq(alt(*(seq(alt(*heads), inside) for inside, heads in some.items())), end)
                for end, some in by_end.items()
            )
        )

    def tag(self, spec: Any, pointer: str, begun: str) -> tuple[Body, Body, Body]:
        """begin, content, and end, if that is apart; `begun`: how much of begin has been read."""
        if not isinstance(spec, dict):
            raise invalid("a tag is an object with begin, content and end", "tags", pointer)
        check_keys(spec, KEYS["tag"] | {"type"}, pointer)
        begin = as_text(spec.get("begin"), f"{pointer}/begin")[len(begun) :]
        ends = spec.get("end", "")
        ends = [as_text(e, f"{pointer}/end") for e in (ends if isinstance(ends, list) and ends else [ends])]
        content = spec.get("content")
        head = self.text(begin)
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "any_text":
            if not all(ends):
                raise invalid("any_text inside a tag needs an end", "end", f"{pointer}/end")
            assert isinstance(content, dict)
            check_keys(content, KEYS["any_text"] | {"type"}, f"{pointer}/content")
            excludes = excluded(content, f"{pointer}/content")
            check_reachable(ends, excludes, f"{pointer}/content")
            stops = [*ends, *excludes]
            options: list[Body] = [Lexeme(until(end, stops)) for end in ends]
            inside = repeat(Lexeme(some_text(stops)), 0, 1)
            options += [seq(inside, self.token(e)) for e in ends if e in self.special_tokens]
            return head, alt(*options), seq()
        if kind == "regex":
            assert isinstance(content, dict)
            check_keys(content, KEYS["regex"] | {"type"}, f"{pointer}/content")
            tree = self.regex(content, f"{pointer}/content")
            return head, alt(*(Lexeme(Seq((tree, literal(end)))) for end in ends)), seq()
        if kind == "json_schema":
            assert isinstance(content, dict)
            check_keys(content, KEYS["json_schema"] | {"type"}, f"{pointer}/content")
            document = self.schema(content, f"{pointer}/content")
            self.may_run_on |= any(end and end.encode()[0] in document.more for end in ends)
            return head, document, alt(*map(self.text, ends))
        return head, self.format(content, f"{pointer}/content"), alt(*map(self.text, ends))

    def regex(self, spec: dict[str, Any], pointer: str) -> Node:
        where = f"{pointer}/pattern"
        pattern = as_text(spec.get("pattern"), where)
        try:
            tree = parse_regex(pattern)
        except GrammarError as error:
            raise placed(error, where) from None
        tree = sparse(tree, where)
        if shortest_len(tree) == math.inf:
            raise unsatisfiable("nothing matches the pattern", "pattern", where)
        return tree

    def schema(self, spec: dict[str, Any], pointer: str) -> Document:
        """A document."""
        value, pointer = spec.get("json_schema"), f"{pointer}/json_schema"
        text = value if isinstance(value, str) else json.dumps(value)
        if value is None:
            raise invalid("a schema is missing here", "json_schema", pointer)
        strict = as_flag(spec, "strict", pointer.rpartition("/")[0])
        if (text, strict) in self.schemas:
            return self.schemas[text, strict]
        try:
            normalised = normalise(text, strict=strict)
        except GrammarError as error:
            inner = getattr(error, "pointer", None)
            if inner is not None:
                error.pointer = pointer + inner.lstrip("#")  # type: ignore[attr-defined]
            raise
        mark = first_mark(normalised.schema)
        watch = None if mark is None else watch_of(normalised.schema)
        if mark is not None and watch is not None and may_be_scalar(normalised.schema, watch):
            where = pointer + mark.pointer.lstrip("#")
            message = f"{mark.keyword} is served in a structural tag where the document is an object or array"
            raise UnsupportedGrammar(f"{message} (at {where})", keyword=mark.keyword, pointer=where)
        self.is_watched |= watch is not None
        self.has_free_names |= may_repeat(normalised.schema)
        self.ignored += [pointer + place.lstrip("#") for place in normalised.ignored]
        schema = normalised.schema if isinstance(normalised.schema, dict) else {}
        schema = bounded(schema if mark is None else without_marks(schema))
        options = engine_options(self.whitespace, json.dumps(schema))
        found = self.schemas[text, strict] = Document(f"j{len(self.schemas)}", *edges(schema), watch)
        self.lines.append(f"{found.rule}: %json " + json.dumps({"x-guidance": options, **schema}))
        return found

    def text(self, text: str) -> Body:
        """A literal; special tokens in it may be written as such."""
        # The first that occurs, the longest where several do: what is before it holds none.
        found = min((n for n in self.special_tokens if n in text), key=lambda n: (text.index(n), -len(n)), default=None)
        if found is None:
            return Text(text) if text else seq()
        before, _, after = text.partition(found)
        parts = [*([Text(before)] if before else []), alt(Text(found), self.token(found))]
        return seq(*parts, self.text(after)) if after else seq(*parts)

    def special_start(self, text: str) -> str | None:
        """The special token with whose text `text` begins."""
        return next((name for name in self.special_tokens if text.startswith(name)), None)

    def token(self, text: str) -> Token:
        """A special token."""
        token_id = self.special_tokens[text]
        self.named.add(token_id)
        return Token(token_id, text)
