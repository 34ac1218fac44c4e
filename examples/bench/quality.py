"""What rounding costs: an executor beside float32 arithmetic on the same weights, on a fixed text.

    python examples/bench/quality.py
    python examples/bench/quality.py --kv-cache-dtype auto float16 int8 --executor native
    python examples/bench/quality.py --model PATH --executor torch --dtype bfloat16
    python examples/bench/quality.py --model FOLDER_OF_FLOATS --quantize none w8 w4

KL is the mean over the text's positions of the divergence from the float32 distribution (nats), top-1 the share of
positions where both find the same token likeliest, perplexity that of the text itself. The text is this repository's
LICENSE (its first 400 tokens) and README.md (one page), each read as a document of its own. The float32 side is the
torch executor (extra `torch`). One table is printed; JSON goes to bench-results/quality.json.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command import run_main

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.model_runner.plan import Executor, ScorePlan, StepPlan
from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.tokenizer.open import open_tokenizer
from radixlang.runtime.weights.open import open_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ROWS = 32
"""Positions of one step: bounds the memory of the distributions."""


class Text(NamedTuple):
    name: str
    ids: list[int]


class Quality(NamedTuple):
    """Of one text; sums are over its positions but the last, which predicts nothing known."""

    positions: int
    kl: float
    agreeing: int
    nll: float
    reference_nll: float


def texts(tokenizer, max_tokens: int) -> list[Text]:
    found = []
    for name in ("LICENSE", "README.md"):
        ids = tokenizer.encode((ROOT / name).read_text(encoding="utf-8"))
        found.append(Text(name, ids[:max_tokens]))
    return found


def distributions(executor: Executor, ids: list[int]) -> Iterator[np.ndarray]:
    """Log-probabilities of all tokens behind each prefix of the text, ROWS positions at a time: [rows, vocabulary]."""
    slots = np.random.default_rng(0).permutation(executor.num_slots).astype(np.int32)[: len(ids)]
    every = np.arange(executor.vocab_size, dtype=np.int32)
    for step, begin in enumerate(range(0, len(ids), ROWS)):
        end = min(begin + ROWS, len(ids))
        output = executor.execute(
            StepPlan(
                step=step,
                token_ids_T=np.array(ids[begin:end], np.int32),
                positions_T=np.arange(begin, end, dtype=np.int32),
                slots_T=slots[begin:end].copy(),
                query_start_B1=np.array([0, end - begin], np.int32),
                kv_lens_B=np.array([end], np.int32),
                table_rows_B=np.zeros(1, np.int32),
                page_table=slots[None],
                scores=[ScorePlan(row, -1, 0, every) for row in range(end - begin)],
            )
        )
        yield np.array([score.id_logprobs for score in output.scores_N], np.float32)


def measure(executor: Executor, reference: list[np.ndarray], ids: list[int]) -> Quality:
    """`reference`: the float32 distributions of the text, as `distributions` gives them."""
    kl = nll = reference_nll = 0.0
    agreeing = begin = 0
    for found, wanted in zip(distributions(executor, ids), reference, strict=True):
        nexts = np.array(ids[begin + 1 : begin + 1 + len(found)])
        begin += len(found)
        found, wanted = found[: len(nexts)], wanted[: len(nexts)]
        p = np.exp(wanted.astype(np.float64))
        kl += float((p * (wanted.astype(np.float64) - found)).sum())
        agreeing += int((found.argmax(-1) == wanted.argmax(-1)).sum())
        nll -= float(found[np.arange(len(nexts)), nexts].sum())
        reference_nll -= float(wanted[np.arange(len(nexts)), nexts].sum())
    return Quality(len(ids) - 1, kl, agreeing, nll, reference_nll)


def row(executor: str, quantize: str, kv: str, device: str, text: str, parts: list[Quality]) -> dict[str, object]:
    positions = sum(part.positions for part in parts)
    return {
        "executor": executor,
        "quantize": quantize,
        "kv_cache_dtype": kv,
        "device": device,
        "text": text,
        "positions": positions,
        "kl": sum(part.kl for part in parts) / positions,
        "top1_agreement": sum(part.agreeing for part in parts) / positions,
        "perplexity": float(np.exp(sum(part.nll for part in parts) / positions)),
        "float32_perplexity": float(np.exp(sum(part.reference_nll for part in parts) / positions)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a name of the store, a GGUF file, a directory"
    )
    parser.add_argument("--kv-cache-dtype", nargs="+", default=["auto"], help="auto, float32, bfloat16, float16, int8")
    parser.add_argument("--executor", default="native", help="native, torch or transformers")
    parser.add_argument(
        "--quantize", nargs="+", default=["none"], choices=("none", "w4", "w8"),
        help="roundings at load, of a checkpoint in F32, F16 or BF16",
    )  # fmt: skip
    parser.add_argument("--dtype", default="auto", help="of the torch executor")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=400, help="of each text, at most")
    parser.add_argument("--json", type=Path, default=ROOT / "bench-results" / "quality.json")
    options = parser.parse_args()
    checkpoint = open_checkpoint(resolve_model(options.model))
    corpus = texts(open_tokenizer(checkpoint), min(options.tokens, checkpoint.config.max_context))
    longest = max(len(text.ids) for text in corpus)
    common = {"num_threads": options.threads, "max_total_tokens": longest, "context_length": longest}

    started = time.perf_counter()
    float32 = EngineConfig(executor="torch", dtype="float32", kv_cache_dtype="float32", **common)
    reference = load_executor(float32, checkpoint)
    wanted = {text.name: list(distributions(reference, text.ids)) for text in corpus}
    reference.close()
    print(f"{checkpoint.path.name}, {' + '.join(checkpoint.formats())}")
    print(f"float32 by {reference.device}: {time.perf_counter() - started:.0f} s")

    table: list[dict[str, object]] = []
    print(
        f"{'executor':>12} {'round':>5} {'kv':>9} {'text':>9} {'tokens':>6} {'KL':>9} {'top-1':>6} {'perplexity':>10} "
        f"{'float32':>8}"
    )
    for quantize, kv in itertools.product(options.quantize, options.kv_cache_dtype):
        config = EngineConfig(
            executor=options.executor, dtype=options.dtype, kv_cache_dtype=kv, quantize=quantize, **common
        )
        executor = load_executor(config, checkpoint)
        parts = {text.name: measure(executor, wanted[text.name], text.ids) for text in corpus}
        for name, chosen in [*((name, [part]) for name, part in parts.items()), ("all", list(parts.values()))]:
            found = row(options.executor, quantize, kv, executor.device, name, chosen)
            table.append(found)
            print(
                f"{options.executor:>12} {quantize:>5} {kv:>9} {name:>9} {found['positions']:>6} {found['kl']:>9.2e} "
                f"{found['top1_agreement']:>6.3f} {found['perplexity']:>10.3f} {found['float32_perplexity']:>8.3f}"
            )
        print(f"             {executor.device}")
        executor.close()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"model": str(checkpoint.path.name), "table": table}, indent=1) + "\n")
    print(f"wrote {options.json}")


if __name__ == "__main__":
    run_main(main)
