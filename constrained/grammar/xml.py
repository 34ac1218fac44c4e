"""XML and HTML documents of given elements, as rules of a grammar: well formed and valid by construction.

Text is escaped as XML has it: `<`, `&` and `>` (and `"` in attributes, which stand in double quotes) are written as
entities, characters that XML forbids are not written at all. White space: see `Xml`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...errors import UnsupportedGrammar
from ..constraint import WhiteSpace
from ..fsm import charset
from ..fsm.charset import Ranges
from ..fsm.pattern import EMPTY, Alt, Chars, Node, Repeat, Seq, parse
from ..json_schema.strings import inside
from .reader import START_RULE, Part, Ref, Rules
from .xml_spec import Attribute, Document, Element, Particle, read

VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
"""HTML's elements without an end tag."""

TEXT_CHARS: Ranges = ((9, 10), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
VALUE_CHARS: Ranges = ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
"""Of an attribute: parsers turn tabs and line ends in it into spaces."""
_TEXT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_VALUE_ESCAPES = {**_TEXT_ESCAPES, '"': "&quot;"}

_PATTERNS = {
    "integer": r"-?(0|[1-9][0-9]{0,17})",
    "number": r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?",
    "boolean": "true|false",
}
_SPACE: dict[WhiteSpace, Node] = {
    "compact": EMPTY,
    "fixed": Chars(((10, 10),)),
    "flexible": Seq((Repeat(Chars(((10, 10),)), 0, 1), Repeat(Chars(((9, 9), (32, 32))), 0, 32))),
}


def rules_of(spec: str, whitespace: WhiteSpace = "compact") -> Rules:
    """The grammar of the documents that `spec` (xml_spec) allows. Raises what reading it raises."""
    document = read(spec)
    rules: Rules = {START_RULE: Ref(_rule(document.root))}
    for key, element in document.elements.items():
        rules[_rule(key)] = _element(element, document, whitespace)
    return rules


def _rule(key: str) -> str:
    return f"element {key}"


def _element(element: Element, document: Document, whitespace: WhiteSpace) -> Part:
    head: list[Part] = [_literal(f"<{element.tag}"), *(_attribute(a) for a in element.attributes)]
    if element.content is None and element.text is None:
        if not document.is_html:
            return _seq([*head, _literal("/>")])
        return _seq([*head, _literal(">" if element.tag in VOID else f"></{element.tag}>")])
    if document.is_html and element.tag in VOID:
        raise UnsupportedGrammar(f"<{element.tag}> of HTML is always empty", keyword=element.tag)
    inside: Part
    if element.content is None:
        inside = _typed(element.text, TEXT_CHARS, _TEXT_ESCAPES)
    elif _has_text(element.content):  # mixed: white space is text here, and stands where the model writes it
        inside = _particle(element.content, EMPTY)
    else:
        space = _SPACE[whitespace]
        inside = _seq([_particle(element.content, space), space])
    return _seq([*head, _literal(">"), inside, _literal(f"</{element.tag}>")])


def _attribute(attribute: Attribute) -> Part:
    value = _typed(attribute.kind, VALUE_CHARS, _VALUE_ESCAPES)
    written = _seq([_literal(f' {attribute.name}="'), value, _literal('"')])
    return written if attribute.is_required else Repeat(written, 0, 1)  # type: ignore[arg-type]


def _particle(particle: Particle, space: Node) -> Part:
    """`space` stands before every element."""
    part: Part
    if particle.kind == "element":
        part = _seq([space, Ref(_rule(particle.name))])
    elif particle.kind == "text":
        part = Repeat(_escaped(TEXT_CHARS, TEXT_CHARS, _TEXT_ESCAPES), 0, None)
        if (particle.low, particle.high) == (1, 1):
            return part
    elif particle.kind == "choice":
        one = _escaped(TEXT_CHARS, TEXT_CHARS, _TEXT_ESCAPES)  # enough where the choice is repeated
        options = [one if p.kind == "text" and particle.high != 1 else _particle(p, space) for p in particle.parts]
        part = Alt(tuple(options))  # type: ignore[arg-type]
    else:
        part = _seq([_particle(p, space) for p in particle.parts])
    if (particle.low, particle.high) == (1, 1):
        return part
    return Repeat(part, particle.low, particle.high)  # type: ignore[arg-type]


def _has_text(particle: Particle) -> bool:
    return particle.kind == "text" or any(map(_has_text, particle.parts))


def _typed(kind: Any, allowed: Ranges, escapes: dict[str, str]) -> Node:
    """The text of a value of this type."""
    if isinstance(kind, str):
        kind = {"type": kind}
    if "enum" in kind:
        return _escape(inside(kind["enum"]), allowed, escapes)
    if "pattern" in kind:
        return _escape(parse(kind["pattern"]), allowed, escapes)
    if kind["type"] in _PATTERNS:
        return parse(_PATTERNS[kind["type"]])
    return Repeat(_escaped(allowed, allowed, escapes), kind.get("minLength", 0), kind.get("maxLength"))


def _escape(node: Node, allowed: Ranges, escapes: dict[str, str]) -> Node:
    """The pattern's texts, as they are written."""
    match node:
        case Chars(ranges):
            return _escaped(ranges, allowed, escapes)
        case Seq(parts):
            return Seq(tuple(_escape(p, allowed, escapes) for p in parts))
        case Alt(options):
            return Alt(tuple(_escape(p, allowed, escapes) for p in options))
        case Repeat(inner, low, high):
            return Repeat(_escape(inner, allowed, escapes), low, high)
    raise AssertionError(node)  # what looks around was refused where it was read


def _escaped(ranges: Ranges, allowed: Ranges, escapes: dict[str, str]) -> Node:
    """One character of `ranges`, as far as XML can write it."""
    return _escaped_once(ranges, allowed, '"' in escapes)


@lru_cache(maxsize=1024)
def _escaped_once(ranges: Ranges, allowed: Ranges, is_value: bool) -> Node:
    escapes = _VALUE_ESCAPES if is_value else _TEXT_ESCAPES
    special = charset.ranges_of([(ord(c), ord(c)) for c in escapes])
    plain = _both(_both(ranges, allowed), charset.complement(special))
    written = [_literal(entity) for c, entity in escapes.items() if _both(ranges, ((ord(c), ord(c)),))]
    options: list[Node] = [*([Chars(plain)] if plain else []), *written]
    return options[0] if len(options) == 1 else Alt(tuple(options))


def _both(one: Ranges, other: Ranges) -> Ranges:
    return charset.complement(charset.ranges_of([*charset.complement(one), *charset.complement(other)]))


def _literal(text: str) -> Node:
    parts = [Chars(((ord(c), ord(c)),)) for c in text]
    return parts[0] if len(parts) == 1 else Seq(tuple(parts))


def _seq(parts: list[Part]) -> Part:
    flat = [child for part in parts for child in (part.parts if isinstance(part, Seq) else (part,))]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))  # type: ignore[arg-type]
