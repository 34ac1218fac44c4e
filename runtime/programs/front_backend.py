"""A front as the backend of programs that run on its own event loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ...lang.backend.base_backend import NativeBackend
from ...lang.chat_template import ChatTemplate
from ...lang.model_template import template_of_model
from .. import native_api, native_run
from ..front import Front
from .host import ProgramHost
from .request import read_body


class FrontBackend(NativeBackend):
    """client: whose share of the machine the calls take. timeout_s: of each call; None: what it says itself. host: of
    the programs that a run may call."""

    keeps_paths = True
    joins_gens = True
    counts_programs = True

    def __init__(
        self, front: Front, client: str = "", timeout_s: float | None = None, host: ProgramHost | None = None
    ) -> None:
        super().__init__()
        self.front = front
        self.client = client
        self.host = host
        self.timeout_s = timeout_s

    def known_chat_template(self) -> ChatTemplate:
        """The model's description is here: nobody need wait for it."""
        if self._model_template is None:
            self._model_template = template_of_model(self.front.info)
        return self._model_template

    async def native_generate(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        call = native_api.parse(native_api.convert(request), client=self.client)
        for one in call.requests:
            one.gather = one.gather or 0
            if self.timeout_s is not None:
                one.timeout_s = self.timeout_s
        async with contextlib.aclosing(native_run.stream(self.front, call)) as bodies:
            async for body in bodies:
                yield body

    async def native_run_program(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        assert self.host is not None
        run = self.host.run(self.host.prepare(read_body(request)), self)
        async with contextlib.aclosing(run) as events:
            async for event in events:
                yield event

    async def native_score(
        self,
        prompt_parts: Sequence[str | list[int]],
        choices: Sequence[str],
        *,
        unconditional: bool,
        lora_path: str | None = None,
        program_id: str | None = None,
    ) -> dict[str, Any]:
        return await self.front.score_choices(
            prompt_parts,
            choices,
            unconditional=unconditional,
            client=self.client,
            program=program_id or "",
            adapter=lora_path or "",
        )

    async def native_release(self, paths: list[str]) -> None:
        await self.front.release(paths)

    async def native_abort(self, rid: str) -> None:
        await self.front.abort(rid)

    async def native_model_info(self) -> dict[str, Any]:
        return self.front.info
