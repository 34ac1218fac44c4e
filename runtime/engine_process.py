"""What runs in the process of an engine: the scheduler on the main thread, and a thread that reads its inbox."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time

import msgspec

from ..errors import RadixlangError
from .config import EngineConfig
from .engine_start import ChildSetup
from .log import set_up_logging
from .messages import Control, Failed, Loading, Ready
from .sockets import EngineSocket

logger = logging.getLogger(__name__)

_IDLE_S = 0.25
"""Without a request for so long, a part of what the first constraints will need is built."""
_NEW_S = 1.0
"""The same before the first request: until then the API's process may still load, and the request be on its way."""


def run_child() -> None:
    """What the engine process runs: the setup comes as one line of JSON on standard input."""
    gc.disable()  # little that loading makes is garbage; `main` turns it on again
    config, socket = child_setup()
    main(config, socket)


def child_setup() -> tuple[EngineConfig, EngineSocket]:
    """In the child: what the supervisor wrote on standard input, and the socket to it."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # it ended before it said all
        raise SystemExit(1)
    setup = msgspec.json.decode(line, type=ChildSetup)
    die_with_parent(setup.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the API process decides
    faulthandler.register(signal.SIGUSR1)
    set_up_logging(setup.log_level)
    return setup.config, EngineSocket(setup.address, setup.identity)


def die_with_parent(parent: int) -> None:
    """This process gets SIGKILL when the one that started it ends (Linux); elsewhere its standard input ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before we asked
        raise SystemExit(1)


def main(config: EngineConfig, socket: EngineSocket) -> None:
    """Loads the model, tells `Ready` (or `Failed`), and serves until Control "shutdown".

    `Ready` is sent before the loop starts; everything that follows is sent by the scheduler's thread.
    """
    try:
        from .assemble import assemble

        assembled = assemble(
            config, socket.send, late_tokenizer=True, tell=lambda what: socket.send(Loading(what=what))
        )
    except RadixlangError as error:
        socket.send(Failed(message=error.message, kind=type(error).__name__))
        socket.close()
        raise SystemExit(1) from None
    scheduler = assembled.scheduler
    stopping = threading.Event()

    def read() -> None:
        worked, patience = time.monotonic(), _NEW_S
        while not stopping.is_set():
            for message in socket.receive(_IDLE_S):
                scheduler.post(message)
                if isinstance(message, Control) and message.action == "shutdown":
                    return
            if not scheduler.is_idle:
                worked, patience = time.monotonic(), _IDLE_S
            elif time.monotonic() - worked > patience:
                assembled.grammars.warm()

    socket.send(Ready(info={**assembled.facts, "scheduler_pid": os.getpid()}))
    gc.freeze()  # what is loaded now stays; the collector need not look at it again
    gc.enable()
    reader = threading.Thread(target=read, name="radixlang-reader", daemon=True)
    reader.start()
    try:
        scheduler.run()
    finally:
        stopping.set()
        reader.join(2)
        assembled.close()
        socket.close()
