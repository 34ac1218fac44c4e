"""The engine's keyword arguments."""

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.engine import engine_config


def test_options_of_a_server_and_of_sglang_are_warned_of(caplog):
    with caplog.at_level("WARNING", logger="radixlang"):
        config = engine_config({"model_path": "m", "tp_size": 1, "log_level": "error", "mem_fraction_static": 0.5})
    assert (config.model_path, config.mem_fraction_static) == ("m", 0.5)
    assert [r.args[0] for r in caplog.records] == ["log_level", "tp_size"]


def test_an_option_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match=r"'model_pth'; it has .*model_path"):
        engine_config({"model_pth": "m"})


def test_paths_of_adapters_may_be_a_dict_or_a_list():
    for given in ({"a": "/x", "b": "/y"}, ["a=/x", "b=/y"]):
        config = engine_config({"lora_paths": given})
        assert (config.lora_paths, config.enable_lora) == (("a=/x", "b=/y"), True)
