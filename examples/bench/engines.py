"""Engines behind one face: start, run a wave of requests at once, stop. Peers live in environments of their own.

`install_peers.sh` makes them. A peer that is missing is named as missing, never replaced by a remembered figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from workloads import Request

from radixlang.runtime.store.resolve import resolve_model

PEERS = Path(os.environ.get("RADIXLANG_PEERS", Path.home() / ".cache" / "radixlang" / "peers"))


class Missing(Exception):
    """The peer is not installed here."""


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with those that every comparison of engines has: rounds, threads, model (a path).

    Raises ModelNotFound.
    """
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a GGUF file, or a name of the store")
    options = parser.parse_args()
    options.model = resolve_model(options.model)
    return options


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class HttpEngine:
    """A server in a process of its own, driven over HTTP."""

    name = ""
    ready_path = "/health"

    def __init__(self, model: Path, threads: int, slots: int, context: int) -> None:
        self.model, self.threads, self.slots, self.context = model, threads, slots, context
        self.port = free_port()
        self.log = tempfile.NamedTemporaryFile(prefix=f"{self.name}-", suffix=".log", delete=False)  # noqa: SIM115
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, env=environment)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=600, trust_env=False)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log.name}")
            try:
                if self.client.get(self.ready_path).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.perf_counter() - started > 300:
                raise RuntimeError(f"{self.name} did not start within 300 s; see {self.log.name}")
            time.sleep(0.01)
        self.start_s = time.perf_counter() - started

    def command(self) -> list[str]:
        raise NotImplementedError

    def body(self, request: Request) -> tuple[str, dict]:
        return "/v1/completions", {
            "model": "default", "prompt": request.ids, "max_tokens": request.max_tokens, "temperature": 0,
            "ignore_eos": True, "return_token_ids": True,
        }  # fmt: skip

    def ids_of(self, answer: dict) -> list[int]:
        return answer["choices"][0]["token_ids"]

    def cached_of(self, answer: dict) -> int:
        return (answer.get("usage", {}).get("prompt_tokens_details") or {}).get("cached_tokens") or 0

    def run(self, wave: list[Request]) -> tuple[list[list[int]], int]:
        """(output ids of each request, cached prompt tokens of all)."""

        async def all_of_them() -> list[dict]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self.port}", timeout=600, trust_env=False, limits=limits
            ) as client:

                async def one(request: Request) -> dict:
                    path, body = self.body(request)
                    answer = await client.post(path, json=body)
                    answer.raise_for_status()
                    return answer.json()

                return await asyncio.gather(*map(one, wave))

        answers = asyncio.run(all_of_them())
        return [self.ids_of(a) for a in answers], sum(self.cached_of(a) for a in answers)

    def rss_bytes(self) -> int:
        """Resident memory of the server and its children."""
        total, pids = 0, [self.process.pid]
        while pids:
            pid = pids.pop()
            try:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS"):
                        total += int(line.split()[1]) * 1024
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
        return total

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Radixlang(HttpEngine):
    name = "radixlang"
    ready_path = "/ready"

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "radixlang.launch_server", "--model-path", str(self.model), "--port", str(self.port),
            "--num-threads", str(self.threads), *os.environ.get("RADIXLANG_BENCH_FLAGS", "").split(),
        ]  # fmt: skip

    def body(self, request: Request) -> tuple[str, dict]:
        path, body = super().body(request)
        del body["model"]
        return path, body


class LlamaCpp(HttpEngine):
    """On Q4_0, of which its kernels are made: the default model's Q4_1 takes it about 2.5 times as long."""

    name = "llama.cpp"

    @staticmethod
    def binary(name: str) -> str:
        for path in (PEERS / "llama").rglob(name):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise Missing(f"{name}: run examples/bench/install_peers.sh llama")

    @staticmethod
    def fastest(model: Path) -> str:
        path = PEERS / "smollm2-q4_0.gguf"
        return str(path if path.exists() else model)

    def command(self) -> list[str]:
        return [
            self.binary("llama-server"), "-m", self.fastest(self.model), "--port", str(self.port),
            "-t", str(self.threads), "-tb", str(self.threads), "-np", str(self.slots),
            "-c", str(self.context * self.slots), "--no-webui",
        ]  # fmt: skip

    def body(self, request: Request) -> tuple[str, dict]:
        return "/completion", {
            "prompt": request.ids, "n_predict": request.max_tokens, "temperature": 0, "ignore_eos": True,
            "cache_prompt": True, "return_tokens": True,
        }  # fmt: skip

    def ids_of(self, answer: dict) -> list[int]:
        return answer["tokens"]

    def cached_of(self, answer: dict) -> int:
        return answer.get("timings", {}).get("cache_n") or answer.get("tokens_cached", 0) or 0


class Vllm(HttpEngine):
    name = "vllm"

    def command(self) -> list[str]:
        python = PEERS / "vllm" / "bin" / "python"
        if not python.exists():
            raise Missing("vllm: run examples/bench/install_peers.sh vllm")
        model = PEERS / "smollm2-hf"
        if not model.exists():
            raise Missing("vllm: the model as a Hugging Face directory: run examples/bench/install_peers.sh model")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
        return [
            str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name",
            "default", "--port", str(self.port), "--dtype", "bfloat16", "--max-model-len", str(self.context),
        ]  # fmt: skip


class OpenVino:
    """OpenVINO GenAI's ContinuousBatchingPipeline in a process of its own; waves as lines of JSON on its pipes."""

    name = "openvino"

    def __init__(self, model: Path, threads: int, slots: int, context: int) -> None:
        python, exported = PEERS / "ov" / "bin" / "python", PEERS / "smollm2-ov-int4"
        if not python.exists() or not exported.exists():
            raise Missing("openvino: run examples/bench/install_peers.sh openvino")
        started = time.perf_counter()
        self.log = tempfile.NamedTemporaryFile(prefix="openvino-", suffix=".log", delete=False)  # noqa: SIM115
        driver = Path(__file__).with_name("openvino_driver.py")
        self.process = subprocess.Popen(
            [str(python), str(driver), str(exported), str(threads), str(slots)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        if "ready" not in self._line():
            raise RuntimeError(f"openvino did not start; see {self.log.name}")
        self.start_s = time.perf_counter() - started

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def run(self, wave: list[Request]) -> tuple[list[list[int]], int]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([[r.ids, r.max_tokens] for r in wave]) + "\n")
        self.process.stdin.flush()
        line = self._line()
        if not line:
            raise RuntimeError(f"openvino ended; see {self.log.name}")
        return json.loads(line), 0

    def rss_bytes(self) -> int:
        return HttpEngine.rss_bytes(self)  # type: ignore[arg-type]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


ENGINES = {e.name: e for e in (Radixlang, LlamaCpp, OpenVino, Vllm)}
