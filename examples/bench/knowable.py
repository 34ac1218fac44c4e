"""What a cache would have reused that knows all but what is drawn by lot: yardsticks beside the optimum.

As `Replay`, the same admissions. Both know what waits for its turn: that goes last, the farthest first. `Knowable`, for
the workloads of waves, knows everything else but how long programs pause. Evicted is first what is never needed again,
then what a program needs whose wave still runs (it comes back later than all that pause), then the paths of who pauses
(pauses have no memory: of paths that are a program's own, any choice is as good; who has paused longest goes first).
`Likely`, for the traces of simulate.py, knows the turns that begun programs will take, how long turns take on average,
and how often programs to come use a prefix, but not which begin when: evicted is what is expected to be needed last.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from offline_optimum import Call, Replay, _Node


class Known(Replay):
    """`arrivals`: (number of events before, request); requests are named "program.turn", or with more behind that."""

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
        self._ended: dict[str, int] = {}
        """By program: the event at which its last request so far ended."""
        self._idle: dict[int, _Node] = {}
        super().__init__(calls, events, capacity)

    def _admit(self, number: int, call: Call) -> None:
        self._pass()
        super()._admit(number, call)

    def _end(self, number: int) -> None:
        self._pass()
        self._over(*self._turn(self._names[number]))
        super()._end(number)

    def _pass(self) -> None:
        """One event more: who arrived before it?"""
        while self._arrivals and self._arrivals[-1][0] <= self._num_events:
            _, name = self._arrivals.pop()
            self._arrived.add(name)
            self._asked(*self._turn(name))
        self._num_events += 1

    def _asked(self, program: str, turn: int) -> None:
        """A request arrives."""

    def _over(self, program: str, turn: int) -> None:
        """A request ends."""
        self._ended[program] = self._num_events

    @staticmethod
    def _turn(name: str) -> tuple[str, int]:
        program, turn = name.split(".")[:2]
        return program, int(turn)

    def _grow(self, node: _Node) -> None:
        super()._grow(node)
        self._idle.pop(id(node), None)

    def _offer(self, node: _Node) -> None:
        self._idle[id(node)] = node

    def _farness(self, node: _Node) -> tuple[int, float, int]:
        """The greatest goes first; of one path its end."""
        raise NotImplementedError

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


class Knowable(Known):
    """Requests are named "program.wave.place"."""

    def __init__(self, *given) -> None:
        self._open: dict[tuple[str, int], int] = {}
        """Requests of each wave that have not ended."""
        super().__init__(*given)

    def _asked(self, program: str, turn: int) -> None:
        self._open[program, turn] = self._open.get((program, turn), 0) + 1

    def _over(self, program: str, turn: int) -> None:
        super()._over(program, turn)
        self._open[program, turn] -= 1

    def _farness(self, node: _Node) -> tuple[int, float, int]:
        place = bisect_right(node.uses, self._now)
        if place == len(node.uses):
            return 3, 0, node.depth
        following = node.uses[place]
        if self._names[following] in self._arrived:
            return 0, following, node.depth
        program, wave = self._turn(self._names[following])
        if self._open.get((program, wave - 1)):
            return 2, 0, node.depth
        return 1, -self._ended.get(program, 0), node.depth


class Likely(Known):
    """Requests are named "program.turn".

    vary: times between turns spread so widely that who is away for long will stay away for longer.
    """

    def __init__(self, calls, events, arrivals, numbers, capacity, *, vary: bool = False) -> None:
        self._vary = vary
        self._begun: dict[str, int] = {}
        """The turn that a program has arrived at."""
        self._users: dict[int, list[tuple[str, int]]] = {}
        """Of each node: programs and turns, by its uses; by how many programs in all."""
        self._num_users: dict[int, int] = {}
        turns: dict[str, list[int]] = {}
        places = {call: at for at, (is_admission, call) in enumerate(events) if is_admission}
        for name, number in numbers.items():
            turns.setdefault(name.partition(".")[0], []).append(places[number])
        self._num_programs = len(turns)
        self._events_per_program = len(events) / len(turns)
        steps = [(max(at) - min(at)) / (len(at) - 1) for at in turns.values() if len(at) > 1]
        self._events_per_turn = sum(steps) / len(steps) if steps else 0.0
        super().__init__(calls, events, arrivals, numbers, capacity)

    def _asked(self, program: str, turn: int) -> None:
        self._begun[program] = turn

    def _farness(self, node: _Node) -> tuple[int, float, int]:
        place = bisect_right(node.uses, self._now)
        if place < len(node.uses) and self._names[node.uses[place]] in self._arrived:
            return 0, node.uses[place], node.depth
        users = self._users.get(id(node))
        if users is None:
            users = self._users[id(node)] = [self._turn(self._names[number]) for number in node.uses]
            self._num_users[id(node)] = len({program for program, _ in users})
        away = math.inf
        if self._num_users[id(node)] > 1:
            away = self._events_per_program * self._num_programs / self._num_users[id(node)]
        for program, turn in users[place:]:
            if program in self._begun:
                since = self._num_events - self._ended.get(program, self._num_events)
                expected = (turn - self._begun[program]) * self._events_per_turn
                away = min(away, expected + since if self._vary else max(expected - since, 0.25 * expected))
        return 1, away, node.depth
