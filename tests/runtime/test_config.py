"""Values that no engine and no server can have are refused with the option's name."""

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.config import EngineConfig, ServerConfig

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "name", "value", "told"),
    [
        (EngineConfig, "num_threads", -1, "at least 0"),
        (EngineConfig, "num_threads", 10_000, "at most 1024"),
        (EngineConfig, "max_running_requests", 10**10, "at most 65536"),
        (EngineConfig, "chunked_prefill_size", 10**11, "at most 1048576"),
        (EngineConfig, "speculative_num_draft_tokens", 10**9, "at most 1024"),
        (EngineConfig, "max_loras_per_batch", 10**9, "at most 1024"),
        (EngineConfig, "max_lora_rank", 10**9, "at most 16384"),
        (EngineConfig, "itl_target_ms", NAN, "at least 0, found nan"),
        (ServerConfig, "port", -1, "at least 0"),
        (ServerConfig, "port", 99_999, "at most 65535"),
        (ServerConfig, "request_timeout", NAN, "at least 0, found nan"),
        (ServerConfig, "max_body_mb", NAN, "above 0"),
        (ServerConfig, "max_body_mb", INF, "above 0"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_bound(kind, name, value, told):
    with pytest.raises(ConfigError, match=told) as caught:
        kind(**{name: value})
    assert f"--{name.replace('_', '-')} must be" in str(caught.value)
    assert caught.value.param == name
