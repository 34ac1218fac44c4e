"""program-gdsf: what will be needed last goes first, as far as anybody can know.

Belady's rule on estimates. When a path is needed next is known best of what a waiting request will begin with (now) and
of paths that a live program holds (it will come back: after as long as programs usually take for as many calls as its
graph puts before that one, arXiv 2507.07400; where there is no graph, after as long as they usually take, or, where
that varies widely, the sooner the less time has passed); then of prefixes that were used more than twice, where such
intervals foretell the next one (their mean interval, a deep token counting as more because attention makes it dearer to
recompute: the cost of GreedyDual-Size-Frequency, Cherkasova 1998). What is overdue is as far away as it is late
(Mockingjay's rule, Shah 2022), so that nothing stays for ever.

Of all else only its class is known: how often it was used, and whether programs alone used it that have ended. How much
of a class comes back, and after how long, is measured; within a class the least recently used goes first. People who
chat come back when they like: there the next interval has little to do with those before, which is measured, too, and
then prefixes that were used often are a class like any other.
"""

from __future__ import annotations

import math

from .bucket_queue import BucketQueue
from .node import Node

_ATTENTION_TOKENS = 4096.0  # depth at which attention costs as much as the rest of the layer, roughly
_PATIENCE = 8.0  # usual waits of a program after which its path counts as late
_SHORTEST_WAIT = 64.0  # ticks that a program may always take
_WINDOW = 64.0  # how many measurements an average remembers
_LONG_WINDOW = 256.0
_REGULAR = 2  # uses after which the mean interval is believed
_NEW, _ENDED, _FIRST_AGAIN, _NUM_CLASSES = 0, 1, 2, 6  # the last four: 1, 2 … 3, 4 … 7 and more uses
_SURE = 0.5  # powers of two: intervals that are foretold so well are believed in any case
_UNSEEN_GAP = 16.0  # ticks after which a token of a class of which none has come back yet would
_RARELY = 1.0 / 256.0  # the lowest chance of coming back that is believed


class _Fate:
    """Of the tokens of one class: how many come back, and after how many ticks. Starts out hopeful."""

    __slots__ = ("_entered", "_gap", "_returned", "_unseen_gap")

    def __init__(self, unseen_gap: float) -> None:
        self._entered = self._returned = 1.0
        self._gap = 0.0
        self._unseen_gap = unseen_gap

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
        return (self._gap or self._unseen_gap) / max(_RARELY, min(1.0, self._returned / self._entered))


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


class _Foresight:
    """How far intervals are off what the ones before were, and off the usual one, in powers of two."""

    __slots__ = ("_by_own", "_by_usual", "_count", "_usual")

    def __init__(self) -> None:
        self._by_own, self._by_usual = 2.0 * _SURE, 0.0  # it must be shown
        self._usual = 0.0
        self._count = 1.0

    def add(self, interval: float, gap: float) -> None:
        log_gap = math.log2(gap)
        self._count = min(_LONG_WINDOW, self._count + 1.0)
        weight = 1.0 / self._count
        self._by_own += (abs(log_gap - math.log2(interval)) - self._by_own) * weight
        self._by_usual += (abs(log_gap - self._usual) - self._by_usual) * weight
        self._usual += (log_gap - self._usual) * weight

    @property
    def is_good(self) -> bool:
        """The intervals of a prefix tell more of its next one than those of the others do."""
        return self._by_own <= max(self._by_usual, _SURE)


class _Class:
    """Nodes of which no more is known than what became of others like them."""

    __slots__ = ("fate", "queue")

    def __init__(self, unseen_gap: float) -> None:
        self.queue = BucketQueue()
        """By last_use."""
        self.fate = _Fate(unseen_gap)


