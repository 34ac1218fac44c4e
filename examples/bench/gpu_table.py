"""What gpu.py measured, beside what the card allows and what is wanted of it."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from workloads import REUSE, PerfectCache

SHAPES = {  # layers, hidden, inner, heads, kv heads, head dim, vocabulary, tied head
    "8b": (32, 4096, 14336, 32, 8, 128, 128256, False),
    "1b": (16, 2048, 8192, 32, 8, 64, 128256, True),
    "tiny": (2, 64, 128, 4, 2, 16, 30016, True),
}
GOALS = {
    "decode bs 1": 0.85, "decode bs 64": 0.75, "decode bs 256": 0.70, "prefill 8192": 0.55,
    "offline 256 x 1000/1000": 0.65,
}  # fmt: skip
"""Shares of the roofline, on Llama 3 8B shapes."""
KERNEL, CUT = "kernel ", "cut "
"""Beginnings of names: of a kernel's figures, and of a part that did not end."""


def work_ratio(name: str) -> float:
    """Prompt and output tokens without a cache to those with a perfect one."""
    waves, cache, total, saved = REUSE[name](random.Random(7)), PerfectCache(), 0, 0
    wave = next(waves)
    try:
        while True:
            outputs = [[(31 * i + j) % 30000 for j in range(r.max_tokens)] for i, r in enumerate(wave)]
            for request, ids in zip(wave, outputs, strict=True):
                total += len(request.ids) + len(ids)
                saved += cache.reusable(request, ids)
            wave = waves.send(outputs)
    except StopIteration:
        return total / (total - saved)


def roofline(shape: str, bandwidth: float, arithmetic: float) -> dict[str, float]:
    """Tokens a second that the card's measured limits allow."""
    layers, hidden, inner, heads, kv_heads, dim, vocab, _ = SHAPES[shape]
    body = layers * (hidden * dim * (2 * heads + 2 * kv_heads) + 3 * hidden * inner)
    weights, a_token = body + hidden * vocab, 2 * kv_heads * dim * layers * 2

    def step(batch: int, context: int) -> float:
        return max(2 * weights / bandwidth, 2 * weights * batch / arithmetic) + batch * context * a_token / bandwidth

    allowed = {f"decode bs {batch}": batch / step(batch, 1088) for batch in (1, 4, 64, 256)}
    allowed |= {f"decode bs {batch}, no scheduler": batch / step(batch, 1088) for batch in (4, 64)}
    return allowed | {"prefill 8192": arithmetic / (2 * body), "offline 256 x 1000/1000": 256 / step(256, 1500)}


class Ratio(NamedTuple):
    """Two rows that are compared with each other."""

    what: str
    ratio: float
    goal: float | None
    """At least."""


def ratios(found: dict[str, float], names: list[str]) -> list[Ratio]:
    told: list[Ratio] = []

    def tell(what: str, over: str, under: str, goal: float | None) -> None:
        if found.get(over) and found.get(under):
            told.append(Ratio(what, found[over] / found[under], goal))

    for batch in (4, 64):
        decode = f"decode bs {batch}"
        tell("overlap on / off", decode, f"{decode}, overlap off", 1.10)
        tell("scheduled / device alone (1 less the idle share)", decode, f"{decode}, no scheduler", 0.98)
        tell(f"ours / transformers generate, bs {batch}", decode, f"transformers generate, bs {batch}", None)
        for size in (32, 128):
            load = f"{batch} x {size}/{size}"
            tell(
                "ours / transformers continuous batching", f"ours beside transformers, {load}",
                f"transformers continuous batching, {load}", 5.0,
            )  # fmt: skip
    for name in names:
        work = work_ratio(name)
        tell(
            f"{name}: cache off / on ({work:.2f} by work)", f"{name}, cache off, seconds", f"{name}, cache on, seconds",
            0.7 * work,
        )  # fmt: skip
    return told


def report(
    shape: str, device: str, found: dict[str, float], limits: tuple[float, float], names: list[str]
) -> dict[str, Any]:
    """Prints the table of a shape; returns it."""
    allowed = roofline(shape, *limits) if device == "cuda" and all(limits) else {}
    rows = []
    for name, value in found.items():
        if name.startswith((KERNEL, CUT)):
            continue
        share = value / allowed[name] if name in allowed else None
        unit = "s" if name.endswith("seconds") else "tokens/s"
        goal = GOALS.get(name) if share is not None else None
        rows.append(
            {"what": name.removesuffix(", seconds"), "value": value, "unit": unit, "share": share, "goal": goal}
        )
    rows += [
        {"what": r.what, "value": r.ratio, "unit": "x", "share": r.ratio, "goal": r.goal} for r in ratios(found, names)
    ]
    stems = [name.removesuffix(" µs") for name in found if name.startswith(KERNEL) and name.endswith(" µs")]
    for stem in stems:
        beside = found.get(f"{stem} torch / ours")
        rest = "" if beside is None else f" (torch's own / ours {beside:.2f})"
        rows.append(
            {
                "what": stem + rest,
                "value": found[f"{stem} µs"],
                "unit": "µs",
                "share": found[f"{stem} share"],
                "goal": None,
            }
        )
    print(f"\n| {shape} on {device} | measured | share of the limit, or ratio | goal | |")
    print("| --- | ---: | ---: | ---: | --- |")
    has_goals = (shape, device) == ("8b", "cuda")
    for row in rows:
        row["goal"] = row["goal"] if has_goals else None
        share, goal = row["share"], row["goal"]
        row["holds"] = None if goal is None else share >= goal
        verdict = "" if goal is None else "holds" if row["holds"] else "MISSED"
        shown = "" if share is None else f"{share:.2f}"
        print(
            f"| {row['what']} | {row['value']:.2f} {row['unit']} | {shown} | {'' if goal is None else f'{goal:.2f}'} "
            f"| {verdict} |"
        )
    cut = [name.removeprefix(CUT) for name in found if name.startswith(CUT)]
    if cut:
        print(f"\n{shape}: cut, failed or left out: {', '.join(cut)}")
    return {"rows": rows, "cut": cut}
