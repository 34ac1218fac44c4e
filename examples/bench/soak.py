"""A server under random use, for minutes: nothing leaks, nothing grows, nothing unexpected is answered.

    python examples/bench/soak.py [--minutes 30] [--clients 12] [--port 31249] [--model-path MODEL]

Starts `python -m radixlang.launch_server` with the real model (one with fewer layers, of drop_layers.py, answers more
requests in the same time) and sends, over real HTTP: streams and whole answers, constraints, sessions, forks of a
shared text, clients that vanish (30 %), readers that stop reading, requests with a deadline they cannot meet, aborts,
and bad requests (15 %). For the first quarter of the time there are twice as many clients. Then the cache is flushed:
every gauge must be zero, memory must have stayed flat (what both processes hold for themselves after half of the time
against the end: until then caches fill, and the largest step, the longest stream and the most connections come for the
first time), descriptors too.
Prints one line a minute and what it found; exits 1 for anything else than expected.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from command import run_main

from radixlang.runtime.store.resolve import resolve_model

MODEL = "smollm2-135m-instruct"
TEXTS = ["The harbour town kept a ledger of every ship. " * n for n in (1, 4, 12)]
BAD = (
    ("/generate", {"text": "a", "sampling_params": {"temperature": -1}}, 400),
    ("/generate", {"text": "a", "sampling_params": {"regex": "(" * 50}}, 400),
    ("/generate", {"sampling_params": {}}, 400),
    ("/generate", {"text": "a", "session_params": {"id": "nobody"}}, 400),
    ("/v1/chat/completions", {"model": "default", "messages": []}, 400),
    ("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "a"}]}, 404),
    ("/v1/completions", {"prompt": "a", "max_tokens": -3}, 400),
    ("/nothing", {}, 404),
)


class Soak:
    def __init__(self, url: str, seed: int) -> None:
        self.url, self.draw = url, random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def expect(self, what: str, status: int, wanted: tuple[int, ...]) -> None:
        self.counts[what] += 1
        if status not in wanted:
            self.wrong.append(f"{what}: status {status}")

    async def one(self, client: httpx.AsyncClient) -> None:
        kind = self.draw.random()
        if kind < 0.15:
            path, body, status = self.draw.choice(BAD)
            self.expect("bad request", (await client.post(path, json=body)).status_code, (status,))
        elif kind < 0.40:
            await self.vanish(client)
        elif kind < 0.44:
            await self.stop_reading()
        elif kind < 0.50:
            await self.session(client)
        elif kind < 0.56:
            body = self.body(max_new_tokens=400) | {"timeout": 0.2}
            answer = await client.post("/generate", json=body)
            self.expect("deadline", answer.status_code, (200, 408, 499, 503, 504))
        elif kind < 0.62:
            rid = f"soak-{self.draw.random()}"
            asked = asyncio.create_task(client.post("/generate", json=self.body(max_new_tokens=200) | {"rid": rid}))
            await asyncio.sleep(self.draw.random() * 0.3)
            await client.post("/abort_request", json={"rid": rid})
            self.expect("abort", (await asked).status_code, (200, 499))
        elif kind < 0.72:
            body = self.body() | {"sampling_params": {"regex": r"[a-z ]{5,20}", "max_new_tokens": 24}}
            self.expect("regex", (await client.post("/generate", json=body)).status_code, (200,))
        elif kind < 0.80:
            body = self.body(n=self.draw.choice([2, 4]))
            self.expect("fork", (await client.post("/generate", json=body)).status_code, (200,))
        elif kind < 0.90:
            asked = [{"role": "user", "content": self.draw.choice(TEXTS)}]
            body = {"model": "default", "messages": asked, "max_tokens": 16, "stream": True}
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                last = [line async for line in answer.aiter_lines() if line][-1]
            self.expect("chat", answer.status_code if last == "data: [DONE]" else -1, (200,))
        else:
            self.expect("plain", (await client.post("/generate", json=self.body())).status_code, (200,))

    def body(self, **sampling) -> dict:
        sampling.setdefault("max_new_tokens", self.draw.randrange(1, 48))
        text = f"{self.draw.choice(TEXTS)} {self.draw.randrange(40)}:"
        return {"text": text, "sampling_params": {"temperature": self.draw.choice([0, 1]), **sampling}}

    async def vanish(self, client: httpx.AsyncClient) -> None:
        """Closes the connection in the middle of a stream, or while it waits for a whole answer."""
        self.counts["vanished"] += 1
        body = self.body(max_new_tokens=300, ignore_eos=True)
        if self.draw.random() < 0.5:
            with contextlib.suppress(httpx.TimeoutException):
                await client.post("/generate", json=body, timeout=0.05 + self.draw.random())
            return
        left = self.draw.randrange(1, 30)
        async with client.stream("POST", "/generate", json=body | {"stream": True}) as answer:
            async for _ in answer.aiter_lines():
                left -= 1
                if left == 0:
                    return

    async def stop_reading(self) -> None:
        """Reads nothing of a long stream for a while, then goes."""
        self.counts["stopped reading"] += 1
        host, port = self.url.removeprefix("http://").split(":")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.setblocking(False)
        body = self.body(max_new_tokens=600, ignore_eos=True) | {"stream": True, "return_logprob": True}
        data = json.dumps(body | {"top_logprobs_num": 20}).encode()
        head = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(data)
        try:
            await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
            await asyncio.get_running_loop().sock_sendall(raw, head + data)
            await asyncio.sleep(self.draw.random() * 10)
        finally:
            raw.close()

    async def session(self, client: httpx.AsyncClient) -> None:
        opened = await client.post("/open_session", json={"capacity_of_str_len": 2000})
        self.expect("session", opened.status_code, (200,))
        session, rid = opened.json(), None
        for _ in range(self.draw.randrange(1, 4)):
            params = {"id": session} | ({"rid": rid} if rid else {})
            answer = await client.post("/generate", json=self.body() | {"session_params": params})
            self.expect("session", answer.status_code, (200,))
            rid = answer.json()["meta_info"]["id"]
        closed = await client.post("/close_session", json={"session_id": session})
        self.expect("session", closed.status_code, (200,))

    async def client(self, until: float) -> None:
        limits = httpx.Limits(max_keepalive_connections=1)
        async with httpx.AsyncClient(base_url=self.url, timeout=300, trust_env=False, limits=limits) as client:
            while time.monotonic() < until:
                try:
                    await self.one(client)
                except httpx.TransportError as error:
                    self.wrong.append(f"transport: {error!r}")


def family(pid: int) -> list[int]:
    """The process and what it started."""
    pids, found = [pid], []
    while pids:
        found.append(pids.pop())
        try:
            pids += map(int, Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text().split())
        except OSError:
            found.pop()
    return found


def sizes(pid: int) -> tuple[int, int]:
    """(bytes of memory of their own, open descriptors) of a server and its engine.

    Pages of files are left out: they are the system's, and count as a process's own only while no other maps them.
    """
    memory = descriptors = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                memory += int(line.split()[1]) * 1024
        descriptors += len(os.listdir(f"/proc/{one}/fd"))
    return memory, descriptors


def settle(url: str, pid: int) -> None:
    """Until what a server makes once is there: K and V's memory, and what an idle engine builds for constraints."""
    for number in (5, 6, 7):  # memory of K and V counts from its first use on: all of it is used now
        body = {"input_ids": [number] * 4000, "sampling_params": {"max_new_tokens": 1}}
        httpx.post(f"{url}/generate", trust_env=False, timeout=300, json=body)
    for constraint in ({"regex": "[a-z]+"}, {"json_schema": '{"type": "object"}'}):
        body = {"text": "a", "sampling_params": {"max_new_tokens": 4, **constraint}}
        httpx.post(f"{url}/generate", trust_env=False, timeout=300, json=body)
    deadline, seen = time.monotonic() + 60, [sizes(pid)[0]]
    while len(seen) < 4 or (max(seen[-4:]) - min(seen[-4:]) > 2**18 and time.monotonic() < deadline):
        time.sleep(2)
        seen.append(sizes(pid)[0])


