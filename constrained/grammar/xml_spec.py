"""What an XML or HTML document may hold: a DTD, or JSON with typed text, read into elements.

JSON: {"root": name, "elements": {name: {"content": …, "text": type, "attributes": {name: type}, "name": tag}}}. Content
is a model as a DTD writes it; an element has that, a `text` type, or nothing. A type is "string", "integer",
"number", "boolean", {"enum": […]}, {"pattern": regex} or {"type": "string", "minLength": n, "maxLength": n}; in an
attribute also "required": false. The key of an element is its name, unless `name` says otherwise: so that elements of
one name differ by their place.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

from ...errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar
from ..fsm.pattern import has_look, parse
from ..json_schema.refusal import invalid, placed

MAX_CHARS = 1_000_000
MAX_ELEMENTS = 5_000
MAX_DEPTH = 100
MAX_REPEAT = 10_000
PCDATA = "#PCDATA"
SIMPLE = ("string", "integer", "number", "boolean")

_NAME = re.compile(r"[A-Za-z_:][\w:.\-]*")
_TOKEN_NAME = re.compile(r"[\w:.\-]+")
_TOKEN = re.compile(r"\s+|#PCDATA|[A-Za-z_:][\w:.\-]*|\{\d{1,6}(?:,\d{0,6})?\}|[(),|?*+]")
_DECLARATION = re.compile(r"\s+|<!--.*?-->|<!(ELEMENT|ATTLIST|ENTITY|NOTATION)\s+(?!\s)([^<>]*)>|<\?.*?\?>", re.DOTALL)
_DOCTYPE = re.compile(r"\s*<!DOCTYPE\s+([\w:.\-]+)\s*\[(.*)\]\s*>\s*\Z", re.DOTALL)
_ATTRIBUTE = re.compile(
    r"\s*([A-Za-z_:][\w:.\-]*)\s+(\([^()]*\)|[A-Z]+)\s+"
    r"(#REQUIRED|#IMPLIED|#FIXED\s+(?:\"[^\"]*\"|'[^']*')|\"[^\"]*\"|'[^']*')"
)


class Particle(NamedTuple):
    """A part of a content model, `low` to `high` times; None: without end."""

    kind: str
    """element, text, sequence or choice."""
    name: str = ""
    parts: tuple[Particle, ...] = ()
    low: int = 1
    high: int | None = 1


class Attribute(NamedTuple):
    """`kind`: a type, see the module's docstring."""

    name: str
    kind: Any
    is_required: bool


class Element(NamedTuple):
    """`content` or `text` or neither: an empty element."""

    tag: str
    content: Particle | None
    text: Any
    attributes: tuple[Attribute, ...]


class Document(NamedTuple):
    """Elements by key; the document is the one called `root`."""

    root: str
    elements: dict[str, Element]
    is_html: bool


def read(spec: str) -> Document:
    """Raises GrammarSyntaxError, UnsupportedGrammar or GrammarTooLarge; of JSON with a pointer."""
    if len(spec) > MAX_CHARS:
        raise GrammarTooLarge(f"the document type has {len(spec)} characters; at most {MAX_CHARS} are taken")
    found = _read_json(spec) if spec.lstrip().startswith("{") else _read_dtd(spec)
    if len(found.elements) > MAX_ELEMENTS:
        raise GrammarTooLarge(f"there are {len(found.elements)} elements; at most {MAX_ELEMENTS} are taken")
    if found.root not in found.elements:
        raise GrammarSyntaxError(f"the root element {found.root!r} is not declared")
    for key, element in found.elements.items():
        for name in sorted(_named(element.content)):
            if name not in found.elements:
                raise GrammarSyntaxError(f"element {name!r}, in the content of {key!r}, is not declared")
    return found


def _named(particle: Particle | None) -> set[str]:
    if particle is None:
        return set()
    own = {particle.name} if particle.kind == "element" else set()
    return own.union(*map(_named, particle.parts))


def _read_json(spec: str) -> Document:
    try:
        data = json.loads(spec)
    except (ValueError, RecursionError) as error:
        line, column = getattr(error, "lineno", None), getattr(error, "colno", None)
        raise GrammarSyntaxError(f"not JSON: {error}", line=line, column=column) from None
    _only(data, {"root", "elements", "html"}, "#")
    elements = data.get("elements")
    if not isinstance(elements, dict) or not elements:
        _fail("elements must be an object with one entry or more", "#/elements")
    found = {key: _json_element(key, value, f"#/elements/{key}") for key, value in elements.items()}
    root, is_html = data.get("root", next(iter(elements))), data.get("html", False)
    if not isinstance(root, str) or not isinstance(is_html, bool):
        _fail("root must be a name, html true or false", "#/root")
    return Document(root, found, is_html)


