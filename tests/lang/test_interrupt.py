"""Ctrl-C while a program runs: it reaches the caller at once, and ends what the program had under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys, threading
import radixlang as sgl
from radixlang.lang.backend.base_backend import NativeBackend
from radixlang.runtime.programs.host import ProgramHost
from radixlang.runtime.programs.request import read_body

freed, begun = threading.Semaphore(0), []

class Hanging(NativeBackend):
    async def native_generate(self, request):
        begun.append(request)
        print("began", file=sys.stdout if len(begun) == 1 else sys.stderr, flush=True)
        try:
            await asyncio.sleep(3600)
            yield {}
        finally:
            freed.release()

    async def native_model_info(self):
        return {"model_path": "hanging", "eos_token_ids": [0]}

    async def native_run_program(self, request):
        run = ProgramHost().run(ProgramHost().prepare(read_body(request)), self)
        try:
            async for event in run:
                yield event
        finally:
            await run.aclose()

sgl.set_default_backend(Hanging())

@sgl.function
def p(s):
    s += "x" + sgl.gen("a", max_tokens=1)

@sgl.function
def reads(s):
    s += "x" + sgl.gen("a", max_tokens=1)
    s += s["a"]

@sgl.function
def votes(s):
    g = s.fork(1)
    g += sgl.gen("a", max_tokens=1)
    s["b"] = g.vote("a")

WAYS = {
    "text": lambda: p.run().text(),
    "value": lambda: p.run()["a"],
    "meta": lambda: p.run().get_meta_info("a"),
    "body": lambda: reads.run(),
    "vote": lambda: votes.run(),
    "stream": lambda: list(p.run(stream=True).text_iter("a")),
    "batch": lambda: p.run_batch([{}]),
    "compiled": lambda: p.compile().run()["a"],
    "compiled batch": lambda: p.compile().run_batch([{}, {}]),
    "remote": lambda: p.compile().run(remote=True).text(),
    "inline": lambda: p.run(use_thread=False),
}
try:
    WAYS[sys.argv[1]]()
except KeyboardInterrupt:
    number = len(begun)  # of two programs of a batch one may not have begun yet: it never does
    is_freed = all(freed.acquire(timeout=20) for _ in range(number)) and len(begun) == number
    print("interrupted", "freed" if is_freed else "leaked", flush=True)
"""
WAYS = ["text", "value", "meta", "body", "vote", "stream", "batch", "compiled", "compiled batch", "remote", "inline"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_ends_the_program(way):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert rest == "interrupted freed\n"
    assert process.returncode == 0
