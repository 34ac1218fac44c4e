"""Where the first second goes, and where the memory lies: process start to the first token, in this process and over
HTTP.

python examples/bench/startup.py [--rounds 5] [--against OTHER_CHECKOUT]

CPU seconds are those of each server process until its first token: they hold on a busy machine, where times do not.
Of the memory after the first token: private is what only this process has, anonymous what it made itself (heap, KV
cache, scratch), and file what it has mapped of files, packed weights above all, which the system shares and may drop.
--against runs a second checkout of radixlang in the same rounds, one after the other.
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
import tempfile
import time
from pathlib import Path

import httpx
from command import run_main

from radixlang.runtime.store.resolve import resolve_model

IN_PROCESS = """
import time; t0 = time.perf_counter(); marks = {}
import radixlang as sgl; marks["import radixlang"] = time.perf_counter() - t0
from radixlang.runtime.engine import Engine; marks["import the engine"] = time.perf_counter() - t0
engine = Engine(model_path=MODEL, max_total_tokens=8192); marks["model loaded"] = time.perf_counter() - t0
engine.generate("Hello", {"max_new_tokens": 1, "temperature": 0}); marks["first token"] = time.perf_counter() - t0
marks["cpu until then"] = time.process_time()
print(marks); engine.shutdown()
"""
GIVEN_UP_S = 120
TICK = os.sysconf("SC_CLK_TCK")
MEMORY = {"Rss": "resident", "Pss": "share (Pss)", "Anonymous": "anonymous", "Private_Dirty": "private dirty"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def in_process(model: str, environment: dict[str, str]) -> dict[str, float]:
    started = time.perf_counter()
    command = [sys.executable, "-c", IN_PROCESS.replace("MODEL", repr(model))]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    marks = json.loads(out.stdout.replace("'", '"'))
    return {**{f"python: {k}": v for k, v in marks.items()}, "python: whole process": time.perf_counter() - started}


def family(pid: int) -> list[int]:
    """The process and its children, eldest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int) -> dict[str, float]:
    """MiB, by the names of MEMORY, and `file`: resident pages of files."""
    lines = (line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    sizes = {name: int(value.split()[0]) / 1024 for name, value in lines}
    return {**{told: sizes[name] for name, told in MEMORY.items()}, "file": sizes["Rss"] - sizes["Anonymous"]}


def over_http(model: str, environment: dict[str, str]) -> dict[str, float]:
    port, marks = free_port(), dict[str, float]()
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", model, "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    body = {"text": "Hello", "sampling_params": {"max_new_tokens": 1, "temperature": 0}}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        while "http: first token" not in marks:
            if process.poll() is not None or time.perf_counter() - started > GIVEN_UP_S:
                process.kill()
                raise SystemExit(f"no token within {GIVEN_UP_S} s: {' '.join(command)}")
            try:
                if "http: listening" not in marks and client.get("/health"):
                    marks["http: listening"] = time.perf_counter() - started
                if client.post("/generate", json=body).status_code == 200:
                    marks["http: first token"] = time.perf_counter() - started
            except httpx.TransportError:
                pass
            time.sleep(0.005)
    totals = dict.fromkeys([*MEMORY.values(), "file"], 0.0)
    for name, pid in zip(("api", "engine"), family(process.pid), strict=True):
        marks[f"http: cpu of the {name}"] = cpu_seconds(pid)
        for told, size in memory(pid).items():
            totals[told] += size
            if told in ("resident", "anonymous"):
                marks[f"http: MiB {told}, {name}"] = size
    marks |= {f"http: MiB {told}, both": size for told, size in totals.items()}
    process.send_signal(signal.SIGTERM)
    process.wait()
    return marks


def environment_of(checkout: Path | None, folder: Path) -> dict[str, str]:
    """`checkout`: imported as radixlang through a link in `folder`, before what is installed.

    Bytecode is kept in `folder`, as an installed package has its own; a variable of the shell may forbid it, and every
    start would compile all sources, a third of its time.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    if checkout is not None:
        (folder / "radixlang").symlink_to(checkout.resolve())
        environment["PYTHONPATH"] = str(folder)
    return environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same rounds")
    parser.add_argument("--json", type=Path, default=Path("bench-results/startup.json"))
    options = parser.parse_args()
    resolve_model(options.model_path)  # a wrong name is told here
    print(f"load average {os.getloadavg()[0]:.2f}; one round first, uncounted, warms the page cache and keeps bytecode")
    with tempfile.TemporaryDirectory() as folder:
        sides = {"this": environment_of(None, Path(folder))}
        if options.against:
            sides["other"] = environment_of(options.against, Path(folder))
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(options.rounds + 1):
            for side, environment in sides.items():
                found = {**in_process(options.model_path, environment), **over_http(options.model_path, environment)}
                runs[side].append(found)
    medians = {
        side: {name: statistics.median(run[name] for run in found[1:]) for name in found[0]}
        for side, found in runs.items()
    }
    print(f"{'':32}", *(f"{side:>9}" for side in medians))
    for name in medians["this"]:
        print(f"{name:32}", *(f"{table[name]:9.3f}" for table in medians.values()))
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps({"median": medians, "runs": runs}, indent=1))


if __name__ == "__main__":
    run_main(main)