def _json_element(key: str, value: Any, pointer: str) -> Element:
    _only(value, {"content", "text", "attributes", "name"}, pointer)
    tag, content, text = value.get("name", key), value.get("content"), value.get("text")
    if not isinstance(tag, str) or not _NAME.fullmatch(tag):
        _fail(f"{tag!r} is no name of an element", pointer)
    if content is not None and text is not None:
        _fail("give content or text, not both; mixed content is (#PCDATA | a | b)*", f"{pointer}/text")
    if content is not None and not isinstance(content, str):
        _fail('content is a content model such as "(name, phone*)"', f"{pointer}/content")
    if text is not None:
        _check_type(text, f"{pointer}/text")
    attributes = value.get("attributes", {})
    if not isinstance(attributes, dict):
        _fail("attributes is an object of types", f"{pointer}/attributes")
    made = []
    for name, kind in attributes.items():
        where = f"{pointer}/attributes/{name}"
        if not _NAME.fullmatch(name):
            _fail(f"{name!r} is no name of an attribute", where)
        required = kind.pop("required", True) if isinstance(kind, dict) else True
        if not isinstance(required, bool):
            _fail("required must be true or false", f"{where}/required")
        _check_type(kind, where)
        made.append(Attribute(name, kind, required))
    try:
        model = None if content is None else content_model(content)
    except GrammarError as error:
        error.pointer = f"{pointer}/content"  # type: ignore[attr-defined]
        raise
    return Element(tag, model, text, tuple(made))


def _check_type(kind: Any, pointer: str) -> None:
    if isinstance(kind, str):
        if kind not in SIMPLE:
            _fail(f"a type is {', '.join(SIMPLE)}, or an object with enum or pattern; found {kind!r}", pointer)
        return
    _only(kind, {"type", "enum", "pattern", "minLength", "maxLength"}, pointer)
    if "enum" in kind:
        values = kind["enum"]
        if len(kind) > 1 or not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
            _fail("enum stands alone and is a list of strings", f"{pointer}/enum")
    elif "pattern" in kind:
        if set(kind) - {"pattern", "type"} or not isinstance(kind["pattern"], str):
            _fail("pattern stands alone and is a regular expression", f"{pointer}/pattern")
        try:
            if has_look(parse(kind["pattern"])):
                raise UnsupportedGrammar("a pattern in XML cannot look around; write out what it may match")
        except GrammarError as error:
            raise placed(error, f"{pointer}/pattern") from None
    elif kind.get("type") not in SIMPLE:
        _fail(f"a type is one of {', '.join(SIMPLE)}", f"{pointer}/type")
    else:
        low, high = kind.get("minLength", 0), kind.get("maxLength", 0)
        bounded = "minLength" in kind or "maxLength" in kind
        are_lengths = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (low, high))
        if bounded and (kind["type"] != "string" or not are_lengths):
            _fail("minLength and maxLength are lengths of a string", pointer)
        if "maxLength" in kind and low > high:
            _fail("minLength is above maxLength", f"{pointer}/minLength")


def _only(value: Any, names: set[str], pointer: str) -> None:
    if not isinstance(value, dict):
        _fail(f"an object is expected here, found {type(value).__name__}", pointer)
    for name in value.keys() - names:
        raise UnsupportedGrammar(
            f"{name!r} is not known here; there are {', '.join(sorted(names))} (at {pointer}/{name})",
            keyword=name,
            pointer=f"{pointer}/{name}",
        )


def _fail(message: str, pointer: str) -> NoReturn:
    raise invalid(message, pointer.rpartition("/")[2], pointer)


def content_model(text: str) -> Particle | None:
    """EMPTY (None), or a group such as `(a, (b | c)*, d?)` and `(#PCDATA | a)*`; `{2,3}` counts, beyond DTDs."""
    if text.strip() == "EMPTY":
        return None
    if text.strip() == "ANY":
        raise UnsupportedGrammar("ANY content is not served; list what an element may hold", keyword="ANY")
    return _ContentReader(text).whole()


