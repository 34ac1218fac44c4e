"""Collections of real JSON schemas: which share is served exactly, how long compiling takes, what is refused and why.

python examples/bench/schema_coverage.py FOLDER... [--model-path PATH] [--refused]

Each folder is a collection: every *.json in it is a schema, or {"schema", "tests": [{"valid", "data"}]} as
JSONSchemaBench has them, or a list of such groups as JSON-Schema-Test-Suite has them. Documents that come with a
schema are tried: an invalid one that is accepted is a false accept, a valid one that is not, in the order of keys in
which it stands, is counted too. Compile times are computing time of the process, so that a busy machine does not count;
what takes longer than a server allows is refused.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from grammar import percentile, read_vocabulary
from grammar_answers import URIS

from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import JsonObject, JsonSchema, Regex
from radixlang.constrained.matcher import CompiledGrammar
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

LIMIT_S = 2.0  # of computing; as the server's, which goes by the clock
BUSY = 10  # times as long by the clock, on a busy machine


class Case(NamedTuple):
    name: str
    schema: str
    tests: list[dict[str, Any]]


def cases(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, list) and path.parent.name in URIS:
            for group in content:
                schema = group["schema"]
                if isinstance(schema, dict):
                    schema = {"$schema": URIS[path.parent.name], **schema}
                yield Case(
                    f"{path.parent.name}/{path.stem}: {group['description']}", json.dumps(schema), group["tests"]
                )
        elif isinstance(content, dict):
            schema = content.get("json_schema", content.get("schema", content)) if "tests" in content else content
            text = schema if isinstance(schema, str) else json.dumps(schema)
            yield Case(path.name, text, content.get("tests", []))


def is_accepted(grammar: CompiledGrammar, vocabulary: Vocabulary, document: Any) -> bool:
    token_ids = vocabulary.tokenize(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    end = next(iter(vocabulary.eos_token_ids))
    return grammar.matcher().would_accept([*token_ids, end]) == len(token_ids) + 1


def survey(folder: Path, vocabulary: Vocabulary, *, tells_refused: bool) -> None:
    compiler = GrammarCompiler(vocabulary, timeout_s=BUSY * LIMIT_S)
    compiler.warm()
    for first in (JsonObject(), Regex(r"(?i)\w\d\s")):  # they build what others find
        compiler.compile(first)
    times: list[float] = []
    refused: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for case in cases(folder):
        started = time.process_time()
        try:
            grammar = compiler.compile(JsonSchema(case.schema))
        except GrammarError as error:
            refused[f"{error.code}: {error.keyword}"] += 1
            if tells_refused:
                print(f"  {case.name} ({len(case.schema)} characters): {error.message[:300]}", flush=True)
            continue
        finally:
            times.append(1e3 * (time.process_time() - started))
            if tells_refused and times[-1] > 250:
                print(f"  {case.name} ({len(case.schema)} characters) took {times[-1]:.0f} ms", flush=True)
        if times[-1] > 1e3 * LIMIT_S:
            refused["grammar_too_large: takes too long"] += 1
            continue
        for test in case.tests:
            accepted = is_accepted(grammar, vocabulary, test["data"])
            documents["right" if accepted == test["valid"] else "false accepts" if accepted else "not accepted"] += 1
            if accepted and not test["valid"]:
                print(f"  FALSE ACCEPT {case.name}: {json.dumps(test['data'])[:300]}")
    compiler.close()
    if times:
        served = 1 - sum(refused.values()) / len(times)
        speed = f"p50 {statistics.median(times):.1f}, p99 {percentile(times, 0.99):.0f}, longest {max(times):.0f} ms"
        print(f"{folder.name}: {len(times)} schemas, {served:.1%} served exactly; compile {speed}; {dict(documents)}")
        for why, count in refused.most_common():
            print(f"    {count:4} {why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model-path")
    parser.add_argument("--refused", action="store_true", help="each schema that is refused or slow")
    options = parser.parse_args()
    vocabulary = read_vocabulary(options.model_path)
    for folder in options.folders:
        survey(folder, vocabulary, tells_refused=options.refused)


if __name__ == "__main__":
    main()
