"""llama.cpp's own benchmark (`llama-batched-bench`): its model without its server, no tokens over HTTP, no sampling."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from engines import LlamaCpp


class LlamaBench:
    """Measures plain prefill and decode itself; whole programs it cannot run."""

    name = "llama-bench"

    def __init__(self, model: Path, threads: int, slots: int, context: int) -> None:
        """Raises Missing where the binary is not installed. `slots` and `context` follow from what is measured."""
        self._binary = LlamaCpp.binary("llama-batched-bench")
        self._model = LlamaCpp.fastest(model)
        self._threads = str(threads)
        started = time.perf_counter()
        self._run(prompt=32, output=1, batch=1)
        self.start_s = time.perf_counter() - started

    def can_measure(self, workload: str) -> bool:
        return workload.startswith(("prefill", "decode", "context"))

    def measure(self, kind: str, size: int) -> float:
        """Tokens a second: of a prompt of `size` tokens; of `size` requests that decode from 128 to 256, or of one from
        context `size` on."""
        if kind == "prefill":
            return self._run(prompt=size, output=1, batch=1)["speed_pp"]
        if kind == "context":
            return self._run(prompt=size, output=128, batch=1)["speed_tg"]
        return self._run(prompt=128, output=128, batch=size)["speed_tg"]

    def rss_bytes(self) -> int:
        return 0

    def stop(self) -> None:
        pass

    def _run(self, *, prompt: int, output: int, batch: int) -> dict:
        command = [
            self._binary, "-m", self._model, "-npp", str(prompt), "-ntg", str(output), "-npl", str(batch),
            "-c", str(batch * (prompt + output + 16)), "-t", self._threads, "-tb", self._threads,
            "--output-format", "jsonl",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"llama-batched-bench ended with {done.returncode}: {done.stderr[-300:]}")
        return json.loads(lines[-1])
