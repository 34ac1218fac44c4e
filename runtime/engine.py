"""The engine in this process: SGLang's `Engine`, and a backend of the language without a server between."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from ..errors import ConfigError, EngineDead
from ..lang import loop as lang_loop
from . import native_api, native_run
from .assemble import assemble
from .config import EngineConfig, ServerConfig
from .foreign_flags import IGNORED_FLAGS
from .front import Front
from .messages import Control, FromEngine, ToEngine
from .programs.front_backend import FrontBackend
from .programs.host import ProgramHost

logger = logging.getLogger(__name__)


class Engine(FrontBackend):
    """Runs a model in this process.

        engine = Engine(model_path="smollm2-135m-instruct")
        engine.generate("Hello", {"max_new_tokens": 8})["text"]
        sgl.set_default_backend(engine)

    Keyword arguments are the fields of EngineConfig; SGLang's others are warned of. Raises ConfigError for those that
    nobody knows, and what loading a model raises.
    """

    def __init__(self, **options: Any) -> None:
        config = engine_config(options)
        self.config = config
        self._loop = lang_loop.background_loop()
        self._closed = False
        self._assembled = assemble(config, self._deliver)
        scheduler = self._assembled.scheduler
        files = self._assembled.files
        info = {**files.info, **self._assembled.facts}
        super().__init__(Front(_InProcess(scheduler.post), files.tokenizer, info), host=ProgramHost())
        self.tokenizer = files.tokenizer
        self._thread = threading.Thread(target=self._run, name="radixlang-scheduler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._assembled.scheduler.run()
        except BaseException as error:
            dead = EngineDead(f"the scheduler stopped: {type(error).__name__}: {error}")
            self._loop.call_soon_threadsafe(self.front.fail, dead)
            raise

    def _deliver(self, message: FromEngine) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.front.receive, message)

    # -- SGLang's offline interface

    def generate(  # type: ignore[override]  # SGLang's Engine.generate; the language calls native_generate
        self,
        prompt: str | list[str] | None = None,
        sampling_params: dict[str, Any] | list[dict[str, Any]] | None = None,
        input_ids: list[int] | list[list[int]] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> dict[str, Any] | list[dict[str, Any]] | Iterator[dict[str, Any]]:
        """POST /generate without HTTP: the answer, a list of them, or with `stream` an iterator of cumulative answers.

        `options`: the other fields of the request (return_logprob, top_logprobs_num, rid …).
        """
        body = _body(prompt, sampling_params, input_ids, stream, options)
        if stream:
            return self._iterate(body)
        return lang_loop.run(self._whole(body))

    async def async_generate(
        self,
        prompt: str | list[str] | None = None,
        sampling_params: dict[str, Any] | list[dict[str, Any]] | None = None,
        input_ids: list[int] | list[list[int]] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> dict[str, Any] | list[dict[str, Any]] | AsyncIterator[dict[str, Any]]:
        """`generate` for callers with a loop of their own."""
        body = _body(prompt, sampling_params, input_ids, stream, options)
        if stream:
            return self._aiterate(body)
        return await asyncio.wrap_future(lang_loop.spawn(self._whole(body)))

    def encode(self, prompt: str | list[str], **options: Any) -> dict[str, Any] | list[dict[str, Any]]:
        """{"embedding", "meta_info"} of each prompt: the final hidden state of its last token, float32."""
        return lang_loop.run(self._encode([prompt] if isinstance(prompt, str) else prompt, isinstance(prompt, str)))

    async def _encode(self, prompts: Sequence[str], is_single: bool) -> dict[str, Any] | list[dict[str, Any]]:
        call = native_api.parse(
            native_api.convert({"text": list(prompts), "sampling_params": {"max_new_tokens": 0, "temperature": 0}})
        )
        for request in call.requests:
            request.want_hidden = True
        answers = await native_run.whole(self.front, call)
        assert isinstance(answers, list)
        shaped = [{"embedding": a["embedding"], "meta_info": a["meta_info"]} for a in answers]
        return shaped[0] if is_single else shaped

    def abort_request(self, rid: str = "", abort_all: bool = False) -> None:
        """Ends the request of exactly this id, or all."""
        lang_loop.run(self.front.abort_all() if abort_all else self.front.abort(rid))

    def flush_cache(self) -> bool:
        """Drops everything from the prefix cache that no running request holds."""
        return lang_loop.run(self.front.flush_cache())

    def load_lora_adapter(self, lora_name: str, lora_path: str) -> dict[str, str]:
        """From now on requests may name it as their `lora_path`. Name to folder of all that are loaded.

        `lora_path`: a folder as peft saves it. Raises RequestError for one that does not fit, or a name that is taken.
        """
        lang_loop.run(self.front.adapters.load(lora_name, lora_path))
        return self.front.adapters.paths

    def unload_lora_adapter(self, lora_name: str) -> dict[str, str]:
        """Raises RequestError for an unknown one, and while requests use it."""
        lang_loop.run(self.front.adapters.unload(lora_name))
        return self.front.adapters.paths

    def open_session(
        self, capacity_of_str_len: int, session_id: str | None = None, *, timeout: float | None = None
    ) -> str:
        """The id of a session: requests with `session_params` {"id", "rid", "offset", "replace",
        "drop_previous_output"} send only what is new. `timeout`: seconds without a request after which it is closed.
        """
        return lang_loop.run(self.front.sessions.open(capacity_of_str_len, session_id, timeout_s=timeout))

    def close_session(self, session_id: str) -> None:
        """Aborts what runs of it and releases what it holds. Raises RequestError for an unknown one."""
        lang_loop.run(self.front.sessions.close(session_id))

    def get_server_info(self) -> dict[str, Any]:
        """Configuration and counters, as GET /get_server_info tells them."""
        return lang_loop.run(self.native_server_info())

    def shutdown(self) -> None:
        """Stops the scheduler and frees model and cache; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self.front.fail, EngineDead("the engine was shut down"))
        self._assembled.scheduler.post(Control(id="shutdown", action="shutdown"))
        self._thread.join(30)
        self._assembled.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    async def _whole(self, body: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        return await native_run.whole(self.front, native_api.parse(native_api.convert(body)))

    def _iterate(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pieces: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                call = native_api.parse(native_api.convert(body))
                async for piece in native_run.stream(self.front, call):
                    pieces.put(piece)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        task = lang_loop.spawn(pump())
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            task.cancel()

    async def _aiterate(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        own = asyncio.get_running_loop()
        pieces: asyncio.Queue[dict[str, Any] | BaseException | None] = asyncio.Queue()

        async def pump() -> None:
            last: BaseException | None = None
            try:
                call = native_api.parse(native_api.convert(body))
                async for piece in native_run.stream(self.front, call):
                    own.call_soon_threadsafe(pieces.put_nowait, piece)
            except BaseException as error:
                last = error
            own.call_soon_threadsafe(pieces.put_nowait, last)

        task = lang_loop.spawn(pump())
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            task.cancel()

    # -- the language's backend; coroutines of the language's loop

    def get_model_name(self) -> str:
        """The model's path or name, as it was given."""
        return self.config.model_path

    async def native_register_program(self, name: str, graph: dict[str, Any]) -> None:
        assert self.host is not None
        self.host.register(name, graph)

    async def native_flush_cache(self) -> bool:
        return await self.front.flush_cache()

    async def native_server_info(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.config), **self.front.info, "internal_states": [await self.front.stats()]}


class _InProcess:
    """The link to a scheduler of this process."""

    def __init__(self, post: Callable[[ToEngine], None]) -> None:
        self._post = post

    def send(self, message: ToEngine) -> None:
        self._post(message)


def engine_config(options: dict[str, Any]) -> EngineConfig:
    """An EngineConfig of keyword arguments. Those of a server, and SGLang's that mean nothing here, are warned of.

    Raises ConfigError naming an unknown one and those that exist.
    """
    paths = options.get("lora_paths")
    if paths is not None:
        named = [f"{name}={path}" for name, path in paths.items()] if isinstance(paths, dict) else paths
        options = {**options, "lora_paths": tuple(named)}
    known = {f.name for f in dataclasses.fields(EngineConfig)}
    idle = {f.name for f in dataclasses.fields(ServerConfig)}
    idle |= {flag.removeprefix("--").replace("-", "_") for flag in IGNORED_FLAGS}
    for name in sorted(set(options) - known):
        if name not in idle:
            raise ConfigError(f"Engine has no option {name!r}; it has {', '.join(sorted(known))}", param=name)
        logger.warning("Engine(%s=...) has no effect", name)
    # Nobody but this process asks: a queue without a bound, unless one is given.
    return EngineConfig(**{"max_queued_requests": 2**20, **{k: v for k, v in options.items() if k in known}})


def _body(prompt: Any, sampling_params: Any, input_ids: Any, stream: bool, options: dict[str, Any]) -> dict[str, Any]:
    body = {"text": prompt, "input_ids": input_ids, "sampling_params": sampling_params, "stream": stream, **options}
    return {k: v for k, v in body.items() if v is not None}
