"""The engine's process: started, heard, restarted, found stuck, never left behind."""

import asyncio
import os
import signal
import time

import pytest

from radixlang.errors import EngineDead, OverloadedError, RequestError
from radixlang.runtime import processes
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Control, Failed, Outputs, Ready, Reply, Submit, Submits
from radixlang.runtime.processes import EngineSupervisor
from radixlang.runtime.sampling_params import SamplingParams

BEGIN = """
from radixlang.runtime.engine_process import child_setup
from radixlang.runtime.messages import *
import os, signal, time
config, socket = child_setup()
"""
SERVES = (
    BEGIN
    + """
socket.send(Ready(info={"pid": os.getpid(), "model": config.model_path}))
while True:
    received = socket.receive(None)
    for message in [one for m in received for one in (m.items if isinstance(m, Submits) else [m])]:
        if isinstance(message, Submit):
            if message.token_ids == [13]:
                os.kill(os.getpid(), signal.SIGKILL)
            socket.send(Outputs(items=[Output(rid=message.rid, token_ids=[1], finish=Finish(type="length", length=1))]))
            continue
        if message.action == "shutdown":
            raise SystemExit(0)
        if message.action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if message.action == "hang":
            time.sleep(3600)
        socket.send(Reply(id=message.id, data={"action": message.action}))
"""
)


class Watched:
    """A supervisor and what its engine said."""

    def __init__(self, program, **options):
        self.heard = []
        self.supervisor = EngineSupervisor(EngineConfig(model_path="m"), self.heard.append, program=program, **options)

    async def __aenter__(self):
        self.supervisor.start()
        return self

    async def __aexit__(self, *exc):
        await self.supervisor.stop()

    async def until(self, kind, count=1):
        """The messages of this kind once there are `count`."""
        deadline = time.monotonic() + 30
        while len(found := [m for m in self.heard if isinstance(m, kind)]) < count:
            assert time.monotonic() < deadline, self.heard
            await asyncio.sleep(0.01)
        return found


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_messages_go_both_ways_and_stop_ends_the_process():
    async def run():
        async with Watched(SERVES) as w:
            with pytest.raises(OverloadedError):
                w.supervisor.send(Control(id="early", action="x"))
            (ready,) = await w.until(Ready)
            assert ready.info["model"] == "m"
            assert w.supervisor.state == "ready"
            w.supervisor.send(Control(id="a", action="stats"))
            assert (await w.until(Reply))[0] == Reply(id="a", data={"action": "stats"})
        return ready.info["pid"]

    assert gone(asyncio.run(run()))


def test_a_dead_engine_is_told_and_started_again():
    async def run():
        async with Watched(SERVES) as w:
            (first,) = await w.until(Ready)
            w.supervisor.send(Control(id="a", action="die"))
            (failed,) = await w.until(Failed)
            assert failed.kind == "EngineDead"
            assert "SIGKILL" in failed.message
            with pytest.raises(EngineDead):
                w.supervisor.send(Control(id="b", action="stats"))
            _, second = await w.until(Ready, 2)
            assert second.info["pid"] != first.info["pid"]
            w.supervisor.send(Control(id="c", action="stats"))
            assert [r.id for r in await w.until(Reply)] == ["c"]

    asyncio.run(run())


def test_a_request_that_ran_at_two_deaths_is_refused_and_others_are_not(monkeypatch):
    monkeypatch.setattr(processes, "_BACK_OFF_S", (0.0,))

    def submit(rid, *token_ids):
        return Submit(rid=rid, token_ids=list(token_ids), sampling=SamplingParams())

    async def run():
        async with Watched(SERVES) as w:
            for death in (1, 2):
                await w.until(Ready, death)
                w.supervisor.send(submit(f"before-{death}", 1, 2))
                await w.until(Outputs, death)
                w.supervisor.send(Submits([submit(f"poison-{death}", 13), submit(f"beside-{death}", death)]))
                await w.until(Failed, death)
            await w.until(Ready, 3)
            for again in (submit("poison-3", 13), Submits([submit("fine", 9), submit("poison-3", 13)])):
                with pytest.raises(RequestError, match="engine died, 2 times") as refused:
                    w.supervisor.send(again)
                assert refused.value.code == "poison_pill"
            w.supervisor.send(submit("after", 1, 2))
            await w.until(Outputs, 3)
            assert w.supervisor.state == "ready"

    asyncio.run(run())


