"""What runs in the process of an engine: the scheduler on the main thread, and a thread that reads its inbox."""

from __future__ import annotations

import gc
import logging
import os
import threading

from ..errors import RadixlangError
from .assemble import assemble
from .config import EngineConfig
from .messages import Control, Failed, Ready
from .sockets import EngineSocket

logger = logging.getLogger(__name__)


def main(config: EngineConfig, socket: EngineSocket) -> None:
    """Loads the model, tells `Ready` (or `Failed`), and serves until Control "shutdown".

    `Ready` is sent before the loop starts; everything that follows is sent by the scheduler's thread.
    """
    try:
        assembled = assemble(config, socket.send)
    except RadixlangError as error:
        socket.send(Failed(message=error.message, kind=type(error).__name__))
        socket.close()
        raise SystemExit(1) from None
    scheduler = assembled.scheduler
    stopping = threading.Event()

    def read() -> None:
        while not stopping.is_set():
            for message in socket.receive(0.5):
                scheduler.post(message)
                if isinstance(message, Control) and message.action == "shutdown":
                    return

    socket.send(Ready(info={**assembled.files.info, "scheduler_pid": os.getpid()}))
    gc.collect()
    gc.freeze()  # what is loaded now stays; the collector need not look at it again
    reader = threading.Thread(target=read, name="radixlang-reader", daemon=True)
    reader.start()
    try:
        scheduler.run()
    finally:
        stopping.set()
        reader.join(2)
        assembled.close()
        socket.close()
