"""What constraints cost, each promise with its limit, and what is measured here and now.

python examples/bench/grammar.py [--model-path PATH] [--schemas FOLDER of JSON schemas] [--model [NAME]] [--answers N]
                                 [--cases]

Compile and mask times are the thread's computing time, so that a busy machine does not count. `--model` adds what needs
a model: the ratio of constrained to free time a token (drafts off), a running stream's longest gap while hostile
grammars compile, and with `--answers` how many finished answers of N schemas, the sample's and the folder's, at two
temperatures are invalid. `--cases` adds a table of single constraints and of constraints meant to hurt; there a column
is read against its neighbours. Its last column counts the tokens of a document that need no step of their own when
forced tokens are appended.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from command import run_main
from grammar_answers import judge, sample_cases, schemas_to_ask
from numpy.typing import NDArray

import radixlang
from radixlang.constrained import mask
from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import Choice, Constraint, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.matcher import Matcher
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError, RadixlangError
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


def fill_rows(matchers: list[Matcher], rows_RW: list[NDArray[np.uint32]]) -> None:
    """One after the other, as a step does: on two busy cores llguidance's pool took 7 ms for 64 rows, this 0.7."""
    for matcher, row_W in zip(matchers, rows_RW, strict=True):
        matcher.fill(row_W)


def mask_us(grammar, vocabulary: Vocabulary, token_ids: list[int], num_rows: int) -> list[float]:
    """Microseconds to fill `num_rows` rows at each place of a document."""
    matchers = [grammar.matcher() for _ in range(num_rows)]
    rows = list(mask.allocate(num_rows, vocabulary.words))
    times = []
    for token_id in token_ids:
        started = time.perf_counter()
        fill_rows(matchers, rows)
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


def line(what: str, limit: str, measured: str, *, is_kept: bool) -> None:
    print(f"{what:46}{limit:>22}  {measured:34}{'' if is_kept else '  MISSED'}")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def compile_cpu_ms(vocabulary: Vocabulary, constraint: Constraint) -> tuple[object, float]:
    started = time.thread_time()
    try:
        outcome: object = compile_constraint(constraint, vocabulary)
        outcome.matcher().fill(mask.allocate(1, vocabulary.words)[0])
    except GrammarError as error:
        outcome = error
    return outcome, 1e3 * (time.thread_time() - started)


def schema_limits(vocabulary: Vocabulary, folder: Path | None) -> list[tuple[str, list[int]]]:
    """Compile times and coverage; returns schemas and the tokens of a document of each for the masks."""
    sources = [("our sample", [(json.dumps(case["schema"]), case["valid"]) for case in sample_cases()])]
    if folder:
        texts = [path.read_text() for path in sorted(folder.rglob("*.json"))]
        sources.append((folder.name, [(text, []) for text in texts if text.lstrip().startswith("{")]))
    walked: list[tuple[str, list[int]]] = []
    for name, schemas in sources:
        times, refused = [], Counter()
        for text, documents in schemas:
            outcome, milliseconds = compile_cpu_ms(vocabulary, JsonSchema(text))
            times.append(milliseconds)
            if isinstance(outcome, GrammarError):
                refused[str(getattr(outcome, "keyword", None) or outcome.code)] += 1
            elif documents:
                written = json.dumps(documents[0], ensure_ascii=False)
                walked.append((text, vocabulary.tokenize(written.encode())))
        p50, p99 = statistics.median(times), percentile(times, 0.99)
        line(f"compile, {len(times)} schemas of {name}, p50", "10 ms", f"{p50:.1f} ms", is_kept=p50 <= 10)
        line("   p99", "250 ms", f"{p99:.1f} ms", is_kept=p99 <= 250)
        line("   longest", "2,000 ms", f"{max(times):.0f} ms", is_kept=max(times) <= 2000)
        share = 1 - sum(refused.values()) / len(times)
        line("   served exactly", "97 %", f"{share:.1%}  {dict(refused) or ''}", is_kept=share >= 0.97)
    return walked


def take(matcher: Matcher, left: list[int]) -> None:
    """As a commit does: the next token of a document, and those that are then forced."""
    if left and not matcher.accept(left.pop(0)):
        left.clear()
    for token_id in matcher.forced():
        if not left or left[0] != token_id or not matcher.accept(left.pop(0)):
            break


def mask_limits(vocabulary: Vocabulary, walked: list[tuple[str, list[int]]]) -> None:
    """Steps of a batch whose rows always write, each a document of another schema: the first there is, then again.

    The engine builds its states as texts come to them, for all answers under a schema. Told beside the masks: what it
    takes to accept the tokens that were drawn under them, and to find what is forced.
    """
    for num_rows, limit in ((16, 0.3), (64, 1.2)):
        rows = list(mask.allocate(num_rows, vocabulary.words))
        grammars = [(compile_constraint(JsonSchema(text), vocabulary), ids) for text, ids in walked]
        for used in ("new schemas", "schemas in use"):
            waiting = [(grammar.matcher(), list(ids)) for grammar, ids in grammars]
            places, waiting = waiting[:num_rows], waiting[num_rows:]
            for i, (matcher, left) in enumerate(places):
                for _ in range(i % 7):
                    take(matcher, left)
            filling, taking = [], []
            while waiting:
                started = time.thread_time()
                fill_rows([matcher for matcher, _ in places], rows)
                filled = time.thread_time()
                for matcher, left in places:
                    take(matcher, left)
                filling.append(1e3 * (filled - started))
                taking.append(1e3 * (time.thread_time() - filled))
                places = [place if place[1] or not waiting else waiting.pop() for place in places]
            p50 = statistics.median(filling)
            told = f"{p50:.2f} ms (p99 {percentile(filling, 0.99):.2f}), taking {statistics.median(taking):.2f}"
            line(f"masks of a step, batch {num_rows}, {used}", f"{limit} ms", told, is_kept=p50 <= limit)


