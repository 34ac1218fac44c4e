"""A server from its first port to its last answer: listen, start the engine, serve, drain.

The port answers before the model is there (503 with the reason). SIGTERM: /ready says no at once, new work is refused
after the drain time, running requests finish or are aborted at the deadline, exit code 0. A second signal cuts short.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator

import uvicorn
import uvloop

from ...errors import (
    BadCheckpoint,
    ConfigError,
    EngineDead,
    InternalError,
    ModelError,
    ModelNotFound,
    RadixlangError,
    UnsupportedModel,
)
from ..config import EngineConfig, ServerConfig
from ..engine_start import StartedEngine
from ..heap import give_back_freed
from ..messages import Failed, FromEngine, Ready
from ..model_files import ModelFiles, open_model
from ..processes import EngineSupervisor
from .metered import MeteredFront
from .protocol import BoundedProtocol
from .service import Service
from .table import make_app

logger = logging.getLogger(__name__)

_ABORT_GRACE_S = 2.0
_LATER_S = 0.25
"""After being ready, the server loads the routes that nobody asked for yet; a first request comes before."""
_ERRORS: dict[str, type[RadixlangError]] = {
    kind.__name__: kind for kind in (ConfigError, ModelError, ModelNotFound, BadCheckpoint, UnsupportedModel)
}


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """One run of the server. `engine` and `server` as given on the command line; `started`: the engine's process."""

    def __init__(self, engine: EngineConfig, server: ServerConfig, started: StartedEngine) -> None:
        self._engine_config = engine
        self._config = server
        self.service = Service(engine, server)
        self._app = make_app(self.service)
        self._front: MeteredFront | None = None
        self._ready: Ready | None = None
        self._files: ModelFiles | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._error: RadixlangError | None = None
        self._loading: asyncio.Task[None] | None = None
        self._supervisor = EngineSupervisor(engine, self._receive, stuck_after_s=server.stuck_after, started=started)
        self.service.engine_state = lambda: self._supervisor.state
        self.service.engine_age_s = lambda: self._supervisor.answer_age_s
        self.service.loading = lambda: self._supervisor.loading

    async def run(self, listener: socket.socket) -> None:
        """Serves until a signal. Raises what kept the model from loading."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        self._supervisor.start()
        config = uvicorn.Config(
            self._app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=3,
            ssl_certfile=self._config.ssl_certfile,
            ssl_keyfile=self._config.ssl_keyfile,
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        server = _Server(config)
        serving = loop.create_task(server.serve(sockets=[listener]))
        opening = loop.create_task(self._open())
        stopping = loop.create_task(self._stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._error is None and not serving.done():
                await self._drain()
        finally:
            server.should_exit = True
            await self.service.sweeper.close()
            await self._supervisor.stop()
            await serving
            rest = [opening, stopping, *([self._loading] if self._loading is not None else [])]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def _open(self) -> None:
        """Headers and tokenizer, while the engine loads the weights."""
        try:
            files = await asyncio.to_thread(open_model, self._engine_config, progress=False)
            await asyncio.to_thread(lambda: files.info)
            files.checkpoint.forget_pages()
            give_back_freed()
        except RadixlangError as error:
            self._give_up(error)
            return
        except Exception as error:  # whatever it is: a server that loads for ever helps nobody
            logger.exception("the model cannot be opened")
            self._give_up(InternalError(f"the model cannot be opened: {type(error).__name__}: {error}"))
            return
        self._files = files
        self._connect()

    def _connect(self) -> None:
        """Requests are taken once both halves are there."""
        if self._files is None or self._ready is None or self._front is not None:
            return
        info = {**self._files.info, **self._ready.info}
        try:
            service = self.service
            front = MeteredFront(self._supervisor, self._files.tokenizer, info, service.metrics, service.tenants)
        except RadixlangError as error:  # a chat template that does not compile
            told = f"{self._engine_config.model_path}: {error.message}; give another with --chat-template"
            self._give_up(ConfigError(told, param="chat_template"))
            return
        self._front = front
        front.receive(self._ready)
        self.service.serve(front)
        asyncio.get_running_loop().call_later(_LATER_S, self._load_all_routes)
        seconds = time.monotonic() - self.service.started
        scheme = "https" if self._config.ssl_certfile else "http"
        logger.info("ready in %.2f s: %s://%s:%d", seconds, scheme, self._config.host, self._config.port)

    def _load_all_routes(self) -> None:
        self._loading = asyncio.get_running_loop().create_task(self._app.complete())

    def _receive(self, message: FromEngine) -> None:
        if isinstance(message, Ready):
            self._ready = message
            if self._front is None:
                self._connect()
                return
            logger.warning("a new engine serves")
            self._front.info.update(message.info)
        elif isinstance(message, Failed) and self._front is None:
            self._give_up(_ERRORS.get(message.kind, EngineDead)(message.message))
            return
        if self._front is not None:
            self._front.receive(message)

    def _give_up(self, error: RadixlangError) -> None:
        if self._error is None:
            self._error = error
            self.service.failure = error.message
        self._stop.set()

    def _signalled(self, number: int) -> None:
        logger.info("%s: shutting down", signal.Signals(number).name)
        if self._stop.is_set() or number == signal.SIGINT:
            self._hurry.set()
        self._stop.set()

    async def _drain(self) -> None:
        service, config = self.service, self._config
        service.is_leaving = True
        await self._unless_hurried(config.shutdown_drain_secs)
        service.is_draining = True
        deadline = time.monotonic() + config.shutdown_timeout
        while service.num_active and time.monotonic() < deadline and not self._hurry.is_set():
            await self._unless_hurried(0.02)
        if service.num_active and self._front is not None:
            logger.warning("%d requests are aborted", service.num_active)
            with contextlib.suppress(RadixlangError):
                await self._front.abort_all()
            deadline = time.monotonic() + _ABORT_GRACE_S
            while service.num_active and time.monotonic() < deadline:
                await asyncio.sleep(0.02)

    async def _unless_hurried(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)


def serve(engine: EngineConfig, server: ServerConfig, listener: socket.socket, started: StartedEngine) -> None:
    """Runs a server until SIGTERM or SIGINT. `started`: its engine. Raises RadixlangError when it cannot start."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)

    async def run() -> None:
        await Serving(engine, server, started).run(listener)

    try:
        loop.run_until_complete(run())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        listener.close()
        asyncio.set_event_loop(None)
        loop.close()
