"""JSON against schemas: documents a server writes in a second, how many are valid, and what jump-forward saves.

    python examples/bench/json_mode.py                       radixlang with and without jump-forward, and llama.cpp
    python examples/bench/json_mode.py --rounds 5 --batches 1 8

The same chats go to every server, in turn: A, B, C, A, B, C … A document's tokens are those of its text, counted with
one tokenizer for all; steps are the tokens that a server had to draw. Valid: it ended, and jsonschema accepts it.
Writes bench-results/json_mode.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jsonschema
from command import run_main
from engines import HttpEngine, LlamaCpp, Missing, Radixlang
from json_schemas import TASKS

OUT = Path("bench-results")
MAX_TOKENS = 400
CONTEXT = 1024


class Jumping(Radixlang):
    name = "radixlang"


class Drawing(Radixlang):
    name = "radixlang, jump-forward off"

    def command(self) -> list[str]:
        return [*super().command(), "--disable-jump-forward"]


class Document(NamedTuple):
    """One answer."""

    task: str
    text: str
    finish: str
    drawn: int
    forced: int


SERVERS: dict[str, type[HttpEngine]] = {"radixlang": Jumping, "no-jump": Drawing, "llama.cpp": LlamaCpp}


def ask(engine: HttpEngine, tasks: list[str], batch: int) -> tuple[list[Document], float]:
    """A document for each task, `batch` at a time; and the seconds it took."""

    async def one(client: httpx.AsyncClient, gate: asyncio.Semaphore, task: str) -> Document:
        prompt, schema = TASKS[task]
        body = {
            "messages": [{"role": "user", "content": f"{prompt} Answer as JSON."}],
            "temperature": 0, "max_tokens": MAX_TOKENS,
            "response_format": {"type": "json_schema", "json_schema": {"name": task, "schema": schema}},
        }  # fmt: skip
        async with gate:
            answer = await client.post("/v1/chat/completions", json=body)
        answer.raise_for_status()
        return document_of(task, answer.json())

    async def all_of_them() -> list[Document]:
        base_url, gate = f"http://127.0.0.1:{engine.port}", asyncio.Semaphore(batch)
        async with httpx.AsyncClient(base_url=base_url, timeout=600, trust_env=False) as client:
            return await asyncio.gather(*(one(client, gate, task) for task in tasks))

    started = time.perf_counter()
    documents = asyncio.run(all_of_them())
    return documents, time.perf_counter() - started


def document_of(task: str, answer: dict[str, Any]) -> Document:
    choice, timings = answer["choices"][0], answer.get("timings") or {}
    made = int(answer["usage"]["completion_tokens"])
    forced = int(timings.get("forced_n") or 0)
    return Document(task, choice["message"]["content"] or "", choice["finish_reason"], made - forced, forced)


def is_valid(document: Document) -> bool:
    try:
        jsonschema.validate(json.loads(document.text), TASKS[document.task][1], jsonschema.Draft202012Validator)
    except (ValueError, jsonschema.ValidationError):
        return False
    return document.finish == "stop"


class Row(NamedTuple):
    """One server at one batch size, medians over the rounds."""

    engine: str
    batch: int
    tokens_per_s: float
    documents_per_s: float
    valid_percent: float
    tokens: float
    steps: float
    forced: float


def measure(engine: HttpEngine, tasks: list[str], batch: int, count: Any) -> Row:
    documents, seconds = ask(engine, tasks, batch)
    tokens = [count(document.text) for document in documents]
    for document in documents:
        if not is_valid(document):
            print(f"  {engine.name}: {document.task} ({document.finish}): {document.text[:160]!r}", flush=True)
    return Row(
        engine.name,
        batch,
        sum(tokens) / seconds,
        len(documents) / seconds,
        100 * statistics.mean(map(is_valid, documents)),
        statistics.mean(tokens),
        statistics.mean(document.drawn for document in documents),
        statistics.mean(document.forced for document in documents),
    )


def medians(rows: list[Row]) -> Row:
    columns = list(zip(*rows, strict=True))
    return Row(rows[0].engine, rows[0].batch, *(statistics.median(column) for column in columns[2:]))


def table(rows: list[Row]) -> str:
    """Ratios are to llama.cpp at the same batch size."""
    peers = {row.batch: row.tokens_per_s for row in rows if row.engine == LlamaCpp.name}
    lines = [
        "| server | at once | tokens/s | x llama.cpp | documents/s | valid | tokens a document | drawn | forced |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.batch):
        ratio = f"{row.tokens_per_s / peers[row.batch]:.2f}" if row.batch in peers else "-"
        lines.append(
            f"| {row.engine} | {row.batch} | {row.tokens_per_s:.1f} | {ratio} | {row.documents_per_s:.2f} | "
            f"{row.valid_percent:.0f} % | {row.tokens:.1f} | {row.steps:.1f} | {row.forced:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()

    from radixlang.runtime.config import EngineConfig
    from radixlang.runtime.model_files import open_model
    from radixlang.runtime.store.resolve import resolve_model

    model = resolve_model(options.model)
    tokenizer = open_model(EngineConfig(model_path=str(model))).tokenizer
    servers: list[HttpEngine] = []
    try:
        for name in options.engines:
            try:
                servers.append(SERVERS[name](model, options.threads, max(options.batches), CONTEXT))
            except Missing as missing:
                print(f"missing: {missing}")
        for server in servers:  # warm: schemas compiled, prompts cached, as in service
            ask(server, options.tasks, max(options.batches))
        found: dict[tuple[str, int], list[Row]] = {}
        for _ in range(options.rounds):
            for batch in options.batches:
                for server in servers:
                    row = measure(server, options.tasks, batch, lambda text: len(tokenizer.encode_continuation(text)))
                    found.setdefault((row.engine, batch), []).append(row)
        rows = [medians(rounds) for rounds in found.values()]
    finally:
        for server in servers:
            server.stop()
    print(table(rows))
    OUT.mkdir(exist_ok=True)
    (OUT / "json_mode.json").write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    run_main(main)
