"""Which engine serves a constraint, and in which words."""

from __future__ import annotations

import json

import llguidance

from ..errors import GrammarSyntaxError, GrammarTooLarge, UnsatisfiableGrammar
from .constraint import Choice, Constraint, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from .fsm.choices import of_strings
from .fsm.determinise import alphabet_of, determinise
from .fsm.fallback import to_engine
from .fsm.index import FsmGrammar
from .fsm.pattern import Node, char_sets, parse
from .fsm.utf8 import to_bytes
from .guidance import GuidanceGrammar
from .json_schema.normalise import normalise
from .json_schema.whitespace import engine_options
from .matcher import CompiledGrammar
from .vocabulary import Vocabulary


def check_constraint(constraint: Constraint) -> None:
    """Raises the GrammarError that reading the constraint finds, without a vocabulary and in milliseconds."""
    _source(constraint)


def compile_constraint(constraint: Constraint, vocabulary: Vocabulary, *, deadline_s: float) -> CompiledGrammar:
    """The grammar on the engine that serves it. `deadline_s`: of `time.monotonic`."""
    match constraint:
        case Regex(pattern):
            return _compile_regex(parse(pattern), vocabulary)
        case Choice(choices):
            dfa = of_strings([choice.encode() for choice in choices], vocabulary.absent_bytes)
            return _nonempty(FsmGrammar(dfa, vocabulary))
        case _:
            return GuidanceGrammar(_source(constraint), vocabulary)


def _compile_regex(tree: Node, vocabulary: Vocabulary) -> CompiledGrammar:
    """On our automata if small, else on the engine."""
    alphabet = alphabet_of(char_sets(tree))
    try:
        dfa = to_bytes(determinise(tree, alphabet), alphabet, vocabulary.absent_bytes)
    except GrammarTooLarge:
        source = llguidance.LLMatcher.grammar_from_regex(to_engine(tree))
        return GuidanceGrammar(str(source), vocabulary)
    return _nonempty(FsmGrammar(dfa, vocabulary))


def _nonempty(grammar: FsmGrammar) -> FsmGrammar:
    if not grammar.is_open(1):
        raise UnsatisfiableGrammar("nothing matches: the language is empty")
    return grammar


def _source(constraint: Constraint) -> str:
    matcher = llguidance.LLMatcher
    match constraint:
        case Regex(pattern):
            return str(matcher.grammar_from_regex(to_engine(parse(pattern))))
        case JsonSchema(schema, whitespace, strict):
            text = json.dumps(normalise(schema, strict=strict).schema)
            return str(matcher.grammar_from_json_schema(text, overrides=engine_options(whitespace, text)))
        case JsonObject(whitespace):
            text = '{"type":"object"}'
            return str(matcher.grammar_from_json_schema(text, overrides=engine_options(whitespace, text)))
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
