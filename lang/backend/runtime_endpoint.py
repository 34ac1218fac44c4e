"""A radixlang (or SGLang) server over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from ...errors import RadixlangError
from ..chat_template import get_chat_template
from ..loop import run
from ..model_template import template_of_model
from .base_backend import NativeBackend
from .connections import Connections
from .sse import connection_error, events, raise_for

if TYPE_CHECKING:
    from ..runtime_process import Runtime as Runtime

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0
"""Between two pieces of an answer; a queued request sends nothing while it waits."""
MAX_CONNECTIONS = 256


class RuntimeEndpoint(NativeBackend):
    """The server at `base_url`. Asks for its model at once: RadixlangError if it does not answer.

    verify: a CA file, or False for none. chat_template_name: a named template in place of the model's own.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: str | bool | None = None,
        chat_template_name: str | None = None,
    ) -> None:
        super().__init__()
        self.support_concate_and_append = False
        self.base_url = base_url.rstrip("/")
        self.api_key = api_key
        self.verify = verify
        self._connections: Connections | None = None
        self.model_info: dict[str, Any] = run(self._get("/get_model_info"))
        self.joins_gens = bool(self.model_info.get("joins_gens"))
        self.counts_programs = bool(self.model_info.get("counts_programs"))
        named = chat_template_name is not None
        self.use_chat_template(
            get_chat_template(str(chat_template_name)) if named else template_of_model(self.model_info)
        )

    def get_model_name(self) -> str:
        """The path of the server's model."""
        return str(self.model_info["model_path"])

    # -- requests ----------------------------------------------------------------------------------------------

    def _http(self) -> contextlib.AbstractAsyncContextManager[httpx.AsyncClient]:
        """A connection; used on the language's loop alone."""
        if self._connections is None:
            headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
            verify: ssl.SSLContext | bool = False  # reading the certificates takes its time, and once is enough
            if self.base_url.startswith("https:"):
                verify = httpx.create_ssl_context(verify=True if self.verify is None else self.verify)
            make = partial(
                httpx.AsyncClient,
                base_url=self.base_url,
                headers=headers,
                verify=verify,
                timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            )
            self._connections = Connections(make, MAX_CONNECTIONS)
        return self._connections.one()

    async def _get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._answer("GET", path, None)
        return answer

    async def _post(self, path: str, body: Any) -> Any:
        return await self._answer("POST", path, body)

    async def _answer(self, method: str, path: str, body: Any) -> Any:
        async with self._http() as client:
            return await self._exchange(client, method, path, body)

    async def _exchange(self, client: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
        try:
            response = await client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise connection_error(error, self.base_url + path) from error
        await raise_for(response)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json else {"text": response.text}

    async def native_generate(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        request = {"rid": uuid.uuid4().hex, **request}
        async with self._abortable(request["rid"]) as client:
            if not request.get("stream"):
                answer = await self._exchange(client, "POST", "/generate", request)
                for index, one in enumerate(answer if isinstance(answer, list) else [answer]):
                    yield {"index": index, **one}
                return
            try:
                async with client.stream("POST", "/generate", json=request) as response:
                    await raise_for(response)
                    async for event in events(response):
                        yield event
            except httpx.HTTPError as error:
                raise connection_error(error, self.base_url + "/generate") from error

    @contextlib.asynccontextmanager
    async def _abortable(self, rid: str) -> AsyncIterator[httpx.AsyncClient]:
        """A connection for a request, which is aborted on the server if its answer is left before its end."""
        is_sent = False
        try:
            async with self._http() as client:
                is_sent = True
                yield client
        except (asyncio.CancelledError, GeneratorExit):
            if is_sent:  # what still waited for a connection is unknown there
                await self._abort_left(rid)
            raise

    async def _abort_left(self, rid: str) -> None:
        """Nobody waits for the answer any more, nor for whether the server heard so."""
        try:
            await self.native_abort(rid)
        except RadixlangError as error:
            logger.debug("request %s was not aborted: %s", rid, error)

    async def native_run_program(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if not request.get("stream"):
            yield {"event": "done", **await self._post("/v1/programs/run", request)}
            return
        try:
            async with self._http() as client, client.stream("POST", "/v1/programs/run", json=request) as response:
                await raise_for(response)
                async for event in events(response):
                    yield event
        except httpx.HTTPError as error:
            raise connection_error(error, self.base_url + "/v1/programs/run") from error

    async def native_register_program(self, name: str, graph: dict[str, Any]) -> None:
        await self._post("/v1/programs", {"name": name, "graph": graph})

    async def native_score(
        self,
        prompt_parts: Sequence[str | list[int]],
        choices: Sequence[str],
        *,
        unconditional: bool,
        lora_path: str | None = None,
        program_id: str | None = None,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"prompt_parts": list(prompt_parts), "choices": list(choices)}
        named = {"lora_path": lora_path, "program_id": program_id}
        body |= {"unconditional": unconditional, **{name: value for name, value in named.items() if value is not None}}
        answer: dict[str, Any] = await self._post("/score_choices", body)
        return answer

    async def native_release(self, paths: list[str]) -> None:
        try:
            await self._post("/release_paths", {"paths": paths})
        except RadixlangError as error:
            logger.debug("%d paths were not released: %s", len(paths), error)

    async def native_abort(self, rid: str) -> None:
        await self._post("/abort_request", {"rid": rid})

    async def native_model_info(self) -> dict[str, Any]:
        return self.model_info

    async def native_flush_cache(self) -> bool:
        await self._post("/flush_cache", None)
        return True

    async def native_server_info(self) -> dict[str, Any]:
        return await self._get("/get_server_info")

    # -- SGLang's blocking face --------------------------------------------------------------------------------

    def flush_cache(self, empty_cache: bool = True) -> bool:
        """Drops what no running request holds from the server's cache. RadixlangError where it does not answer well."""
        return run(self.native_flush_cache())

    def get_server_info(self) -> dict[str, Any]:
        """Configuration and counters of the server. RadixlangError where it does not answer well."""
        return run(self.native_server_info())

    def open_session(
        self, capacity_of_str_len: int, session_id: str | None = None, *, timeout: float | None = None
    ) -> str:
        """The id of a session on the server; requests go on in it by `session_params`."""
        body = {"capacity_of_str_len": capacity_of_str_len, "session_id": session_id, "timeout": timeout}
        return str(run(self._post("/open_session", {name: value for name, value in body.items() if value is not None})))

    def close_session(self, session_id: str) -> None:
        """Ends a session; the server forgets its path."""
        run(self._post("/close_session", {"session_id": session_id}))

    def start_profile(self) -> None:
        """The server begins to record its steps."""
        run(self._post("/start_profile", None))

    def stop_profile(self) -> None:
        """Ends what start_profile began."""
        run(self._post("/stop_profile", None))

    def shutdown(self) -> None:
        """Closes the connections; the server goes on."""
        connections, self._connections = self._connections, None
        if connections is not None:
            run(connections.close())


def __getattr__(name: str) -> Any:
    if name == "Runtime":  # SGLang's place for it
        from ..runtime_process import Runtime

        return Runtime
    raise AttributeError(name)
