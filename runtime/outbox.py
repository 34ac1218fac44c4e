"""Requests on their way to the engine that go as one message, so that one step takes them in together.

An engine that is idle begins a step with the first request that comes; what a fork's branches ask, or the options of a
choice, would then take two steps, and read the weights twice. So what programs submit in one pass of the event loop
goes together; and of a fork whose number of ready branches is known, all wait for the last of them, GATHER_S at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..errors import RadixlangError
from .messages import Submit, Submits, ToEngine

GATHER_S = 0.01
"""A step of few rows on a small model: waiting longer costs more than another step."""


class Outbox:
    """`send` may raise; `is_open` says whether a request is still wanted; `fail` answers one that cannot be sent."""

    def __init__(
        self,
        send: Callable[[ToEngine], None],
        is_open: Callable[[str], bool],
        fail: Callable[[str, RadixlangError], None],
    ) -> None:
        self._send = send
        self._is_open = is_open
        self._fail = fail
        self._passing: list[Submit] = []
        self._groups: dict[str, list[Sequence[Submit]]] = {}

    def send(self, submits: Sequence[Submit]) -> None:
        """Now. Raises what the link raises."""
        self._send(submits[0] if len(submits) == 1 else Submits([*submits]))

    def add(self, submits: Sequence[Submit], name: str | None, num_expected: int) -> None:
        """One call's requests: with what this pass of the loop brings.

        With a `name`, that is the pass that brings the last of `num_expected` calls of this group.
        """
        if name is None or num_expected < 2:
            self._pass(submits)
            return
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = []
            asyncio.get_running_loop().call_later(GATHER_S, self._end_group, name, group)
        group.append(submits)
        if len(group) >= num_expected:
            del self._groups[name]
            for each in group:
                self._pass(each)

    def _pass(self, submits: Sequence[Submit]) -> None:
        if not self._passing:
            asyncio.get_running_loop().call_soon(self._flush_pass)
        self._passing += submits

    def _flush_pass(self) -> None:
        submits, self._passing = self._passing, []
        self._flush(submits)

    def _end_group(self, name: str, group: list[Sequence[Submit]]) -> None:
        """Its time is up."""
        if self._groups.get(name) is group:
            del self._groups[name]
            self._flush([submit for submits in group for submit in submits])

    def _flush(self, submits: Sequence[Submit]) -> None:
        """Those that nobody waits for any more are dropped."""
        wanted = [submit for submit in submits if self._is_open(submit.rid)]
        if not wanted:
            return
        try:
            self.send(wanted)
        except RadixlangError as error:
            if len(wanted) == 1:
                self._fail(wanted[0].rid, error)
                return
            for submit in wanted:  # the fault may be of one of them
                self._flush([submit])
