"""The engine's process: started, watched and started again.

`EngineSupervisor` lives in the API process. What the engine says arrives through one callback, and so does its death,
as `Failed(kind="EngineDead")`; a `Ready` after it means that a new engine serves. Restarts back off; five deaths in a
minute end them. Every few seconds the engine's loop is pinged: no answer in time means that a step is stuck, its
stacks are written to the log, and it is killed. The child never outlives this process (PDEATHSIG, and its standard
input ends).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable

from ..errors import EngineDead, OverloadedError
from .config import EngineConfig
from .engine_start import PROGRAM, StartedEngine, socket_folder, start_engine
from .messages import Abort, Control, Failed, FromEngine, Loading, Outputs, Ready, Reply, Submit, Submits, ToEngine
from .poison import Suspects
from .sockets import FrontSocket

logger = logging.getLogger(__name__)

_BACK_OFF_S = (0.1, 0.5, 2.0, 5.0)
_HEALTHY_AFTER_S = 60.0
_MAX_DEATHS = 5
_PING_EVERY_S = 2.0
_PING = "supervisor:"
_GRACE_S = 10.0
_MIN_DELAYS = 20
_LAST_WORDS_S = 0.05
"""For what an engine sent as it ended to arrive."""


class EngineSupervisor:
    """One engine process at a time. All methods on the event loop's thread.

    `on_message` gets what the engine sends, and `Failed` when it died (kind EngineDead) or could not load its model
    (another kind). `stuck_after_s`: how long a ping may stay unanswered. `started`: a first engine that runs already.
    """

    def __init__(
        self,
        config: EngineConfig,
        on_message: Callable[[FromEngine], None],
        *,
        stuck_after_s: float = 10.0,
        program: str = PROGRAM,
        started: StartedEngine | None = None,
    ) -> None:
        self._config = config
        self._program = program
        self._started = started
        self._on_message = on_message
        self._stuck_after_s = stuck_after_s
        self._folder = started.folder if started is not None else socket_folder()
        self._socket = FrontSocket(self._receive, self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._generation = 0
        self._watch: asyncio.Task[None] | None = None
        self._deaths: deque[float] = deque(maxlen=_MAX_DEATHS)
        self._ready = False
        self._ever_ready = False
        self._failed: Failed | None = None
        self._last_answer = 0.0
        self._asked = 0.0
        self._delays: deque[float] = deque(maxlen=256)
        self._in_flight: dict[str, Submit] = {}
        """What the engine has to answer, in order of arrival."""
        self._suspects = Suspects()
        self.loading = "the engine starts"
        """What an engine that loads is at."""
        self.state = "loading"
        """loading, ready, stuck, restarting, down (given up) or stopped."""

    @property
    def pid(self) -> int | None:
        """Of the engine process that runs now."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def answer_age_s(self) -> float:
        """Seconds since the engine's loop last answered or sent anything; 0 while it loads."""
        return time.monotonic() - self._last_answer if self._ready else 0.0

    def start(self) -> None:
        """Starts the process and returns at once; `Ready` or `Failed` comes by the callback."""
        self._spawn()
        self._watch = asyncio.get_running_loop().create_task(self._watch_engine())

    def send(self, message: ToEngine) -> None:
        """Raises OverloadedError (503) while no engine serves, EngineDead when it just went, RequestError for a request
        that was running at two deaths."""
        if not self._ready:
            if self.state == "loading":
                raise OverloadedError("the model is still loading", code="loading", retry_after_s=1)
            raise EngineDead("the engine is restarting" if self.state == "restarting" else "the engine is down")
        submits = [message] if isinstance(message, Submit) else message.items if isinstance(message, Submits) else []
        for submit in submits:
            self._suspects.check(submit)
        if not self._socket.send(message):
            raise EngineDead("the engine went away")
        self._in_flight.update((submit.rid, submit) for submit in submits)
        if isinstance(message, Abort):
            self._in_flight.pop(message.rid, None)

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Asks the engine to end, then kills it."""
        self.state = "stopped"
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        process = self._process
        if process is not None and process.poll() is None:
            if self._ready:
                self._socket.send(Control(id=f"{_PING}bye", action="shutdown"))
            else:
                process.terminate()
            deadline = time.monotonic() + timeout_s
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            if process.poll() is None:
                process.kill()
            process.wait()
        if process is not None and process.stdin is not None:
            process.stdin.close()
        self._ready = False
        self._socket.close()

    def _spawn(self) -> None:
        self._generation += 1
        started, self._started = self._started, None
        if started is None:
            started = start_engine(
                self._config,
                log_level=logging.getLevelName(logger.getEffectiveLevel()).lower(),
                folder=self._folder,
                generation=self._generation,
                program=self._program,
            )
        self._socket.listen(started.identity)
        self._process = started.process
        self._failed = None

    def _receive(self, message: FromEngine) -> None:
        self._last_answer = time.monotonic()
        if isinstance(message, Outputs):
            for output in message.items:
                if output.finish is not None:
                    self._in_flight.pop(output.rid, None)
        elif isinstance(message, Ready):
            self._ready = self._ever_ready = True
            self.state = "ready"
            message.info.setdefault("scheduler_pid", self.pid)
        elif isinstance(message, Loading):
            self.loading = message.what
            return
        elif isinstance(message, Failed):
            self._failed = message  # told when the process is gone
            return
        elif isinstance(message, Reply) and message.id.startswith(_PING):
            self._delays.append(self._last_answer - self._asked)
            return
        self._on_message(message)

    async def _watch_engine(self) -> None:
        while True:
            code = await self._wait_for_end()
            await asyncio.sleep(_LAST_WORDS_S)
            self._socket.drain()
            self._ready = False
            process, self._process = self._process, None
            if process is not None and process.stdin is not None:
                process.stdin.close()
            if not self._tell_death(code):
                return
            delay = _BACK_OFF_S[min(len(self._deaths) - 1, len(_BACK_OFF_S) - 1)]
            logger.warning("the engine is started again in %.1f s", delay)
            await asyncio.sleep(delay)
            self._spawn()

    def _tell_death(self, code: int) -> bool:
        """Reports the end of the process. True: start another."""
        failed = self._failed or Failed(message=f"the engine process ended ({_describe(code)})", kind="EngineDead")
        if not self._ever_ready:  # the model, or the machine: trying again would not help
            self.state = "down"
            self._on_message(failed)
            return False
        now = time.monotonic()
        if self._deaths and now - self._deaths[-1] > _HEALTHY_AFTER_S:
            self._deaths.clear()
        self._deaths.append(now)
        running = list(self._in_flight.values())[: self._config.max_running_requests]
        self._suspects.note_death(running)
        self._in_flight.clear()
        given_up = len(self._deaths) == _MAX_DEATHS and now - self._deaths[0] < _HEALTHY_AFTER_S
        self.state = "down" if given_up else "restarting"
        logger.error("%s%s", failed.message, f": given up after {_MAX_DEATHS} deaths in a minute" if given_up else "")
        self._on_message(Failed(message=failed.message, kind="EngineDead"))
        return not given_up

    def _patience_s(self) -> float:
        """How long an answer may take: more where steps are known to take long."""
        delays = sorted(self._delays)
        usual = delays[int(len(delays) * 0.99)] if len(delays) >= _MIN_DELAYS else 0.0
        return max(self._stuck_after_s, 20 * usual)

    async def _wait_for_end(self) -> int:
        """Polls the process and pings its loop. Returns the exit code (negative: the signal)."""
        process = self._process
        assert process is not None
        next_ping, warned = 0.0, 0.0
        self._asked = 0.0
        while (code := process.poll()) is None:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if not self._ready:
                continue
            is_answered = self._last_answer >= self._asked
            if is_answered:
                warned = 0.0
                if self.state == "stuck":
                    self.state = "ready"
                if now >= next_ping:
                    next_ping, self._asked = now + _PING_EVERY_S, now
                    self._socket.send(Control(id=f"{_PING}{self._generation}", action="ping"))
            elif not warned and now - self._asked > self._patience_s():
                self.state, warned = "stuck", now
                logger.error("the engine has not answered for %.0f s; its stacks follow", now - self._asked)
                process.send_signal(signal.SIGUSR1)
            elif warned and now - warned > _GRACE_S:
                process.kill()
        return code


def _describe(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
