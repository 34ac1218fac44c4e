"""Sessions: conversations whose requests send only what is new. SGLang's /open_session, over kept paths.

A session is a tree of its requests: each may go on from any finished one (`rid`), from a part of it (`offset` tokens,
or its prompt without its output), or take its place (`replace`: what followed it is forgotten). The ids of every path
stay here, so that a session outlives the engine that computed it; K and V stay in the engine under a lease, as those of
a program do, until the session is closed or nobody used it for its timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ..errors import OverloadedError, RadixlangError, RequestError
from .generate_request import GenerateChunk, GenerateRequest, SessionParams

if TYPE_CHECKING:
    from .front import Front

MAX_SESSIONS = 4096
MAX_IDS = 1 << 24
"""Tokens of all requests of all sessions together."""
TIMEOUT_S = 1800.0
MAX_TIMEOUT_S = 86400.0
_MAX_ID = 256  # characters
_UNKNOWN_STREAM = "unknown_stream"


class _Turn:
    """One request of a session. `ids`: prompt, and the output once it is known."""

    __slots__ = ("base", "children", "ids", "is_done", "num_counted", "path", "prompt_len", "rid")

    def __init__(self, rid: str, ids: list[int], path: str, base: _Turn | None) -> None:
        self.rid = rid
        self.ids = ids
        self.prompt_len = len(ids)
        self.path = path
        self.is_done = False
        self.num_counted = 0
        """Of its ids, in the sum over all sessions."""
        self.base = base
        """What it goes on from."""
        self.children: set[_Turn] = set()
        if base is not None:
            base.children.add(self)

    def unlink(self) -> None:
        """Leaves the tree; what went on from it goes on from its base."""
        for child in self.children:
            child.base = self.base
        if self.base is not None:
            self.base.children.discard(self)
            self.base.children |= self.children
        self.base, self.children = None, set()


class _Session:
    def __init__(self, capacity: int, timeout_s: float, client: str) -> None:
        self.capacity = capacity
        self.timeout_s = timeout_s
        self.client = client
        self.expires_s = time.monotonic() + timeout_s
        self.turns: dict[str, _Turn] = {}

    @property
    def num_running(self) -> int:
        return sum(not turn.is_done for turn in self.turns.values())


class Sessions:
    """Those of one front, on its event loop."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sessions: dict[str, _Session] = {}
        self.num_ids = 0
        """Tokens that they hold."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(
        self, capacity: int, session_id: str | None = None, *, timeout_s: float | None = None, client: str = ""
    ) -> str:
        """Its id. `capacity`: tokens of its longest path; 0: what the model's context holds.

        Raises RequestError for an id that is open or a limit out of range, OverloadedError (429) for one too many.
        """
        if session_id is not None and not 0 < len(session_id) <= _MAX_ID:
            raise RequestError(f"session_id must have 1 to {_MAX_ID} characters", param="session_id")
        if session_id in self._sessions:
            raise RequestError(
                f"a session {session_id!r} is open already", param="session_id", code="duplicate_session"
            )
        if capacity < 0:
            raise RequestError(
                f"capacity_of_str_len must not be negative, found {capacity}", param="capacity_of_str_len"
            )
        if timeout_s is not None and not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise RequestError(
                f"timeout must be in (0, {MAX_TIMEOUT_S:.0f}] seconds, found {timeout_s}", param="timeout"
            )
        await self._expire()
        if len(self._sessions) >= MAX_SESSIONS:
            raise OverloadedError(
                f"{MAX_SESSIONS} sessions are open; close one", status=429, code="too_many_sessions", retry_after_s=5
            )
        session_id = session_id or uuid.uuid4().hex
        self._sessions[session_id] = _Session(capacity, timeout_s or TIMEOUT_S, client)
        self._watch()
        return session_id

    async def close(self, session_id: str, *, client: str = "") -> None:
        """Aborts what runs of it and releases what it holds. Raises RequestError (404) for an unknown one."""
        self._find(session_id, client, param="session_id", status=404)
        await self._drop(session_id)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """`Front.generate` of a request that goes on in a session.

        Raises RequestError for what is not in it, OverloadedError (429) where the sessions have no room for it.
        """
        front, params = self._front, request.session
        assert params is not None
        if request.sampling.n > 1:
            raise RequestError("a request in a session has n = 1", param="sampling_params.n")
        new = await front.tokenize(request.prompt, add_bos=request.add_bos and params.rid is None)
        session = self._find(params.id or "", request.client, param="session_params.id", status=400)
        base = await self._base(session, params)
        known = self._known(base, params) if base is not None else 0
        ids = (base.ids[:known] if base is not None else []) + new
        if session.capacity and len(ids) + 1 > session.capacity:
            raise RequestError(
                f"the session holds {session.capacity} tokens; this request would need {len(ids) + 1}",
                param="session_params.id",
                code="session_full",
            )
        rid = request.rid = request.rid or front.new_id()
        if (old := session.turns.get(rid)) is not None and not old.is_done:
            raise RequestError(f"a request {rid!r} runs in this session", param="rid", code="duplicate_request_id")
        if self.num_ids + len(ids) > MAX_IDS:
            raise OverloadedError(
                f"the sessions hold {self.num_ids} tokens, at most {MAX_IDS}; close some", status=429,
                code="sessions_full", retry_after_s=5,
            )  # fmt: skip
        turn = _Turn(rid, ids, f"session-{uuid.uuid4().hex}", base)
        if old is not None:
            await self._forget(session, [old])
        session.turns[rid] = turn
        self._count(turn)
        whole = dataclasses.replace(
            request, prompt=[list(ids)], add_bos=False, keep=turn.path, keep_s=session.timeout_s, session=None
        )
        tries = [whole]
        if base is not None and base.is_done and known:
            tries.insert(0, dataclasses.replace(whole, prompt=[list(new)], parent=base.path, parent_len=known))
        try:
            async with contextlib.aclosing(self._first_that_serves(tries)) as chunks:
                async for chunk in chunks:
                    turn.ids += chunk.token_ids
                    if chunk.finish is not None:
                        turn.is_done = chunk.finish.type in ("stop", "length")
                    yield chunk
        finally:
            session.expires_s = time.monotonic() + session.timeout_s
            if session.turns.get(rid) is turn:
                if turn.is_done:
                    self._count(turn)
                else:
                    self._remove(session, turn)
                    with contextlib.suppress(RadixlangError):  # it may have ended well as its reader went
                        await front.release([turn.path])

    async def _first_that_serves(self, tries: list[GenerateRequest]) -> AsyncGenerator[GenerateChunk, None]:
        """The engine may have forgotten a path (restarted, crowded out): then everything is sent."""
        for place, request in enumerate(tries):
            try:
                async with contextlib.aclosing(self._front.generate(request)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except RequestError as error:
                if error.code != _UNKNOWN_STREAM or place + 1 == len(tries):
                    raise

    async def _base(self, session: _Session, params: SessionParams) -> _Turn | None:
        """The request to go on from; with `replace`, rid of what followed it."""
        if params.rid is None:
            if params.replace:
                await self._forget(session, list(session.turns.values()))
            return None
        turn = session.turns.get(params.rid)
        if turn is None:
            raise RequestError(
                f"the session has no request {params.rid!r}", param="session_params.rid", code="unknown_request"
            )
        if params.replace:
            if not turn.is_done:
                await self._front.abort(turn.rid)
            await self._forget(session, _below(turn))
        elif not turn.is_done:
            raise RequestError(
                f"the request {params.rid!r} has not finished; wait for it, or say replace",
                param="session_params.rid",
                code="request_running",
            )
        return turn

    @staticmethod
    def _known(base: _Turn, params: SessionParams) -> int:
        """How many tokens of the base's path count."""
        most = base.prompt_len if params.drop_previous_output else len(base.ids)
        offset = params.offset or most
        if offset < 0:
            offset += most
        if not 0 <= offset <= most:
            raise RequestError(
                f"offset must be in [{-most}, {most}], found {params.offset}", param="session_params.offset"
            )
        return offset

    def _count(self, turn: _Turn) -> None:
        """Its ids, as many as there are now."""
        self.num_ids += len(turn.ids) - turn.num_counted
        turn.num_counted = len(turn.ids)

    def _remove(self, session: _Session, turn: _Turn) -> None:
        if session.turns.get(turn.rid) is turn:
            del session.turns[turn.rid]
        turn.unlink()
        self.num_ids -= turn.num_counted
        turn.num_counted = 0

    async def _forget(self, session: _Session, turns: list[_Turn]) -> None:
        for turn in turns:
            self._remove(session, turn)
            if not turn.is_done:
                await self._front.abort(turn.rid)
        await self._front.release([turn.path for turn in turns])

    def _find(self, session_id: str, client: str, *, param: str, status: int) -> _Session:
        session = self._sessions.get(session_id)
        if session is None or session.client != client:
            error = RequestError(f"no session {session_id!r} is open", param=param, code="unknown_session")
            error.status = status
            raise error
        session.expires_s = time.monotonic() + session.timeout_s
        return session

    async def _drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id)
        await self._forget(session, list(session.turns.values()))

    # ---- time

    async def _expire(self) -> None:
        now_s = time.monotonic()
        for session_id in [name for name, s in self._sessions.items() if s.expires_s <= now_s and not s.num_running]:
            await self._drop(session_id)

    def _watch(self) -> None:
        """Looks again when the next session may end."""
        if not self._sessions:
            return
        loop = asyncio.get_running_loop()
        wait_s = max(0.05, min(session.expires_s for session in self._sessions.values()) - time.monotonic())
        if self._timer is None or loop.time() + wait_s < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(wait_s, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._expire())
        task.add_done_callback(lambda _: self._watch())


def _below(turn: _Turn) -> list[_Turn]:
    found: list[_Turn] = []
    stack = list(turn.children)
    while stack:
        one = stack.pop()
        found.append(one)
        stack.extend(one.children)
    return found
