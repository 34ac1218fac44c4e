"""How close to the future can a cache come that does not know it? Chats whose people come back when they like.

    python examples/bench/online_bound.py [--requests 2500] [--pool 0.25] [--seeds 3]

The chats of simulate.py are run once with our scheduler; then the same admissions and ends are replayed with other
choices of what to evict. Think times are drawn from one lognormal distribution, whatever was before, so nothing that
can be observed tells more about a chat's return than how long it has been away. `index` knows that distribution,
which chats go on and which already wait for their turn, but not the draws: it evicts where the most hits in the
coming time that any choice of horizon promises for a slot are fewest (the index of Gittins, 1979; whole programs,
tails first). What is missing from it to the optimum is knowledge of the future.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable

import numpy as np
import simulate
from offline_optimum import Replay, working_set
from virtual import ORDERS

_DEAD, _WAITING = -1e18, 1e9
_LOG_MEAN, _LOG_SIGMA = -1.0, 1.5  # of simulate.py's think times
Index = Callable[[float, str], float]
"""(seconds away, id of the last request) -> what its slots are worth; the least worth goes first."""


class Recorded(simulate.Run):
    """Notes when requests arrive, are admitted and end."""

    def __init__(self, name, num, slots, **more):
        self.log, self.started = [], set()
        super().__init__(name, num, slots, **more)
        start = self.scheduler._state.start

        def started(request, row):
            start(request, row)
            if request.rid not in self.started:
                self.started.add(request.rid)
                self.log.append(("admit", request.rid, self.clock.now, request.prompt_len))

        self.scheduler._state.start = started

    def advance(self, program, calls, turn, history, last):
        super().advance(program, calls, turn, history, last)
        self.log.append(("arrive", f"{program}.{turn}", self.clock.now))

    def ended(self, program, calls, turn, whole):
        self.log.append(("end", f"{program}.{turn}", self.clock.now, len(whole), turn + 1 < len(calls)))
        super().ended(program, calls, turn, whole)


def replay(log, slots: int, index: Index, *, knows_ends: bool = True, knows_queue: bool = True) -> float:
    """The hit rate. What all chats begin with (the first call of each, with its answer) always stays."""
    shared = next(event[3] for event in log if event[0] == "end")
    held: dict[str, int] = {}  # tokens of a chat behind that
    state: dict[str, tuple[str, float, str]] = {}
    used = hit_len = prompt_len = 0

    def worth(chat: str, now: float) -> float:
        kind, since, rid = state[chat]
        if kind == "dead" and knows_ends:
            return _DEAD
        if kind == "waits" and knows_queue:
            return _WAITING - since
        return index(now - since, rid)

    for kind, rid, now, *rest in log:
        chat = rid.partition(".")[0]
        if kind == "arrive":
            if chat in state:
                state[chat] = ("waits", now if knows_queue else state[chat][1], state[chat][2])
            continue
        [length, *goes_on] = rest
        before, after = held.get(chat, 0), max(0, length - shared)
        if kind == "admit":
            hit_len += min(before + (shared if prompt_len else 0), length - 1)
            prompt_len += length
            state[chat] = ("runs", now, rid)
        else:
            state[chat] = ("away" if goes_on[0] else "dead", now, rid)
        if after:
            held[chat] = after
        used += after - before
        while used > slots - shared:
            idle = [other for other in held if state[other][0] != "runs"]
            if not idle:
                break
            victim = min(idle, key=lambda other: worth(other, now))
            gone = min(held[victim], used - (slots - shared))
            used -= gone
            held[victim] -= gone
            if not held[victim]:
                del held[victim]
    return hit_len / prompt_len


def gittins() -> Index:
    """The most returns per second of holding that any horizon promises after so long away."""
    ages = np.exp(np.linspace(math.log(1e-3), math.log(300.0), 900))
    stays = np.array([0.5 * math.erfc((math.log(age) - _LOG_MEAN) / _LOG_SIGMA / math.sqrt(2.0)) for age in ages])
    held_s = np.concatenate(([0.0], np.cumsum(0.5 * (stays[1:] + stays[:-1]) * np.diff(ages))))
    best = [np.max((stays[i] - stays[i + 1 :]) / (held_s[i + 1 :] - held_s[i])) for i in range(ages.size - 1)]
    return lambda age, rid: float(np.interp(age, ages[:-1], best))


def next_admission(log) -> Index:
    number = {rid: at for at, (kind, rid, *_) in enumerate(log) if kind == "admit"}

    def index(age: float, rid: str) -> float:
        chat, _, turn = rid.partition(".")
        return -float(number.get(f"{chat}.{int(turn) + 1}", 1 << 40))

    return index


def rates(requests: int, pool: float, seed: int) -> dict[str, float]:
    """Of the optimum, by who chooses."""
    endless = simulate.Run("chats", requests, 1 << 22, seed=seed).run()
    slots = max(2400, int(working_set(endless.calls, endless.events) * pool))
    found = {}
    for order in ORDERS:
        run = Recorded("chats", requests, slots, order=order, seed=seed).run()
        best = Replay(run.calls, run.events, slots).hit_rate
        found[order] = run.hit_rate / best
        if order == "ours":
            log = run.log
            again = replay(log, slots, next_admission(log), knows_queue=False) / best
            assert abs(again - 1.0) < 0.01, f"the replay does not agree with the optimum: {again:.3f}"
            index = gittins()
            found["index, knows ends and queue"] = replay(log, slots, index) / best
            found["index, knows ends"] = replay(log, slots, index, knows_queue=False) / best
            found["longest away first, knows ends and queue"] = replay(log, slots, lambda age, rid: -age) / best
            found["index, knows neither"] = replay(log, slots, index, knows_ends=False, knows_queue=False) / best
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2500)
    parser.add_argument("--pool", type=float, default=0.25, help="share of the working set")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    runs = [rates(given.requests, given.pool, seed) for seed in range(given.seeds)]
    print(f"chats, pool of {given.pool:.0%}: hit rate of the optimum's for the same admissions, mean of {given.seeds}")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:44} {statistics.mean(values):.3f}   {min(values):.3f} … {max(values):.3f}")


if __name__ == "__main__":
    main()
