"""A server that lost slots finds them when it is idle, says so, and goes on."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from radixlang.runtime.messages import Control
from radixlang.runtime.scheduler import scheduler as module
from radixlang.runtime.scheduler.audit import audit


@pytest.fixture
def serving(make_harness, monkeypatch):
    """A harness whose scheduler runs on a thread of its own, and what waits for something there."""
    monkeypatch.setattr(module, "_QUIET_S", 0.01)
    harness = make_harness()
    loop = threading.Thread(target=harness.scheduler.run)

    def until(reached):
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    harness.until = until
    loop.start()
    yield harness
    harness.scheduler.post(Control(id="s", action="shutdown"))
    loop.join(20)
    assert not loop.is_alive()


def test_lost_slots_are_won_back_when_idle_and_counted(serving, caplog) -> None:
    state = serving.scheduler._state
    state.pool.allocate(5)
    with caplog.at_level(logging.ERROR):
        serving.submit("a", [1, 2, 3], max_new_tokens=2)
        serving.until(lambda: state.counters.kv_leaked_tokens_total)
    assert state.counters.kv_leaked_tokens_total == 5
    assert "KV accounting is off" in caplog.text
    assert state.pool.free_len + state.cache.total_len == state.pool.num_slots
    serving.submit("b", [1, 2, 3], max_new_tokens=2)
    serving.until(lambda: "b" in serving.finish)
    assert state.counters.kv_leaked_tokens_total == 5


def test_after_much_work_each_slot_is_looked_at(serving, monkeypatch) -> None:
    state, looks = serving.scheduler._state, []
    monkeypatch.setattr(module, "_AUDIT_STEPS", 4)
    monkeypatch.setattr(module, "audit", lambda state: looks.append(state.counters.num_steps))
    serving.submit("a", [1, 2, 3], max_new_tokens=2)
    serving.until(lambda: serving.scheduler._audited_step)
    assert not looks
    serving.submit("b", [1, 2, 3], max_new_tokens=8)
    serving.until(lambda: looks)
    assert looks == [state.counters.num_steps]


def test_a_cache_that_miscounts_is_told_and_ends_nothing(make_harness, caplog) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=2)
    harness.run()
    harness.scheduler._state.cache.evictable_len += 1
    with caplog.at_level(logging.ERROR):
        audit(harness.scheduler._state)
    assert "the prefix cache is off" in caplog.text
    assert harness.stats["kv_leaked_tokens_total"] == 0
