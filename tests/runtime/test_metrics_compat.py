"""Numbers by other servers' names: the same, in text that a parser reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from radixlang.errors import ConfigError
from radixlang.runtime.config import ServerConfig
from radixlang.runtime.metrics import Metrics
from radixlang.runtime.metrics_compat import renamed


def samples(text):
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
    }


def test_every_number_has_its_other_names():
    metrics = Metrics()
    metrics.prompt_tokens.inc(7)
    metrics.cached_tokens.inc(3)
    metrics.time_to_first_token.observe(0.2)
    text = metrics.render({"num_running_reqs": 2, "num_queue_reqs": 1, "token_usage": 0.5}).decode()
    told = samples(renamed(text, ("sglang", "vllm")))
    for (name, labels), value in samples(text).items():
        assert told["sglang:" + name.removeprefix("radixlang:"), labels] == value
    expected = {
        "num_requests_running": 2, "num_requests_waiting": 1, "kv_cache_usage_perc": 0.5, "prompt_tokens_total": 7,
        "prefix_cache_queries_total": 7, "prefix_cache_hits_total": 3, "time_to_first_token_seconds_count": 1,
    }  # fmt: skip
    for name, value in expected.items():
        assert told[f"vllm:{name}", ()] == value
    assert renamed(text, ()) == text


def test_reasons_of_aborts_are_told_before_the_first():
    assert samples(Metrics().render({}).decode())["radixlang:num_aborted_requests_total", (("reason", "aborted"),)] == 0


def test_unknown_servers_are_refused():
    with pytest.raises(ConfigError, match="vllm"):
        ServerConfig(metrics_compat=("other",))
