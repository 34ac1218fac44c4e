"""Where the first second goes: process start to the first token, in this process and over HTTP.

python examples/bench/startup.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

IN_PROCESS = """
import time; t0 = time.perf_counter(); marks = {}
import radixlang as sgl; marks["import radixlang"] = time.perf_counter() - t0
from radixlang.runtime.engine import Engine; marks["import the engine"] = time.perf_counter() - t0
engine = Engine(model_path=MODEL, max_total_tokens=8192); marks["model loaded"] = time.perf_counter() - t0
engine.generate("Hello", {"max_new_tokens": 1, "temperature": 0}); marks["first token"] = time.perf_counter() - t0
print(marks); engine.shutdown()
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def in_process(model: str) -> dict[str, float]:
    started = time.perf_counter()
    code = IN_PROCESS.replace("MODEL", repr(model))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    marks = eval(out.stdout)
    return {**{f"python: {k}": v for k, v in marks.items()}, "python: whole process": time.perf_counter() - started}


def over_http(model: str) -> dict[str, float]:
    port, marks = free_port(), {}
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", model, "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    body = {"text": "Hello", "sampling_params": {"max_new_tokens": 1, "temperature": 0}}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        while True:
            try:
                if "http: listening" not in marks and client.get("/health"):
                    marks["http: listening"] = time.perf_counter() - started
                if client.post("/generate", json=body).status_code == 200:
                    marks["http: first token"] = time.perf_counter() - started
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.005)
    resident, pids = 0, [process.pid]
    while pids:
        pid = pids.pop()
        status = Path(f"/proc/{pid}/status").read_text()
        resident += int(status.split("VmRSS:")[1].split()[0]) * 1024
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    marks["http: resident MiB"] = resident / 2**20
    process.send_signal(signal.SIGTERM)
    process.wait()
    return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f}; one run first, uncounted, warms the page cache")
    runs = [{**in_process(options.model_path), **over_http(options.model_path)} for _ in range(options.rounds + 1)][1:]
    table = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for name, value in table.items():
        print(f"{name:28} {value:8.3f}")
    Path("bench-results").mkdir(exist_ok=True)
    Path("bench-results/startup.json").write_text(json.dumps({"median": table, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
