"""Which engine serves a constraint, and in which words."""

from __future__ import annotations

import json
import re

import llguidance

from ..errors import GrammarSyntaxError
from .constraint import Choice, Constraint, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from .guidance import GuidanceGrammar
from .json_schema.normalise import normalise
from .json_schema.whitespace import ENGINE_OPTIONS
from .matcher import CompiledGrammar
from .vocabulary import Vocabulary


def check_constraint(constraint: Constraint) -> None:
    """Raises the GrammarError that reading the constraint finds, without a vocabulary and in milliseconds."""
    _source(constraint)


def compile_constraint(constraint: Constraint, vocabulary: Vocabulary, *, deadline_s: float) -> CompiledGrammar:
    """The grammar on the engine that serves it. `deadline_s`: of `time.monotonic`."""
    return GuidanceGrammar(_source(constraint), vocabulary)


def _source(constraint: Constraint) -> str:
    matcher = llguidance.LLMatcher
    match constraint:
        case Regex(pattern):
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise GrammarSyntaxError(f"not a regular expression: {error}") from None
            return str(matcher.grammar_from_regex(pattern))
        case JsonSchema(schema, whitespace, strict):
            normalised = normalise(schema, strict=strict)
            return str(
                matcher.grammar_from_json_schema(json.dumps(normalised.schema), overrides=ENGINE_OPTIONS[whitespace])
            )
        case JsonObject(whitespace):
            return str(matcher.grammar_from_json_schema('{"type":"object"}', overrides=ENGINE_OPTIONS[whitespace]))
        case Choice(choices):
            return str(matcher.grammar_from_lark("start: " + " | ".join(json.dumps(c) for c in choices)))
        case Grammar(source, syntax):
            if syntax == "lark":
                return str(matcher.grammar_from_lark(source))
            try:
                return str(matcher.grammar_from_lark(llguidance.gbnf_to_lark.gbnf_to_lark(source)))
            except Exception as error:
                raise GrammarSyntaxError(f"the grammar cannot be read: {error}") from None
        case StructuralTag():
            raise GrammarSyntaxError("structural tags come next")