class ReuseOrder:
    """An EvictionOrder of several queues; a node lies in the one or two that its class says."""

    remembers = True

    def __init__(self) -> None:
        self._far = BucketQueue()
        """By -due: the farthest next use first."""
        self._late = BucketQueue()
        """By due: the longest overdue first."""
        self._leased = BucketQueue()
        """By last_use, of what live programs hold, where their waits vary."""
        self._pinned = BucketQueue()
        # What nobody has used twice must show that it comes back; what somebody has, that it does not.
        self._classes = [_Class(_UNSEEN_GAP if n < _FIRST_AGAIN else 0.0) for n in range(_NUM_CLASSES)]
        self._seq = 0
        self._len = 0
        self._waits = _Waits()
        self._waits_by_steps: dict[int, _Waits] = {}
        """Of paths of which a graph told how many calls come before, a call, by the powers of two of those calls."""
        self._foresight = _Foresight()
        self._tick = 0

    def __len__(self) -> int:
        return self._len

    def push(self, node: Node) -> None:
        if not node.heap_seq:
            self._len += 1
        self._seq += 1
        node.heap_seq = self._seq
        if node.pins:
            self._enter(self._pinned, node.last_use, node)
        elif node.leases or node.is_wanted:
            if node.is_wanted:
                self._expect(node, self._tick, self._waits.mean)
            elif node.dues:
                self._expect(node, node.dues[0], node.dues[0] - node.last_use)
            elif self._waits.vary:
                self._enter(self._leased, node.last_use, node)
            else:
                self._expect(node, node.last_use + self._waits.mean, self._waits.mean)
        elif node.hits >= _REGULAR and self._foresight.is_good:
            node.due = node.last_use + node.interval / (1.0 + node.end / _ATTENTION_TOKENS)
            self._enter(self._far, -node.due, node)
            self._enter(self._late, node.due, node)
        else:
            self._enter(self._classes[_class_of(node, node.hits)].queue, node.last_use, node)

    def _expect(self, node: Node, due: float, wait: float) -> None:
        """A program uses the node at `due`; it is late when it does not for many times as long as it waits."""
        node.due = due
        self._enter(self._far, -due, node)
        self._enter(self._late, due + _PATIENCE * max(_SHORTEST_WAIT, wait), node)

    def _enter(self, queue: BucketQueue, number: float, node: Node) -> None:
        queue.push(number, node)
        if queue.size > 3 * self._len + 64:
            queue.compact()

    def drop(self, node: Node) -> None:
        if node.heap_seq:
            node.heap_seq = 0
            self._len -= 1

    def pop(self, tick: int) -> Node | None:
        chosen, distance = self._pinned, -math.inf
        for each in self._classes:
            if each.queue.size and (number := each.queue.head()) is not None:
                away = tick - number + each.fate.distance
                if away > distance:
                    chosen, distance = each.queue, away
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
        hits, size, classes = node.hits, node.key.size, self._classes
        classes[_class_of(node, hits)].fate.returned(size, gap)
        classes[_class_of(node, hits + 1)].fate.entered(size)
        if hits >= _REGULAR and not node.lock and not node.children:  # one that could have been evicted
            self._foresight.add(node.interval, gap)
        if hits:
            node.interval += (gap - node.interval) / min(8.0, hits + 1.0)
        else:
            node.interval = gap

    def entered(self, num_tokens: int) -> None:
        self._classes[_NEW].fate.entered(num_tokens)

    def foretold(self, steps: int) -> float | None:
        power = steps.bit_length()
        known = min(self._waits_by_steps, key=lambda other: (abs(other - power), other), default=None)
        if known is None:
            return steps * (self._waits.mean or _SHORTEST_WAIT)
        waits = self._waits_by_steps[known]
        return None if waits.vary else steps * waits.mean

    def resumed(self, waited: int, steps: int) -> None:
        ticks = float(max(1, waited))
        self._waits.add(ticks)
        if steps:
            self._waits_by_steps.setdefault(steps.bit_length(), _Waits()).add(ticks / steps)

    def ended(self, node: Node) -> None:
        node.interval = 1.0
        self._classes[_ENDED].fate.entered(node.key.size)

    def nodes(self) -> list[Node]:
        queues = [each.queue for each in self._classes]
        return [node for queue in (*queues, self._far, self._leased, self._pinned) for node in queue.nodes()]


def _class_of(node: Node, hits: int) -> int:
    """Of a node that was used so often."""
    if hits:
        return min(_FIRST_AGAIN - 1 + hits.bit_length(), _NUM_CLASSES - 1)
    return _ENDED if node.interval else _NEW