def gauges(url: str) -> dict:
    while True:  # empty where the engine did not answer within a second
        if now := httpx.get(f"{url}/get_server_info", trust_env=False, timeout=60).json()["internal_states"][0]:
            return now


def flushed(url: str) -> dict:
    """The gauges once everything has ended and the cache is empty."""
    deadline = time.monotonic() + 120
    while (now := gauges(url))["num_running_reqs"] or now["num_queue_reqs"]:
        if time.monotonic() > deadline:
            return now
        time.sleep(0.2)
    httpx.post(f"{url}/flush_cache", trust_env=False, timeout=60)
    return gauges(url)


async def run(soak: Soak, clients: int, seconds: float, measure) -> None:
    begun = time.monotonic()
    ends = [begun + seconds] * clients + [begun + seconds / 4] * clients
    tasks = [asyncio.create_task(soak.client(end)) for end in ends]
    while pending := [task for task in tasks if not task.done()]:
        await asyncio.wait(pending, timeout=min(60.0, seconds / 8))
        measure(time.monotonic() - begun)
    await asyncio.gather(*tasks)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--clients", type=int, default=12)
    options.add_argument("--port", type=int, default=31249)
    options.add_argument("--model-path", default=MODEL)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    resolve_model(given.model_path)  # a wrong name is told here
    url = f"http://127.0.0.1:{given.port}"
    command = [sys.executable, "-m", "radixlang.launch_server", "--port", str(given.port)]
    command += ["--model-path", given.model_path, "--max-total-tokens", "8192", "--log-level", "warning"]
    server = subprocess.Popen(command)
    found: list[str] = []
    try:
        while True:
            try:
                if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                assert server.poll() is None, "the server did not start"
            time.sleep(0.1)
        soak, seen = Soak(url, given.seed), []
        settle(url, server.pid)

        def measure(seconds: float) -> None:
            memory, descriptors = sizes(server.pid)
            now = gauges(url)
            seen.append((seconds, memory, descriptors))
            print(
                f"{seconds:6.0f} s: {sum(soak.counts.values()):6} requests, {now['num_running_reqs']} running, "
                f"{now['num_queue_reqs']} waiting, {now['num_paused_reqs']} paused, {now['num_kept_streams']} kept, "
                f"{memory / 2**20:.1f} MiB, {descriptors} descriptors",
                flush=True,
            )

        asyncio.run(run(soak, given.clients, 60 * given.minutes, measure))
        end = flushed(url)
        memory, descriptors = sizes(server.pid)
        print(dict(soak.counts))
        for name in ("num_running_reqs", "num_queue_reqs", "num_used_tokens", "kv_evictable_tokens", "num_paused_reqs",
                     "num_kept_streams", "num_pins", "kv_leaked_tokens_total", "num_failed_steps"):  # fmt: skip
            if end[name]:
                found.append(f"{name} is {end[name]} at the end")
        if end["kv_available_tokens"] != end["max_total_num_tokens"]:
            found.append(f"{end['max_total_num_tokens'] - end['kv_available_tokens']} slots are lost")
        quarter, half = (next(m for s, m, _ in seen if s >= share * 60 * given.minutes) for share in (0.25, 0.5))
        growth = memory / half - 1
        told = f"memory: {quarter / 2**20:.1f} MiB after a quarter, {half / 2**20:.1f} after half of the time"
        print(f"{told}, {memory / 2**20:.1f} at the end ({growth:+.2%} since half)")
        print(f"descriptors: {seen[0][2]} at first, {descriptors} at the end")
        if growth > 0.01 and given.minutes >= 5:
            found.append(f"memory grew by {growth:.2%}")
        if descriptors > seen[0][2] and descriptors > 80:
            found.append(f"descriptors grew from {seen[0][2]} to {descriptors}")
        found += soak.wrong[:20]
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    if code:
        found.append(f"the server ended with {code}")
    for line in found:
        print("FAILED", line)
    print("nothing leaked, nothing grew" if not found else f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    run_main(main)
