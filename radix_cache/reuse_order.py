"""program-gdsf: what will be needed last goes first, as far as anybody can know.

Belady's rule on estimates. When a path is needed next is known best of what a waiting request will begin with (now) and
of paths that a live program holds (it will come back: after as long as programs usually take, or, where that varies
widely, the sooner the less time has passed); then of prefixes that were used more than once (their mean interval, a
deep token counting as more because attention makes it dearer to recompute: the cost of GreedyDual-Size-Frequency,
Cherkasova 1998); and least of what was used once: how much of such tokens ever comes back, and after how long, is
measured. What is overdue is as far away as it is late (Mockingjay's rule, Shah 2022), so that nothing stays for ever.

Paths of programs that ended are a class of their own: nobody else may ever read them, or everybody may; that, too, is
measured, and not assumed.
"""

from __future__ import annotations

import math

from .bucket_queue import BucketQueue
from .node import Node

_ATTENTION_TOKENS = 4096.0  # depth at which attention costs as much as the rest of the layer, roughly
_PATIENCE = 8.0  # usual waits of a program after which its path counts as late
_SHORTEST_WAIT = 64.0  # ticks that a program may always take
_WINDOW = 64.0  # how many measurements an average remembers
_REGULAR = 2  # uses after which the mean interval is believed
_RARELY = 1.0 / 256.0  # the lowest chance of coming back that is believed


class _Fate:
    """Of the tokens of one class: how many come back, and after how many ticks. Starts out hopeful."""

    __slots__ = ("_entered", "_gap", "_returned")

    def __init__(self) -> None:
        self._entered = self._returned = 1.0
        self._gap = 0.0

    def entered(self, num_tokens: int) -> None:
        self._entered += num_tokens
        if self._entered > 2.0**20:  # old measurements fade
            self._entered *= 0.5
            self._returned *= 0.5

    def returned(self, num_tokens: int, gap: float) -> None:
        self._returned += num_tokens
        self._gap += (gap - self._gap) / _WINDOW if self._gap else gap

    @property
    def distance(self) -> float:
        """Ticks to the next use of a token that is used just now, as if all came back."""
        return self._gap / max(_RARELY, min(1.0, self._returned / self._entered))


class _Waits:
    """How many ticks programs leave their paths alone."""

    __slots__ = ("_log", "_square", "mean")

    def __init__(self) -> None:
        self.mean = self._square = self._log = 0.0

    def add(self, ticks: float) -> None:
        weight = 1.0 / _WINDOW if self._square else 1.0
        self.mean += (ticks - self.mean) * weight
        self._square += (ticks * ticks - self._square) * weight
        self._log += (math.log2(ticks) - self._log) * weight

    @property
    def vary(self) -> bool:
        """They spread so widely that who is away for long will stay away for longer (heavier than exponential)."""
        return self._square > 2.5 * self.mean * self.mean

    @property
    def typical(self) -> float:
        """The geometric mean."""
        return 2.0**self._log if self._square else 0.0


class ReuseOrder:
    """An EvictionOrder of seven queues; a node lies in the one or two that its class says."""

    remembers = True

    def __init__(self) -> None:
        self._far = BucketQueue()
        """By -due: the farthest next use first."""
        self._late = BucketQueue()
        """By due: the longest overdue first."""
        self._new = BucketQueue()
        """By last_use, of what was used once."""
        self._again = BucketQueue()
        """By last_use, of what was used a few times."""
        self._ended = BucketQueue()
        """By last_use, of what only programs used that ended."""
        self._leased = BucketQueue()
        """By last_use, of what live programs hold, where their waits vary."""
        self._pinned = BucketQueue()
        self._seq = 0
        self._len = 0
        self._fate_new = _Fate()
        self._fate_again = _Fate()
        self._fate_ended = _Fate()
        self._waits = _Waits()
        self._tick = 0

    def __len__(self) -> int:
        return self._len

    def push(self, node: Node) -> None:
        if not node.heap_seq:
            self._len += 1
        self._seq += 1
        node.heap_seq = self._seq
        if node.pins:
            self._pinned.push(node.last_use, node)
        elif node.leases or node.is_wanted:
            if self._waits.vary and not node.is_wanted:
                self._leased.push(node.last_use, node)
            else:
                node.due = self._tick if node.is_wanted else node.last_use + self._waits.mean
                self._far.push(-node.due, node)
                self._late.push(node.due + _PATIENCE * max(_SHORTEST_WAIT, self._waits.mean), node)
        elif node.hits >= _REGULAR:
            node.due = node.last_use + node.interval / (1.0 + node.end / _ATTENTION_TOKENS)
            self._far.push(-node.due, node)
            self._late.push(node.due, node)
        else:
            queue = self._again if node.hits else self._ended if node.interval else self._new
            queue.push(node.last_use, node)
            if queue.size > 3 * self._len + 64:
                queue.compact()
            return
        for queue in (self._far, self._late, self._leased, self._pinned):
            if queue.size > 3 * self._len + 64:
                queue.compact()

    def drop(self, node: Node) -> None:
        if node.heap_seq:
            node.heap_seq = 0
            self._len -= 1

    def pop(self, tick: int) -> Node | None:
        chosen, distance = self._pinned, -math.inf
        if self._new.size and (number := self._new.head()) is not None:
            chosen, distance = self._new, tick - number + self._fate_new.distance
        if self._ended.size and (number := self._ended.head()) is not None:
            away = tick - number + self._fate_ended.distance
            if away > distance:
                chosen, distance = self._ended, away
        if self._again.size and (number := self._again.head()) is not None:
            away = tick - number + self._fate_again.distance
            if away > distance:
                chosen, distance = self._again, away
        if self._leased.size and (number := self._leased.head()) is not None:
            away = tick - number + self._waits.typical
            if away > distance:
                chosen, distance = self._leased, away
        if self._far.size and (number := self._far.head()) is not None and -number - tick > distance:
            chosen, distance = self._far, -number - tick
        if self._late.size and (number := self._late.head()) is not None and tick - number > distance:
            chosen = self._late
        if chosen is self._pinned and chosen.head() is None:
            return None
        node = chosen.pop()
        node.heap_seq = 0
        self._len -= 1
        return node

    def used(self, node: Node, tick: int) -> None:
        self._tick = tick
        gap = float(max(1, tick - node.last_use))
        if node.hits < _REGULAR:
            first = self._fate_ended if node.interval else self._fate_new
            (self._fate_again if node.hits else first).returned(node.key.size, gap)
            self._fate_again.entered(node.key.size)
        if node.hits:
            node.interval += (gap - node.interval) / min(8.0, node.hits + 1.0)
        else:
            node.interval = gap

    def entered(self, num_tokens: int) -> None:
        self._fate_new.entered(num_tokens)

    def resumed(self, waited: int) -> None:
        self._waits.add(float(max(1, waited)))

    def ended(self, node: Node) -> None:
        node.interval = 1.0
        self._fate_ended.entered(node.key.size)

    def nodes(self) -> list[Node]:
        queues = (self._far, self._new, self._again, self._ended, self._leased, self._pinned)
        return [node for queue in queues for node in queue.nodes()]