def test_what_is_being_loaded_is_known():
    async def run():
        async with Watched(
            BEGIN + "socket.send(Loading(what='the weights')); socket.receive(None); socket.close()"
        ) as w:
            assert w.supervisor.loading == "the engine starts"
            deadline = time.monotonic() + 30
            while w.supervisor.loading != "the weights":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            with pytest.raises(OverloadedError):
                w.supervisor.send(Control(id="early", action="x"))

    asyncio.run(run())


def test_a_stopped_process_counts_as_stuck(monkeypatch):
    """SIGSTOP: the process is there and does not answer."""
    monkeypatch.setattr(processes, "_PING_EVERY_S", 0.05)
    monkeypatch.setattr(processes, "_GRACE_S", 0.2)

    async def run():
        async with Watched(SERVES, stuck_after_s=0.5) as w:
            (first,) = await w.until(Ready)
            os.kill(first.info["pid"], signal.SIGSTOP)
            (failed,) = await w.until(Failed)
            assert "SIGKILL" in failed.message
            _, second = await w.until(Ready, 2)
            assert second.info["pid"] != first.info["pid"]

    asyncio.run(run())


def test_restarts_wait_longer_each_time(monkeypatch):
    monkeypatch.setattr(processes, "_BACK_OFF_S", (0.011, 0.012, 0.013))
    slept = []
    sleep = asyncio.sleep

    async def noting(seconds):
        slept.append(seconds)
        await sleep(seconds)

    async def run():
        async with Watched(SERVES) as w:
            monkeypatch.setattr(processes.asyncio, "sleep", noting)
            for death in range(1, 5):
                await w.until(Ready, death)
                w.supervisor.send(Control(id="x", action="die"))
                await w.until(Failed, death)

    asyncio.run(run())
    assert [s for s in slept if s in (0.011, 0.012, 0.013)][:4] == [0.011, 0.012, 0.013, 0.013]


def test_five_deaths_in_a_minute_are_enough(monkeypatch):
    monkeypatch.setattr(processes, "_BACK_OFF_S", (0.0,))

    async def run():
        async with Watched(SERVES) as w:
            for death in range(1, 6):
                await w.until(Ready, death)
                w.supervisor.send(Control(id="x", action="die"))
                await w.until(Failed, death)
            assert w.supervisor.state == "down"
            assert w.supervisor.pid is None

    asyncio.run(run())


def test_a_model_that_does_not_load_is_told_once_and_not_tried_again():
    async def run():
        async with Watched(
            BEGIN + "socket.send(Failed(message='bad file', kind='BadCheckpoint')); socket.close()"
        ) as w:
            (failed,) = await w.until(Failed)
            assert (failed.message, failed.kind) == ("bad file", "BadCheckpoint")
            assert w.supervisor.state == "down"

    asyncio.run(run())


def test_an_engine_that_crashes_while_loading_says_how():
    async def run():
        async with Watched(BEGIN + "raise SystemExit(7)") as w:
            (failed,) = await w.until(Failed)
            assert "exit code 7" in failed.message

    asyncio.run(run())


def test_a_stuck_engine_is_seen_killed_and_replaced(monkeypatch):
    monkeypatch.setattr(processes, "_PING_EVERY_S", 0.05)
    monkeypatch.setattr(processes, "_GRACE_S", 0.2)

    async def run():
        async with Watched(SERVES, stuck_after_s=0.5) as w:
            await w.until(Ready)
            w.supervisor.send(Control(id="a", action="hang"))
            deadline = time.monotonic() + 30
            while w.supervisor.state != "stuck":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            await w.until(Failed)
            await w.until(Ready, 2)

    asyncio.run(run())


def test_the_engine_does_not_outlive_a_killed_parent(tmp_path):
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import asyncio, sys\n"
        "from radixlang.runtime.config import EngineConfig\n"
        "from radixlang.runtime.processes import EngineSupervisor\n"
        "async def run():\n"
        "    told = asyncio.Event()\n"
        "    def hear(m):\n"
        "        print(m.info['pid'], flush=True)\n"
        f"    s = EngineSupervisor(EngineConfig(), hear, program={SERVES!r})\n"
        "    s.start()\n"
        "    await told.wait()\n"
        "asyncio.run(run())\n"
    )
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(pid)