class _ContentReader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self.fail("this is not known in a content model", at)
            if not match.group().isspace():
                self.tokens.append((match.group(), at))
            at = match.end()
        self.place = 0

    def whole(self) -> Particle:
        found = self.particle(0)
        if self.place < len(self.tokens):
            self.fail("nothing is expected here", self.tokens[self.place][1])
        return found

    def next(self) -> str:
        if self.place == len(self.tokens):
            self.fail("the content model ends too early", len(self.text))
        self.place += 1
        return self.tokens[self.place - 1][0]

    def peek(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def particle(self, depth: int) -> Particle:
        if depth > MAX_DEPTH:
            raise GrammarTooLarge(f"groups of a content model are nested more than {MAX_DEPTH} deep")
        token = self.next()
        if token == "(":
            found = self.group(depth)
        elif token == PCDATA:
            found = Particle("text")
        elif _NAME.fullmatch(token):
            found = Particle("element", token)
        else:
            self.fail("a name or a group is expected here", self.tokens[self.place - 1][1])
        mark = self.peek()
        if mark and mark in "?*+":
            self.next()
            low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}[mark]
            return found._replace(low=low, high=high)
        if mark.startswith("{"):
            self.next()
            first, comma, last = mark[1:-1].partition(",")
            low, high = int(first), int(last) if last else None if comma else int(first)
            if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
                self.fail(f"a count is between 0 and {MAX_REPEAT}, the lower first", self.tokens[self.place - 1][1])
            return found._replace(low=low, high=high)
        return found

    def group(self, depth: int) -> Particle:
        parts = [self.particle(depth + 1)]
        separator = ""
        while (token := self.next()) != ")":
            if token not in (",", "|") or (separator and token != separator):
                self.fail("one kind of separator, or ), is expected here", self.tokens[self.place - 1][1])
            separator = token
            parts.append(self.particle(depth + 1))
        return Particle("choice" if separator == "|" else "sequence", parts=tuple(parts))

    def fail(self, message: str, at: int) -> NoReturn:
        raise _at(self.text, message, at)


def _read_dtd(text: str) -> Document:
    doctype = _DOCTYPE.match(text)
    root, start, end = "", 0, len(text)
    if doctype is not None:
        root, start, end = doctype.group(1), doctype.start(2), doctype.end(2)
    contents: dict[str, Particle | None] = {}
    attributes: dict[str, dict[str, Attribute]] = {}
    while start < end:
        match = _DECLARATION.match(text, start, end)
        if match is None:
            raise _at(text, "a declaration such as <!ELEMENT name (a, b)> is expected here", start)
        kind, body = match.group(1), match.group(2)
        if kind == "ELEMENT":
            head = _NAME.match(body)
            model = body[head.end() :] if head is not None else ""
            if head is None or not model.strip():
                raise _at(text, "an element has a name and a content model", start)
            if head.group() in contents:
                raise _at(text, f"element {head.group()!r} is declared twice", start)
            try:
                contents[head.group()] = content_model(model)
            except GrammarSyntaxError as error:
                before = model.split("\n")[: (error.line or 1) - 1]
                inside = sum(len(line) + 1 for line in before) + (error.column or 1) - 1
                raise _at(text, error.message.split(" (line")[0], match.start(2) + head.end() + inside) from None
        elif kind == "ATTLIST":
            _attributes(text, body, match.start(2), attributes)
        elif kind is not None:
            raise UnsupportedGrammar(f"<!{kind} is not served; write out what it stands for", keyword=kind)
        start = match.end()
    if not contents:
        raise _at(text, "there is no element; declare one as <!ELEMENT name (a, b)>", 0)
    made = {
        name: Element(name, content, None, tuple(attributes.get(name, {}).values()))
        for name, content in contents.items()
    }
    return Document(root or next(iter(made)), made, False)


def _attributes(text: str, body: str, at: int, into: dict[str, dict[str, Attribute]]) -> None:
    name = _NAME.match(body)
    if name is None:
        raise _at(text, "an attribute list begins with its element's name", at)
    place, end = name.end(), len(body.rstrip())
    while place < end:
        match = _ATTRIBUTE.match(body, place)
        if match is None:
            raise _at(text, 'an attribute is a name, a type, and #REQUIRED, #IMPLIED or "value"', at + place)
        attribute, kind, default = match.groups()
        fixed = default[6:].strip()[1:-1] if default.startswith("#FIXED") else None
        found: Any = "string"
        if fixed is not None:
            found = {"enum": [fixed]}
        elif kind.startswith("("):
            options = [option.strip() for option in kind[1:-1].split("|")]
            if not all(map(_TOKEN_NAME.fullmatch, options)):
                raise _at(text, "an enumeration lists names, as (a | b)", at + match.start(2))
            if default[0] in "\"'" and default[1:-1] not in options:
                raise _at(text, f"the default {default} is none of the enumeration", at + match.start(3))
            found = {"enum": options}
        elif kind == "NMTOKEN":
            found = {"pattern": _TOKEN_NAME.pattern}
        elif kind != "CDATA":
            raise UnsupportedGrammar(
                f"attribute type {kind} is not served (its values depend on others); use CDATA or NMTOKEN", keyword=kind
            )
        own = into.setdefault(name.group(), {})
        own.setdefault(attribute, Attribute(attribute, found, default == "#REQUIRED"))
        place = match.end()


def _at(text: str, message: str, at: int) -> GrammarSyntaxError:
    line, start = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
    column = at - start + 1
    shown = text[max(start, at - 40) : at + 40].split("\n")[0]
    caret = " " * min(at - start, 40) + "^"
    return GrammarSyntaxError(f"{message} (line {line}, column {column})\n{shown}\n{caret}", line=line, column=column)
