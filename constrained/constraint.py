"""What a user asked to be generated: one hashable value a constraint, whatever API it came through."""

from __future__ import annotations

from typing import Literal

import msgspec

WhiteSpace = Literal["compact", "fixed", "flexible"]
OnUnsupported = Literal["error", "verify", "narrow"]


class Regex(msgspec.Struct, frozen=True, tag="regex"):
    """The whole output matches `pattern` (Python's `re.fullmatch`)."""

    pattern: str


class JsonSchema(msgspec.Struct, frozen=True, tag="json_schema"):
    """The output is a JSON document that `schema` (JSON text, drafts 4 to 2020-12) accepts."""

    schema: str
    whitespace: WhiteSpace = "fixed"
    """compact: none. fixed: one space after ":" and ",". flexible: optional, bounded."""
    strict: bool = False
    """OpenAI's strict mode: additionalProperties is false by default; what cannot be enforced is refused."""
    on_unsupported: OnUnsupported = "error"
    """error: refused. verify: generated under the closest wider grammar and validated. narrow: some documents that the
    schema accepts are never written, where that lets it be served."""


class JsonObject(msgspec.Struct, frozen=True, tag="json_object"):
    """Any JSON object."""

    whitespace: WhiteSpace = "fixed"


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One of these strings."""

    choices: tuple[str, ...]


class Grammar(msgspec.Struct, frozen=True, tag="grammar"):
    """A context-free grammar."""

    source: str
    syntax: Literal["ebnf", "gbnf", "lark"] = "ebnf"
    """ebnf: SGLang's and xgrammar's spelling, start rule `root`; gbnf: llama.cpp's."""


class StructuralTag(msgspec.Struct, frozen=True, tag="structural_tag"):
    """Free text with constrained parts: SGLang's or xgrammar's JSON form."""

    spec: str


class Xml(msgspec.Struct, frozen=True, tag="xml"):
    """An XML or HTML document of given elements."""

    spec: str
    """A DTD, or JSON as constrained.grammar.xml_spec reads it."""
    whitespace: WhiteSpace = "compact"
    """Between elements. compact: none. fixed: one line end. flexible: optional, at most a line end and 32 blanks."""


class Healed(msgspec.Struct, frozen=True, tag="healed"):
    """What is generated where tokens of the prompt were given up: their text first, then the constraint, or anything.

    Made by the runtime; no client asks for it.
    """

    prefix: str
    constraint: Constraint | None = None


Single = Regex | JsonSchema | JsonObject | Choice | Grammar | Xml | StructuralTag
"""What one generation may be."""


class SequencePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One generation of a sequence."""

    constraint: Single
    before: str = ""
    """Text between the part before and this one."""
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    """It ends at these, and they are left out."""


class Sequence(msgspec.Struct, frozen=True, tag="sequence"):
    """Generations one after another, with text between them: at temperature 0, what as many requests would give.

    The answer tells where each lies; parts that are not among them were not finished.
    """

    parts: tuple[SequencePart, ...]


class Closing(msgspec.Struct, frozen=True, tag="closing"):
    """`constraint`, whose answer is complete when the request's max_tokens are used up: its end is then forced."""

    constraint: Single


Constraint = Single | Sequence | Closing
