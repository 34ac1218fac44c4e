"""Collections of real JSON schemas: which share is served exactly, how long compiling takes, what is refused and why.

python examples/bench/schema_coverage.py FOLDER... [--model-path PATH] [--refused] [--drawn N]

Each folder is a collection: every *.json in it is a schema, or {"schema", "tests": [{"valid", "data"}]} as
JSONSchemaBench has them, or a list of such groups as JSON-Schema-Test-Suite has them. Documents that come with a
schema are tried: an invalid one that is accepted is a false accept, a valid one that is not, in the order of keys in
which it stands, is counted too. `--drawn` draws documents from each grammar, changes them at random and asks a
validator about all. What refers to other documents, is no schema or has no document at all is told apart: nobody could
serve it. Compile times are computing time of the process, so that a busy machine does not count;
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

from command import run_main
from grammar import percentile, read_vocabulary
from grammar_answers import URIS
from schema_documents import byte_compiler, compare, is_accepted

from radixlang.constrained.compiler import GrammarCompiler
from radixlang.constrained.constraint import JsonObject, JsonSchema, Regex
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

LIMIT_S = 2.0  # of computing; as the server's, which goes by the clock
BUSY = 10  # times as long by the clock, on a busy machine


OUTSIDE, NO_SCHEMA, EMPTY = "refers to other documents", "is no schema", "nothing satisfies it"
NOBODYS = (OUTSIDE, NO_SCHEMA, EMPTY)


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


def why(error: GrammarError) -> str:
    """The kind of a refusal; those of NOBODYS are nobody's to serve."""
    if error.code == "invalid_schema":
        return OUTSIDE if "leads outside" in error.message else NO_SCHEMA
    return EMPTY if error.code == "unsatisfiable_schema" else f"{error.code}: {error.keyword}"


def survey(folder: Path, vocabulary: Vocabulary, *, tells_refused: bool, num_drawn: int) -> None:
    compiler = GrammarCompiler(vocabulary, timeout_s=BUSY * LIMIT_S)
    of_bytes = byte_compiler()
    compiler.warm()
    for first in (JsonObject(), Regex(r"(?i)\w\d\s")):  # they build what others find
        compiler.compile(first)
    times: list[float] = []
    refused: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    for case in cases(folder):
        started = time.process_time()
        try:
            grammar = compiler.compile(JsonSchema(case.schema))
        except GrammarError as error:
            refused[why(error)] += 1
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
        verdicts, wrong = compare(case.schema, of_bytes, num_drawn)
        drawn.update(verdicts)
        for document in wrong:
            print(f"  FALSE ACCEPT {case.name}: {json.dumps(document)[:300]}", flush=True)
    of_bytes.close()
    compiler.close()
    if times:
        served = len(times) - sum(refused.values())
        could = len(times) - sum(refused[reason] for reason in NOBODYS)
        shares = f"{served / len(times):.1%} served exactly, {served / max(1, could):.1%} of the {could} that could be"
        speed = f"p50 {statistics.median(times):.1f}, p99 {percentile(times, 0.99):.0f}, longest {max(times):.0f} ms"
        print(f"{folder.name}: {len(times)} schemas, {shares}; compile {speed}")
        print(f"    documents that came with them: {dict(documents)}; drawn and changed: {dict(drawn)}")
        for reason, count in refused.most_common():
            print(f"    {count:4} {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model-path")
    parser.add_argument("--refused", action="store_true", help="each schema that is refused or slow")
    parser.add_argument("--drawn", type=int, default=0, help="documents drawn from each grammar")
    options = parser.parse_args()
    vocabulary = read_vocabulary(options.model_path)
    for folder in options.folders:
        survey(folder, vocabulary, tells_refused=options.refused, num_drawn=options.drawn)


if __name__ == "__main__":
    run_main(main)
