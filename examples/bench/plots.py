"""Draws what the benchmarks measured, for the docs: decode and prefill by batch and context, engines side by side.

    python examples/bench/step.py --json bench-results/step.json
    python examples/bench/side_by_side.py
    python examples/bench/plots.py                 writes docs/img/*.svg of the results that are there

Needs matplotlib (`pip install 'radixlang[bench]'`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workloads import REUSE

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
except ImportError:
    raise SystemExit("plots.py draws with matplotlib: pip install 'radixlang[bench]'") from None

RESULTS = Path("bench-results")
COLOURS = {
    "radixlang": "#1b6ca8",
    "llama.cpp": "#c8553d",
    "llama-bench": "#e09f7d",
    "openvino": "#588157",
    "vllm": "#8d7aae",
}


def step_plots(table: list[dict], out: Path) -> None:
    """Tokens a second of the native step: decode by batch, one line a context; prefill by prompt."""
    figure, (decode, prefill) = plt.subplots(1, 2, figsize=(9, 3.4))
    free = [row for row in table if not row["shared"] and not row["mask"]]
    for kv in dict.fromkeys(row["kv"] for row in free):
        for context in (160, 1024):
            points = sorted(
                (row["requests"], row["tokens_per_s"])
                for row in free
                if row["kv"] == kv and row["chunk"] == 1 and row["context"] == context
            )
            if points:
                decode.plot(*zip(*points, strict=True), marker="o", label=f"{kv}, context {context}")
        whole = sorted(
            (row["chunk"], row["tokens_per_s"])
            for row in free
            if row["kv"] == kv and row["chunk"] == row["context"] and row["requests"] == 1
        )
        prefill.plot(*zip(*whole, strict=True), marker="o", label=str(kv))
    _finish(decode, "decode", "requests at once", "tokens a second, all together")
    _finish(prefill, "prefill", "tokens of the prompt", "tokens a second")
    _save(figure, out / "step.svg")


def engine_plots(table: dict[str, dict], out: Path) -> None:
    """Medians of the engines: decode by batch, prefill, and whole programs."""
    sizes = sorted(int(name.rpartition("_")[2]) for name in table if name.startswith("decode_"))
    programs = [name for name in table if name in REUSE]
    if not sizes or not programs:
        print(f"{out / 'engines.svg'} is not drawn: the last run of side_by_side.py had no decode or no programs")
        return
    figure, (decode, bars) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.3))
    for engine, colour in COLOURS.items():
        points = [
            (n, table[f"decode_{n}"]["median"][engine]) for n in sizes if engine in table[f"decode_{n}"]["median"]
        ]
        if points:
            decode.plot(*zip(*points, strict=True), marker="o", label=engine, color=colour)
    _finish(decode, "decode", "requests at once", "tokens a second, all together")
    engines = [e for e in COLOURS if any(e in table[name]["median"] for name in programs)]
    width = 0.8 / max(1, len(engines))
    for place, engine in enumerate(engines):
        seconds = [table[name]["median"].get(engine, 0.0) for name in programs]
        at = [i + place * width for i in range(len(programs))]
        bars.bar(at, seconds, width, label=engine, color=COLOURS[engine])
    bars.set_xticks([i + 0.4 - width / 2 for i in range(len(programs))])
    bars.set_xticklabels([name.replace("_", "\n") for name in programs], fontsize=8)
    bars.set_ylabel("seconds (less is better)")
    bars.set_title("programs")
    bars.legend(frameon=False, fontsize=8)
    _save(figure, out / "engines.svg")


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    ticks = sorted({float(v) for line in axes.get_lines() for v in line.get_xdata()})  # type: ignore[union-attr]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    options = parser.parse_args()
    mpl.rcParams.update({"svg.hashsalt": "radixlang", "svg.fonttype": "none", "font.size": 9})
    options.out.mkdir(parents=True, exist_ok=True)
    step, engines = options.results / "step.json", options.results / "side_by_side.json"
    if not (step.exists() or engines.exists()):
        parser.error(f"no results in {options.results}: run step.py --json {step} or side_by_side.py first")
    if step.exists():
        step_plots(json.loads(step.read_text())["cases"], options.out)
    if engines.exists():
        engine_plots(json.loads(engines.read_text())["table"], options.out)


if __name__ == "__main__":
    main()
