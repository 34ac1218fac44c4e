"""Answers of the real model to schemas at two temperatures, each judged by a validator: none that finished is invalid.

The schemas are the bundled sample's and those of a folder; a file of the folder is a schema, or a list of groups that
hold one each, as JSON-Schema-Test-Suite has them. What is refused is counted beside them and answers nothing.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import radixlang
from radixlang.errors import RadixlangError

MOST_CHARS = 200_000  # of a schema: the prompt of nobody, and minutes for a validator
MAX_NEW_TOKENS = 96
URIS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


@dataclass
class Verdict:
    """How the answers ended, and those that are wrong."""

    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    invalid: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    """Whose schema the validator cannot read."""


def sample_cases() -> list[dict[str, Any]]:
    path = Path(__file__).parents[2] / "tests/constrained/data/schemas.json"
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    return cases


def _of_folder(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            yield path.stem, content
        elif path.parent.name in URIS:
            for group in content:
                schema = group["schema"]
                if isinstance(schema, dict):
                    schema = {"$schema": URIS[path.parent.name], **schema}
                yield f"{path.parent.name}/{path.stem}: {group['description']}", schema


def schemas_to_ask(folder: Path | None, most: int) -> list[tuple[str, str]]:
    """Names and texts of `most` different schemas, the sample's first, the folder's in an order drawn with a seed."""
    found = {json.dumps(case["schema"]): case["name"] for case in sample_cases()}
    others = list(_of_folder(folder)) if folder else []
    random.Random(0).shuffle(others)
    for name, schema in others:
        text = json.dumps(schema)
        if len(text) <= MOST_CHARS:
            found.setdefault(text, name)
    return [(name, text) for text, name in list(found.items())[:most]]


def number(text: str) -> Decimal | float:
    """Exact, but for exponents that no number of Python's has."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return float(text)


def _distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; what repeats a name is no answer, whatever a validator makes of it."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError(f"a name is repeated: {members}")
    return found


def is_valid(schema: Any, text: str) -> bool:
    """Whether a validator takes the document; numbers are exact where the schema's are Decimals."""
    import jsonschema

    def multiple_of(_validator: Any, step: Decimal, value: Any, _schema: Any) -> Iterator[Any]:
        """Exact, in decimals: in binary fractions 1.2 is no multiple of 0.0001."""
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        if is_number and Fraction(str(value)) % Fraction(str(step)):
            yield jsonschema.ValidationError(f"{value} is no multiple of {step}")

    found = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    chosen = jsonschema.validators.extend(found, {"multipleOf": multiple_of})
    return bool(chosen(schema).is_valid(json.loads(text, parse_float=number, object_pairs_hook=_distinct)))


def judge(engine: radixlang.Engine, asked: list[tuple[str, str]], temperatures: tuple[float, ...]) -> Verdict:
    """An answer to every schema at every temperature, each closed before it runs out of tokens, if it can be."""
    verdict = Verdict()

    def ask(job: tuple[str, str, float]) -> None:
        name, text, temperature = job
        fields = {"temperature": temperature, "max_new_tokens": MAX_NEW_TOKENS, "json_schema": text, "close": True}
        try:
            answer = engine.generate("An example as JSON: ", fields)
        except RadixlangError as error:
            verdict.refused[error.code or type(error).__name__] += 1
            if error.status != 400:
                print(f"FAILED {name} at {temperature}: {error}\n  {text[:2000]}", flush=True)
            return
        reason = answer["meta_info"]["finish_reason"]["type"]
        verdict.ended[reason] += 1
        if reason == "constraint_failed":
            print(f"  constraint_failed: {name} at {temperature}: {answer['text'][:200]}", flush=True)
        try:
            is_wrong = reason == "stop" and not is_valid(json.loads(text, parse_float=number), answer["text"])
        except re.error:  # a pattern of ECMAScript's that Python does not read
            verdict.unjudged.append(name)
            return
        if is_wrong:
            verdict.invalid.append(f"{name} at {temperature}: {answer['text']}")
            print(f"INVALID {verdict.invalid[-1]}\n  {text[:2000]}", flush=True)

    with ThreadPoolExecutor(16) as threads:
        jobs = [(name, text, temperature) for name, text in asked for temperature in temperatures]
        for i, _ in enumerate(threads.map(ask, jobs), 1):
            if i % 100 == 0:
                print(f"  {i} of {len(jobs)}: {dict(verdict.ended)}, refused {dict(verdict.refused)}", flush=True)
    return verdict