def size_limits(vocabulary: Vocabulary) -> None:
    nested: dict = {"type": "integer"}
    for _ in range(64):
        nested = {"type": "object", "properties": {"a": nested}, "required": ["a"], "additionalProperties": False}
    options = [
        {"type": "object", "properties": {f"k{i}": {"const": i}}, "required": [f"k{i}"], "additionalProperties": False}
        for i in range(500)
    ]
    sizes: dict[str, Constraint] = {
        "1,000 tools in one request": tools(1000),
        "enum of 10,000": JsonSchema(json.dumps({"enum": [f"value{i}" for i in range(10_000)]})),
        "maxLength of 65,536": JsonSchema(json.dumps({"type": "string", "maxLength": 65_536})),
        "anyOf of 500": JsonSchema(json.dumps({"anyOf": options})),
        "depth 64": JsonSchema(json.dumps(nested)),
    }
    for name, constraint in sizes.items():
        outcome, milliseconds = compile_cpu_ms(vocabulary, constraint)
        is_served = not isinstance(outcome, GrammarError)
        limit = 500.0 if name.startswith("1,000") else 2000.0
        told = f"{'served' if is_served else outcome.code}, {milliseconds:.0f} ms"
        line(name, f"served, {limit:,.0f} ms", told, is_kept=is_served and milliseconds <= limit)


def hostile_requests(turn: int) -> list[dict[str, str]]:
    """Four that are compiled anew each turn."""
    choices = [f"value {turn} {i}" for i in range(50_000)]
    pairs = [{"anyOf": [{"required": [f"p{turn}_{i}{j}"]} for j in range(8)]} for i in range(8)]
    return [
        {"json_schema": json.dumps({"enum": choices})},
        {"json_schema": json.dumps({"allOf": pairs})},
        {"regex": f"(a|b)*a(a|b){{{20 + turn}}}"},
        {"structural_tag": tools(1000 + turn).spec},
    ]


def longest_gap_ms(engine, hostile: list[dict[str, str]]) -> float:
    """Of a stream's chunks, while the hostile requests are answered."""
    told_s: list[float] = []
    threads = []

    def ask(fields: dict[str, str]) -> None:
        with suppress(RadixlangError):
            engine.generate("x", {"max_new_tokens": 1, **fields})

    free = {"temperature": 0, "max_new_tokens": 150, "ignore_eos": True}
    for _ in engine.generate("Once upon a time", free, stream=True):
        told_s.append(time.perf_counter())
        if len(told_s) == 20:
            threads = [threading.Thread(target=ask, args=(fields,)) for fields in hostile]
            for thread in threads:
                thread.start()
    for thread in threads:
        thread.join()
    return 1e3 * max(after - before for before, after in pairwise(told_s[5:]))


def model_limits(name: str, folder: Path | None, num_answers: int) -> None:
    engine = radixlang.Engine(model_path=name, speculative_algorithm="none")
    try:
        text = {"json_schema": json.dumps({"type": "string", "minLength": 4000})}
        for batch in (1, 16):
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(7):
                for is_constrained in (False, True):
                    fields = {"temperature": 0.8, "max_new_tokens": 48, "ignore_eos": True}
                    fields |= text if is_constrained else {}
                    started = time.perf_counter()
                    engine.generate(["Once upon a time"] * batch, fields)
                    if turn:
                        seconds[is_constrained].append(time.perf_counter() - started)
            ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
            line(f"constrained / free time a token, batch {batch}", "1.05", f"{ratio:.3f}", is_kept=ratio <= 1.05)
        quiet = statistics.median(longest_gap_ms(engine, []) for _ in range(3))
        loud = [longest_gap_ms(engine, hostile_requests(turn)) - quiet for turn in range(3)]
        grown = statistics.median(loud)
        told = f"{grown:.0f} ms (quiet: {quiet:.0f}; worst +{max(loud):.0f})"
        line("longest gap while 4 hostile grammars compile", "+250 ms", told, is_kept=grown <= 250)
        if num_answers:
            answer_limits(engine, folder, num_answers)
    finally:
        engine.shutdown()


def answer_limits(engine, folder: Path | None, num_answers: int) -> None:
    asked = schemas_to_ask(folder, num_answers)
    verdict = judge(engine, asked, (0.0, 1.0))
    ended = f"ended: {dict(verdict.ended)}, refused: {dict(verdict.refused)}, unjudged: {verdict.unjudged}"
    told = f"{len(verdict.invalid)}  ({ended})"
    line(f"invalid answers to {len(asked)} schemas, 2 each", "0", told, is_kept=not verdict.invalid)


def case_tables(vocabulary: Vocabulary) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-path")
    parser.add_argument("--schemas", type=Path)
    parser.add_argument("--model", nargs="?", const="smollm2-135m-instruct")
    parser.add_argument("--answers", type=int, default=0)
    parser.add_argument("--cases", action="store_true")
    options = parser.parse_args()
    vocabulary = read_vocabulary(options.model_path)
    for first in (JsonObject(), Regex(r"\w\d\s")):  # they build what others find
        compile_ms(vocabulary, first)
    print(f"{len(vocabulary.token_bytes)} tokens\n{'':46}{'limit':>22}  measured")
    mask_limits(vocabulary, schema_limits(vocabulary, options.schemas))
    size_limits(vocabulary)
    if options.model:
        model_limits(options.model, options.schemas, options.answers)
    if options.cases:
        case_tables(vocabulary)


if __name__ == "__main__":
    run_main(main)
