"""Who goes first among the waiting.

Order: retracted requests in order of arrival; then, among clients that have not used up their share, the starved in
order of arrival, then by priority, then longest cached prefix (in powers of two, so that near-equals keep their order
of arrival; a straggler of a fork that runs counts as if its prefix were 16 times as long), then the least service that
its program got so far (in powers of two, too: arXiv 2502.13965; a request of no program has the place of one that was
served as much as the client's programs usually are), then arrival. A request starves when it waits longer than
max(2 s, 8 times what its own uncached prompt takes to prefill): within a client's share that is a hard bound, whatever
hit rates the others have.

Shares: Deficit Longest Prefix Match (arXiv 2501.14312). Serving a client costs it deficit; when every client that waits
is in debt, all of them get another quantum.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from ..request import Request

STARVED_S = 2.0
STARVED_PREFILLS = 8.0
QUANTUM = 4096.0
PREFILL_COST, CACHED_COST, DECODE_COST = 1.0, 0.1, 2.0
_STRAGGLER = 4  # powers of two
MAX_PER_CALL = 16
"""Generations of each call that may wait, on average: what bounds the queue where calls are many generations."""
MAX_ALONE = 4096
"""Generations of a call that waits alone: as many as one request of the APIs may be."""
_MAX_IDLE_CLIENTS = 4096
_MAX_PROGRAMS = 65536
_USUAL_CALLS = 16.0  # that a mean remembers

Key = tuple[int, int, int, int, int]
_Entry = tuple[Key, int, Request]


class _Client:
    """One client's waiting requests, and what it may still take. `offer`: number of its valid entry in the offers.

    usual: weighted tokens that its programs had been served of late, a mean over their calls.
    """

    __slots__ = ("deficit", "heap", "num_waiting", "offer", "offered", "round", "usual")

    def __init__(self, round: int) -> None:
        self.heap: list[_Entry] = []
        self.num_waiting = 0
        self.deficit = QUANTUM
        self.usual = 0.0
        self.round = round
        self.offer = 0
        self.offered: Key | None = None

    def head(self) -> _Entry | None:
        """Its best valid entry."""
        heap = self.heap
        while heap and heap[0][2].queue_seq != heap[0][1]:
            heapq.heappop(heap)
        return heap[0] if heap else None


class WaitingQueue:
    """Heaps with lazily deleted entries: one entry counts, the one whose number is the request's `queue_seq`."""

    def __init__(self, *, lpm: bool) -> None:
        self._lpm = lpm
        self._retracted: list[tuple[int, int, Request]] = []
        self._starving: list[tuple[float, int, int, Request]] = []
        self._clients: dict[str, _Client] = {}
        self._waiting: dict[_Client, None] = {}
        """Clients of which something waits."""
        self._offers: list[tuple[Key, int, _Client]] = []
        self._groups: dict[str, dict[Request, None]] = {}
        self._attained: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Weighted tokens that programs were served, by client and program; who was served longest ago is forgotten."""
        self._calls: dict[str, int] = {}
        """How many wait of each call."""
        self._len = 0
        self._num_entries = 0
        self._round = 0
        self.prefill_tokens_per_s = 1000.0
        """Measured; for the starvation bound."""

    def __len__(self) -> int:
        return self._len

    def is_full(self, call: str, max_calls: int) -> bool:
        """Whether `max_calls` calls wait and `call` is none of them, or far too many generations wait."""
        is_known = call in self._calls
        num_others = len(self._calls) - is_known
        most = max_calls * MAX_PER_CALL
        if not num_others:  # else it would be refused however often it came again
            most = max(most, MAX_ALONE)
        return (num_others >= max_calls and not is_known) or self._len >= most

    def add(self, request: Request) -> None:
        """A new or a retracted request."""
        request.is_starved = False
        self._enter(request)
        request.stint = request.queue_seq
        if not request.times_retracted:
            uncached = max(0, request.ids.size - request.benefit)
            bound = max(STARVED_S, STARVED_PREFILLS * uncached / self.prefill_tokens_per_s)
            entry = (request.waiting_since_s + bound, request.seq, request.stint, request)
            heapq.heappush(self._starving, entry)

    def put_back(self, request: Request) -> None:
        """One that `pop` gave and that did not fit."""
        self._enter(request)

    def update(self, request: Request, benefit: int) -> None:
        """What the cache holds of it changed."""
        changed = benefit.bit_length() != request.benefit.bit_length()
        request.benefit = benefit
        if changed and request.queue_seq and not request.is_starved and not request.times_retracted:
            self._push(request)

    def remove(self, request: Request) -> None:
        """Out of the queue, if it is there."""
        if not request.queue_seq:
            return
        request.queue_seq = 0
        self._len -= 1
        num_left = self._calls[request.call] - 1
        if num_left:
            self._calls[request.call] = num_left
        else:
            del self._calls[request.call]
        if not request.times_retracted:
            client = self._clients[request.client]
            client.num_waiting -= 1
            if not client.num_waiting:
                del self._waiting[client]
        if request.group is not None:
            members = self._groups[request.group]
            del members[request]
            if not members:
                del self._groups[request.group]

    def pop(self, now_s: float) -> Request | None:
        """The next to try; it has left the queue."""
        self._mark_starved(now_s)
        while self._retracted:
            _, number, request = heapq.heappop(self._retracted)
            if request.queue_seq == number:
                self.remove(request)
                return request
        while True:
            while self._offers:
                key, number, client = heapq.heappop(self._offers)
                if client.offer != number:
                    continue
                client.offered = None
                entry = client.head()
                if entry is None or client.deficit <= 0.0:
                    continue
                if entry[0] != (now_key := self._key(entry[2])):  # its program was served meanwhile
                    self._enter_heap(client, entry[2], now_key)
                    entry = client.head()
                    assert entry is not None
                if entry[0] != key:  # its best one left
                    self._offer(client, entry[0])
                    continue
                heapq.heappop(client.heap)
                self.remove(entry[2])
                if (rest := client.head()) is not None:
                    self._offer(client, rest[0])
                return entry[2]
            if not self._replenish():
                return None

    def siblings(self, request: Request) -> list[Request]:
        """The waiting members of its group, in order of arrival."""
        return list(self._groups.get(request.group, ())) if request.group is not None else []

    def charge(self, client_name: str, cost: float, program: str = "") -> None:
        """A client, and its program, was served (or given back, cost < 0) that many weighted tokens."""
        client = self._clients.get(client_name)
        if client is not None:
            client.deficit -= cost
        if program:
            attained = self._attained
            served = attained[client_name, program] = attained.get((client_name, program), 0.0) + cost
            if client is not None:
                client.usual += (served - client.usual) / _USUAL_CALLS if client.usual else served
            attained.move_to_end((client_name, program))
            if len(attained) > _MAX_PROGRAMS:
                attained.popitem(last=False)

    def _enter(self, request: Request) -> None:
        self._len += 1
        self._calls[request.call] = self._calls.get(request.call, 0) + 1
        if request.group is not None:
            self._groups.setdefault(request.group, {})[request] = None
        if not request.times_retracted:
            client = self._client(request.client)
            client.num_waiting += 1
            self._waiting[client] = None
        self._push(request)

    def _push(self, request: Request) -> None:
        self._num_entries += 1
        number = request.queue_seq = self._num_entries
        if request.times_retracted:
            heapq.heappush(self._retracted, (request.seq, number, request))
            return
        client, key = self._clients[request.client], self._key(request)
        heapq.heappush(client.heap, (key, number, request))
        if len(client.heap) > 4 * client.num_waiting + 64:
            client.heap = [entry for entry in client.heap if entry[2].queue_seq == entry[1]]
            heapq.heapify(client.heap)
        if client.offered is None or key < client.offered:
            self._offer(client, key)

    def _key(self, request: Request) -> Key:
        """As of now: a program's service grows."""
        if request.is_starved:
            return 0, 0, 0, 0, request.seq
        if not self._lpm:
            return 1, -request.submit.priority, 0, 0, request.seq
        bucket = request.benefit.bit_length() + _STRAGGLER * request.is_straggler
        program = request.submit.program
        served = self._attained.get((request.client, program), 0.0) if program else self._clients[request.client].usual
        return 1, -request.submit.priority, -bucket, max(0, int(served)).bit_length(), request.seq

    def _enter_heap(self, client: _Client, request: Request, key: Key) -> None:
        """The client's best one has another key now."""
        self._num_entries += 1
        request.queue_seq = self._num_entries
        heapq.heapreplace(client.heap, (key, request.queue_seq, request))

    def _offer(self, client: _Client, key: Key) -> None:
        self._num_entries += 1
        client.offer, client.offered = self._num_entries, key
        heapq.heappush(self._offers, (key, client.offer, client))
        if len(self._offers) > 4 * len(self._clients) + 64:
            self._offers = [offer for offer in self._offers if offer[2].offer == offer[1]]
            heapq.heapify(self._offers)

    def _client(self, name: str) -> _Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(self._round)
            if len(self._clients) > _MAX_IDLE_CLIENTS:
                self._forget_idle()
        elif not client.num_waiting:  # it was away: the rounds it missed count, but are not saved up
            client.deficit = min(QUANTUM, client.deficit + QUANTUM * (self._round - client.round))
            client.round = self._round
        return client

    def _replenish(self) -> bool:
        """Another quantum for every client that waits, as often as the first of them needs; False if none waits."""
        if not self._waiting:
            return False
        rounds = max(1, int(min(-client.deficit for client in self._waiting) // QUANTUM) + 1)
        self._round += rounds
        for client in self._waiting:
            client.deficit = min(QUANTUM, client.deficit + rounds * QUANTUM)
            client.round = self._round
            if (entry := client.head()) is not None:
                self._offer(client, entry[0])
        return True

    def _forget_idle(self) -> None:
        for name in [name for name, client in self._clients.items() if not client.num_waiting][
            : _MAX_IDLE_CLIENTS // 2
        ]:
            if self._clients[name].deficit >= 0.0 or len(self._clients) > 2 * _MAX_IDLE_CLIENTS:
                del self._clients[name]

    def _mark_starved(self, now_s: float) -> None:
        while self._starving and self._starving[0][0] <= now_s:
            _, _, stint, request = heapq.heappop(self._starving)
            if request.queue_seq and request.stint == stint:
                request.is_starved = True
                self._push(request)
