"""Which engine serves a constraint, and in which words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import llguidance

from ..errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar
from .checked import CheckedGrammar
from .closing import ClosingGrammar
from .constraint import (
    Choice,
    Closing,
    Constraint,
    Grammar,
    Healed,
    JsonObject,
    JsonSchema,
    Regex,
    Sequence,
    SequencePart,
    StructuralTag,
    WhiteSpace,
    Xml,
)
from .distinct import DistinctGrammar, may_repeat
from .endless import is_surely_finite
from .fsm.choices import of_strings
from .fsm.determinise import alphabet_of, determinise
from .fsm.edges import without_edges
from .fsm.fallback import to_engine
from .fsm.index import FsmGrammar
from .fsm.pattern import Node, char_sets, parse
from .fsm.utf8 import to_bytes
from .grammar.lark_json import with_read_json
from .grammar.lexemes import as_pattern, productive, to_lark
from .grammar.reader import Rules, read
from .grammar.xml import rules_of
from .guidance import UNFORCED, GuidanceGrammar
from .json_schema.bounded import bounded
from .json_schema.complement import ASSERTIONS
from .json_schema.crowded import uncrowded
from .json_schema.empty_parts import without_empty_definitions
from .json_schema.judge import watch_of
from .json_schema.lighter import lighter
from .json_schema.marks import first_mark, without_marks
from .json_schema.names_left import names_left
from .json_schema.normalise import MAX_WRITTEN, NormalisedSchema, normalise
from .json_schema.short_numbers import with_short_numbers
from .json_schema.source import Source
from .json_schema.verify import Widened, verdict_of, widen
from .json_schema.weight import is_too_heavy
from .json_schema.whitespace import engine_options
from .matcher import CompiledGrammar
from .prefix import PrefixGrammar
from .sequence import Part, SequenceGrammar, ids_between
from .tags.reader import to_lark as tags_to_lark
from .vocabulary import Vocabulary

MAX_PARTS = 64
"""Of a sequence."""


def check_constraint(constraint: Constraint) -> tuple[str, ...]:
    """Raises the GrammarError that reading the constraint finds, without a vocabulary and in milliseconds.

    Returns the JSON pointers of what is ignored, such as an unknown `format`.
    """
    try:
        return _check(constraint)
    except RecursionError:
        raise GrammarTooLarge("the constraint is nested too deeply") from None


def _check(constraint: Constraint) -> tuple[str, ...]:
    match constraint:
        case Regex(pattern):
            parse(pattern)
        case JsonSchema() as asked:
            return _normalised(asked).ignored
        case Grammar(source, "lark"):
            with_read_json(source)
        case Grammar(source, _):
            _rules(source)
        case Choice(choices) if not choices:
            raise UnsatisfiableGrammar("there is no choice to choose from")
        case Xml(spec, whitespace):
            _xml_rules(spec, whitespace)
        case Closing(inner):
            return _check(inner)
        case Sequence(parts):
            return _check_parts(parts)
        case StructuralTag(spec):
            return tags_to_lark(spec).ignored
    return ()


def compile_constraint(constraint: Constraint | Healed, vocabulary: Vocabulary) -> CompiledGrammar:
    """The grammar on the engine that serves it. Raises a GrammarError."""
    match constraint:
        case Healed(prefix, inner):
            behind = None if inner is None else compile_constraint(inner, vocabulary)
            return PrefixGrammar(vocabulary, prefix.encode(), behind)
        case Closing(inner):
            return ClosingGrammar(compile_constraint(inner, vocabulary), vocabulary)
        case Regex(pattern):
            return regex_grammar(parse(pattern), vocabulary)
        case Choice(choices):
            dfa = of_strings([choice.encode() for choice in choices], vocabulary.absent_bytes)
            return _nonempty(FsmGrammar(dfa, vocabulary))
        case JsonSchema() as asked:
            return _json_schema(asked, vocabulary)
        case JsonObject(whitespace):
            return _schema_grammar({"type": "object"}, whitespace, vocabulary)
        case Grammar(source, "lark"):
            lark = with_read_json(source)
            named = _named_tokens(lark, vocabulary)
            if not is_surely_finite(lark):
                lark = f"{lark}\n{UNFORCED}\n"
            return _lark_grammar(lark, vocabulary, special_token_ids=named, shown=source)
        case Grammar(source, _):
            return _rules_grammar(_rules(source), vocabulary)
        case Xml(spec, whitespace):
            return _rules_grammar(_xml_rules(spec, whitespace), vocabulary)
        case StructuralTag(spec):
            tag = tags_to_lark(spec, special_tokens=vocabulary.special_names)
            named, ignored = tag.special_token_ids, tag.ignored
            grammar: CompiledGrammar = _lark_grammar(tag.lark, vocabulary, special_token_ids=named, ignored=ignored)
            follower = tag.follower() if tag.is_watched or tag.has_free_names else None
            if tag.has_free_names:
                grammar = DistinctGrammar(grammar, vocabulary, follower)
            return CheckedGrammar(grammar, vocabulary, tags=follower, ignored=ignored) if tag.is_watched else grammar
        case Sequence(parts):
            _check_parts(parts)
            made = [
                Part(
                    ids_between(part.before, vocabulary),
                    compile_constraint(part.constraint, vocabulary),
                    part.max_tokens,
                    tuple(stop.encode() for stop in part.stop if stop),
                )
                for part in parts
            ]
            if any(isinstance(part.grammar, CheckedGrammar) for part in made):
                raise UnsupportedGrammar(
                    "what is checked while it is written, such as uniqueItems, contains and verify, is not served in "
                    "a sequence; ask for that part by itself",
                    keyword="uniqueItems",
                )
            return SequenceGrammar(made, vocabulary)
    raise AssertionError(constraint)


def _check_parts(parts: tuple[SequencePart, ...]) -> tuple[str, ...]:
    if not 0 < len(parts) <= MAX_PARTS:
        raise UnsupportedGrammar(f"a sequence has 1 to {MAX_PARTS} parts, found {len(parts)}")
    if any(part.max_tokens < 1 for part in parts):
        raise UnsupportedGrammar("max_tokens of a sequence's part must be at least 1")
    return tuple(ignored for part in parts for ignored in check_constraint(part.constraint))


def regex_grammar(tree: Node, vocabulary: Vocabulary) -> CompiledGrammar:
    """A pattern on our automata if small, else on the engine: the same language."""
    alphabet = alphabet_of(char_sets(tree))
    try:
        dfa = to_bytes(determinise(tree, alphabet), alphabet, vocabulary.absent_bytes)
    except GrammarTooLarge:
        return engine_regex(tree, vocabulary)
    return _nonempty(FsmGrammar(dfa, vocabulary))


def engine_regex(tree: Node, vocabulary: Vocabulary) -> GuidanceGrammar:
    """A pattern on the engine, whatever its size."""
    source = llguidance.LLMatcher.grammar_from_regex(to_engine(without_edges(tree)))
    try:
        return GuidanceGrammar(source, vocabulary)
    except GrammarSyntaxError:  # it is well formed, Python has read it
        raise GrammarTooLarge("the pattern is nested too deeply") from None


def _rules_grammar(rules: Rules, vocabulary: Vocabulary) -> CompiledGrammar:
    tree = as_pattern(rules)
    return regex_grammar(tree, vocabulary) if tree is not None else _lark_grammar(to_lark(rules), vocabulary)


def _nonempty(grammar: FsmGrammar) -> FsmGrammar:
    if grammar.dfa.is_empty or not grammar.is_open(1):
        raise UnsatisfiableGrammar("nothing matches: the language is empty")
    return grammar


def _normalised(
    asked: JsonSchema, source: Source | None = None, max_written: int = MAX_WRITTEN
) -> NormalisedSchema | Widened:
    """`source`: of the schema, where it was read before."""
    if asked.on_unsupported == "verify":
        return widen(asked.schema, strict=asked.strict)
    may_narrow = asked.on_unsupported == "narrow"
    return normalise(source or asked.schema, strict=asked.strict, may_narrow=may_narrow, max_written=max_written)


def _json_schema(asked: JsonSchema, vocabulary: Vocabulary) -> CompiledGrammar:
    verdict = verdict_of(asked.schema) if asked.on_unsupported == "verify" else None
    normalised, grammar = _served(asked, vocabulary)
    watch = watch_of(normalised.schema)
    if verdict is None and watch is None:
        return grammar
    return CheckedGrammar(grammar, vocabulary, watch=watch, verdict=verdict, ignored=normalised.ignored)


def _served(asked: JsonSchema, vocabulary: Vocabulary) -> tuple[NormalisedSchema | Widened, CompiledGrammar]:
    """What masks enforce: all, or as much as the engine can take; a judge sees to the rest."""
    failure: GrammarError | None = None
    for candidate, is_last in _candidates(asked):
        if isinstance(failure, GrammarTooLarge) and not is_last:
            continue  # what is a little lighter takes longest
        try:
            return candidate, _marked_grammar(candidate, asked.whitespace, vocabulary)
        except UnsatisfiableGrammar:
            raise
        except (GrammarTooLarge, UnsupportedGrammar) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _candidates(asked: JsonSchema) -> Iterator[tuple[NormalisedSchema | Widened, bool]]:
    """The schema in forms that say the same, with less and less left to the engine; too heavy ones are left out.

    With each, whether it is the last.
    """
    source = Source(asked.schema)
    normalised = _normalised(asked, source)
    if not is_too_heavy(normalised.schema):
        yield normalised, False
    if first_mark(normalised.schema) is not None:
        normalised = _normalised(asked, source, 0)
    left = normalised._replace(schema=lighter(normalised.schema, without_merging=False))
    if not is_too_heavy(left.schema):
        yield left, False
    yield normalised._replace(schema=lighter(normalised.schema, without_merging=True)), True


def _marked_grammar(
    normalised: NormalisedSchema | Widened, whitespace: WhiteSpace, vocabulary: Vocabulary
) -> CompiledGrammar:
    """What masks enforce of a schema."""
    return _schema_grammar(without_marks(normalised.schema), whitespace, vocabulary, normalised.ignored)


def _schema_grammar(
    schema: dict[str, Any] | bool, whitespace: WhiteSpace, vocabulary: Vocabulary, ignored: tuple[str, ...] = ()
) -> CompiledGrammar:
    schema = uncrowded(schema)
    text = json.dumps(bounded(with_short_numbers(schema)))
    try:
        source = llguidance.LLMatcher.grammar_from_json_schema(text, overrides=engine_options(whitespace, text))
    except ValueError as error:  # a number that its reader does not take
        raise UnsupportedGrammar(f"the schema cannot be read by the engine: {error}", pointer="#") from None
    try:
        grammar = GuidanceGrammar(source, vocabulary, ignored=ignored)
    except UnsatisfiableGrammar:
        left = without_empty_definitions(schema) if isinstance(schema, dict) else schema
        if left is schema or left is False:
            raise
        return _schema_grammar(left, whitespace, vocabulary, ignored)
    except GrammarSyntaxError as error:  # the schema is one, but the engine does not serve it
        keyword = next((key for key in sorted(ASSERTIONS, key=len, reverse=True) if key in error.message), None)
        message = f"{error.message.rstrip('.')}; simplify the schema, or take on_unsupported: verify"
        raise UnsupportedGrammar(message, keyword=keyword, pointer="#") from None
    return DistinctGrammar(grammar, vocabulary, left=names_left(schema)) if may_repeat(schema) else grammar


def _lark_grammar(
    lark: str,
    vocabulary: Vocabulary,
    *,
    special_token_ids: frozenset[int] = frozenset(),
    ignored: tuple[str, ...] = (),
    shown: str | None = None,
) -> GuidanceGrammar:
    """`shown`: what the user wrote, line by line; None: the grammar is ours."""
    try:
        return GuidanceGrammar(
            llguidance.LLMatcher.grammar_from_lark(lark),
            vocabulary,
            special_token_ids=special_token_ids,
            may_name_tokens=True,
            ignored=ignored,
        )
    except GrammarSyntaxError as error:
        place = re.search(r"(?:^|at )(\d+)\((\d+)\)(: )?", error.message)
        if place is None:
            raise
        if shown is None:  # a place in it would tell nobody anything
            raise GrammarTooLarge(f"the grammar cannot be built: {error.message[place.end() :].strip()}") from None
        raise _pointed_at(shown, int(place[1]), int(place[2]), _SHOWN.sub("", error.message)) from None


_SHOWN = re.compile(r"^(?:at )?\d+\(\d+\): | \(at \".*$", re.DOTALL)
"""What the engine says of the place, which is told with a caret instead."""


def _pointed_at(text: str, line: int, column: int, message: str) -> GrammarSyntaxError:
    lines = text.splitlines() or [""]
    if line > len(lines):  # something that is open to the end, found behind it
        line, column = len(lines), len(lines[-1]) + 1
    written = lines[line - 1]
    start = max(0, column - 41)
    caret = f"{written[start : start + 80]}\n{' ' * min(column - 1 - start, 80)}^"
    return GrammarSyntaxError(f"{message} (line {line}, column {column})\n{caret}", line=line, column=column)


def _named_tokens(lark: str, vocabulary: Vocabulary) -> frozenset[int]:
    """Special tokens that a Lark grammar writes as `<name>` or `<[id]>`: the engine decides where they stand."""
    named = {
        t
        for t in vocabulary.special_token_ids - vocabulary.eos_token_ids
        if t < len(vocabulary.token_bytes) and vocabulary.token_bytes[t].decode(errors="replace") in lark
    }
    for group in re.findall(r"<\[([\d,\- ]+)\]>", lark):
        for low, high in re.findall(r"\b(\d{1,9})(?:-(\d{1,9}))?\b", group):
            named |= set(range(int(low), min(int(high or low), vocabulary.size - 1) + 1))
    return frozenset(named - vocabulary.eos_token_ids)


def _rules(source: str) -> Rules:
    return productive(read(source))


def _xml_rules(spec: str, whitespace: WhiteSpace) -> Rules:
    return productive(rules_of(spec, whitespace), "the root element")
