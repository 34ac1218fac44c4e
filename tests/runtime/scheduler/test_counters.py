"""Rates are of the time that was counted, not of the machine's."""

from radixlang.runtime.scheduler.counters import Counters


def test_throughput_counts_from_the_start_and_then_from_the_last_look() -> None:
    counters = Counters(now_s=5000.0)
    assert counters.gen_throughput(5000.5) == 0.0
    counters.generation_tokens_total = 40
    assert counters.gen_throughput(5002.0) == 20.0
    counters.generation_tokens_total = 100
    assert counters.gen_throughput(5002.5) == 20.0
    assert counters.gen_throughput(5004.0) == 30.0
