"""What a cache would have reused that knows everything but how long programs pause: a yardstick beside the optimum.

As `Replay`, the same admissions; but of what nobody has asked for yet it knows only whether somebody will. Evicted is
first what is never needed again, then what a program needs whose wave still runs (it comes back later than all that
pause), then the paths of who pauses (pauses have no memory: of paths that are a program's own, any choice is as good;
who has paused longest goes first), and last, the farthest first, what waiting requests begin with.
"""

from __future__ import annotations

from bisect import bisect_right

from offline_optimum import Call, Replay, _Node


class Knowable(Replay):
    """`arrivals`: (number of events before, request); requests are named "program.wave.place"."""

    def __init__(
        self,
        calls: list[Call],
        events: list[tuple[bool, int]],
        arrivals: list[tuple[int, str]],
        numbers: dict[str, int],
        capacity: int,
    ) -> None:
        self._names = {number: name for name, number in numbers.items()}
        self._arrivals = arrivals[::-1]
        self._num_events = 0
        self._arrived: set[str] = set()
        self._open: dict[tuple[str, int], int] = {}
        """Requests of each wave that have not ended."""
        self._ended: dict[str, int] = {}
        """By program: the event at which its last request so far ended."""
        self._idle: dict[int, _Node] = {}
        super().__init__(calls, events, capacity)

    def _admit(self, number: int, call: Call) -> None:
        self._pass()
        super()._admit(number, call)

    def _end(self, number: int) -> None:
        self._pass()
        program, wave = self._wave(number)
        self._open[program, wave] -= 1
        self._ended[program] = self._num_events
        super()._end(number)

    def _pass(self) -> None:
        """One event more: who arrived before it?"""
        while self._arrivals and self._arrivals[-1][0] <= self._num_events:
            _, name = self._arrivals.pop()
            self._arrived.add(name)
            program, wave, _ = name.split(".")
            self._open[program, int(wave)] = self._open.get((program, int(wave)), 0) + 1
        self._num_events += 1

    def _wave(self, number: int) -> tuple[str, int]:
        program, wave, _ = self._names[number].split(".")
        return program, int(wave)

    def _grow(self, node: _Node) -> None:
        super()._grow(node)
        self._idle.pop(id(node), None)

    def _offer(self, node: _Node) -> None:
        self._idle[id(node)] = node

    def _farness(self, node: _Node) -> tuple[int, int, int]:
        """The greatest goes first; of one path its end."""
        place = bisect_right(node.uses, self._now)
        if place == len(node.uses):
            return 3, 0, node.depth
        following = node.uses[place]
        if self._names[following] in self._arrived:
            return 0, following, node.depth
        program, wave = self._wave(following)
        if self._open.get((program, wave - 1)):
            return 2, 0, node.depth
        return 1, -self._ended.get(program, 0), node.depth

    def _make_room(self) -> None:
        while self._used > self._capacity:
            idle = [node for node in self._idle.values() if not node.lock]
            if not idle:
                return
            node = max(idle, key=self._farness)
            gone = min(node.resident, self._used - self._capacity)
            node.resident -= gone
            self._used -= gone
            if not node.resident:
                del self._idle[id(node)]
