"""What constraints cost: compile times, masks for 1, 16 and 64 rows, forced tokens, and constraints meant to hurt.

python examples/bench/grammar.py [--model-path PATH] [--schemas FOLDER of JSON schemas]

Times are of this machine at this moment: read columns against each other. The last column counts the tokens of a
document that need no step of their own when forced tokens are appended.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from radixlang.constrained import mask
from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import Choice, Constraint, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError
from radixlang.runtime.store.paths import models_dir
from radixlang.runtime.tokenizer.open import open_tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "vip"]}, "maxItems": 3},
        "address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                    "required": ["street", "city"], "additionalProperties": False},
    },
    "required": ["name", "age", "email", "tags", "address"],
    "additionalProperties": False,
}  # fmt: skip
PERSON_TEXT = (
    '{"name": "Ada Lovelace", "age": 36, "email": "ada@example.org", "tags": ["old", "vip"], '
    '"address": {"street": "12 St James Square", "city": "London"}}'
)
ARITHMETIC = 'root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= [0-9]+ | "(" expr ")"'


def tools(count: int) -> StructuralTag:
    structures = [
        {
            "begin": f'<tool_call>{{"name": "tool_{i}", "arguments": ',
            "schema": {"type": "object", "properties": {f"a{i}": {"type": "string"}}, "required": [f"a{i}"]},
            "end": "}</tool_call>",
        }
        for i in range(count)
    ]
    return StructuralTag(json.dumps({"triggers": ["<tool_call>"], "structures": structures}))


CASES: dict[str, tuple[Constraint, str]] = {
    "regex: date": (Regex(r"\d{4}-\d{2}-\d{2}"), "2024-05-17"),
    "regex: phone": (Regex(r"\((\d{3})\) \d{3}-\d{4}"), "(555) 123-4567"),
    "regex: words": (Regex(r"(?:[A-Z][a-z]{1,12} ?){1,8}\."), "The Quick Brown Fox Jumps Over."),
    "regex: 中文": (Regex("[\u4e00-\u9fa5]{2,4}\u3002"), "\u4e2d\u6587\u3002"),
    "regex: 1000 letters": (Regex("[a-z]{1,1000}"), "abcdefgh"),
    "500 choices": (Choice(tuple(f"choice number {i}" for i in range(500))), "choice number 77"),
    "10,000 choices": (Choice(tuple(f"choice number {i}" for i in range(10_000))), "choice number 777"),
    "any JSON object": (JsonObject(), PERSON_TEXT),
    "schema: person": (JsonSchema(json.dumps(PERSON)), PERSON_TEXT),
    "schema: enum of 10,000": (JsonSchema(json.dumps({"enum": [f"value{i}" for i in range(10_000)]})), '"value77"'),
    "EBNF: arithmetic": (Grammar(ARITHMETIC), "12+(3-(45+6))"),
    "100 tools": (tools(100), 'Let me see. <tool_call>{"name": "tool_7", "arguments": {"a7": "x"}}</tool_call>'),
    "1,000 tools": (tools(1000), 'Let me see. <tool_call>{"name": "tool_7", "arguments": {"a7": "x"}}</tool_call>'),
}
HOSTILE: dict[str, Constraint] = {
    "((a{1,30}){1,30}){1,30}b": Regex("((a{1,30}){1,30}){1,30}b"),
    "a{1000000}": Regex("a{1000000}"),
    "( x 60,000": Regex("(" * 60_000),
    "x* x 8,000": Regex("x*" * 8000),
    "(a|b)*a(a|b){20}": Regex("(a|b)*a(a|b){20}"),
    "enum of 50,000": JsonSchema(json.dumps({"enum": [f"value{i}" for i in range(50_000)]})),
    "JSON 100,000 deep": JsonSchema("[" * 100_000),
    "remote $ref": JsonSchema('{"$ref":"http://169.254.169.254/"}'),
    "minLength 5 > maxLength 2": JsonSchema('{"type":"string","minLength":5,"maxLength":2}'),
    "endless recursion": JsonSchema('{"properties":{"n":{"$ref":"#"}},"required":["n"],"type":"object"}'),
    "8^8 alternatives": JsonSchema(
        json.dumps({"allOf": [{"anyOf": [{"required": [f"p{i}{j}"]} for j in range(8)]} for i in range(8)]})
    ),
    "rules that double": Grammar(
        'root ::= r30\nr0 ::= "a"\n' + "\n".join(f"r{i} ::= r{i - 1} r{i - 1}" for i in range(1, 31))
    ),
}


def read_vocabulary(path: str | None) -> Vocabulary:
    source = Path(path) if path else next(models_dir().glob("smollm2-135m-instruct/*.gguf"))
    tokenizer = open_tokenizer(source)
    return Vocabulary(
        [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)],
        tokenizer.eos_token_ids,
        tokenizer.special_token_ids,
        tokenizer.vocab_size,
        tokenizer.digest,
        tokenizer.encode_continuation,
    )


def compile_ms(vocabulary: Vocabulary, constraint: Constraint) -> tuple[object, float]:
    compiler = GrammarCompiler(vocabulary, timeout_s=2.0)
    started = time.perf_counter()
    try:
        outcome: object = compiler.compile(constraint)
    except GrammarError as error:
        outcome = error
    seconds = time.perf_counter() - started
    compiler.close()
    return outcome, 1e3 * seconds


def mask_us(grammar, vocabulary: Vocabulary, token_ids: list[int], num_rows: int) -> list[float]:
    """Microseconds to fill `num_rows` rows at each place of a document."""
    matchers = [grammar.matcher() for _ in range(num_rows)]
    rows = mask.allocate(num_rows, vocabulary.words)
    times = []
    for token_id in token_ids:
        started = time.perf_counter()
        mask.fill_rows(matchers, rows)
        times.append(1e6 * (time.perf_counter() - started))
        for matcher in matchers:
            assert matcher.accept(token_id), vocabulary.token_bytes[token_id]
    return times


def forced_share(grammar, vocabulary: Vocabulary, text: str) -> str:
    matcher, position, steps, forced = grammar.matcher(), 0, 0, 0
    data = text.encode()
    while position < len(data):
        ahead = matcher.forced()
        if not ahead:
            ahead = vocabulary.tokenize(data[position:])[:1]
            steps += 1
        else:
            forced += len(ahead)
        for token_id in ahead:
            if not matcher.accept(token_id):
                return "-"
            position += len(vocabulary.token_bytes[token_id])
    return f"{forced} of {steps + forced}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-path")
    parser.add_argument("--schemas", type=Path)
    options = parser.parse_args()
    vocabulary = read_vocabulary(options.model_path)
    compile_ms(vocabulary, JsonObject())  # builds what every first compile waits for
    head = f"{'':26}{'engine':>12}{'compile':>10}{'1 row p50':>11}{'p99':>8}{'16 rows':>9}{'64 rows':>9}  forced"
    print(f"{len(vocabulary.token_bytes)} tokens; compile in ms, masks in µs\n{head}")
    for name, (constraint, text) in CASES.items():
        grammar, milliseconds = compile_ms(vocabulary, constraint)
        if isinstance(grammar, GrammarError):
            print(f"{name:26}{type(grammar).__name__}: {grammar.message.splitlines()[0][:70]}  ({milliseconds:.0f} ms)")
            continue
        token_ids = vocabulary.tokenize(text.encode())
        first = sorted(mask_us(grammar, vocabulary, token_ids, 1))
        one = sorted(mask_us(grammar, vocabulary, token_ids, 1))
        p50 = {n: statistics.median(mask_us(grammar, vocabulary, token_ids, n)) for n in (16, 64)}
        engine = type(grammar).__name__.removesuffix("Grammar")
        share = forced_share(grammar, vocabulary, text)
        print(
            f"{name:26}{engine:>12}{milliseconds:10.1f}{statistics.median(one):11.1f}{first[-1]:8.0f}"
            f"{p50[16]:9.0f}{p50[64]:9.0f}  {share}"
        )
    print("\nmeant to hurt")
    for name, constraint in HOSTILE.items():
        outcome, milliseconds = compile_ms(vocabulary, constraint)
        is_error = isinstance(outcome, GrammarError)
        words = f"{outcome.code}: {outcome.message.splitlines()[0][:60]}" if is_error else "served"
        print(f"{name:26}{milliseconds:9.1f} ms  {words}")
    if options.schemas:
        times, refused = [], {}
        for path in sorted(options.schemas.rglob("*.json")):
            outcome, milliseconds = compile_ms(vocabulary, JsonSchema(path.read_text()))
            times.append(milliseconds)
            if isinstance(outcome, GrammarError):
                keyword = str(getattr(outcome, "keyword", None) or outcome.code)
                refused[keyword] = refused.get(keyword, 0) + 1
        ordered = sorted(times)
        print(
            f"\n{len(times)} schemas: p50 {statistics.median(ordered):.1f} ms, "
            f"p99 {ordered[int(0.99 * (len(ordered) - 1))]:.1f} ms, max {ordered[-1]:.0f} ms; "
            f"served {1 - sum(refused.values()) / len(times):.1%}, refused for {refused}"
        )


if __name__ == "__main__":
    main()
