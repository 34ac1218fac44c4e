"""Starts the process of an engine. Imports little: a server starts its engine first, and itself beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

import msgspec

from .config import EngineConfig

PROGRAM = "from radixlang.runtime.engine_process import run_child; run_child()"


class ChildSetup(msgspec.Struct):
    """What the child reads from its standard input: one line of JSON."""

    config: EngineConfig
    address: str
    identity: str
    parent: int
    log_level: str


class StartedEngine(NamedTuple):
    """An engine's process, and where it will be heard."""

    process: subprocess.Popen[bytes]
    folder: str
    """Of the socket; mode 0700."""
    identity: str


def socket_folder() -> str:
    """A new folder for a socket: mode 0700, random name."""
    return tempfile.mkdtemp(prefix="radixlang-")


def address_in(folder: str) -> str:
    return f"ipc://{os.path.join(folder, 'engine')}"


def start_engine(
    config: EngineConfig, *, log_level: str, folder: str, generation: int = 1, program: str = PROGRAM
) -> StartedEngine:
    """Returns at once. From the main thread: the child dies with the thread that forked it (PDEATHSIG).

    The socket need not be bound yet. Standard input stays open: its end tells the child that we are gone.
    """
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    identity = f"engine-{generation}"
    setup = ChildSetup(config, address_in(folder), identity, os.getpid(), log_level)
    process.stdin.write(msgspec.json.encode(setup) + b"\n")
    process.stdin.flush()
    return StartedEngine(process, folder, identity)
