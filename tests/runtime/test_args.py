"""Options come from the fields, each with a docstring and a default."""

import argparse
import dataclasses
import os

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.args import add_ignored, add_options, config_of, field_help, warn_ignored
from radixlang.runtime.config import EngineConfig, ServerConfig


def parse(*arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_options(parser, EngineConfig, title="engine")
    add_options(parser, ServerConfig, title="server")
    add_ignored(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("kind", [EngineConfig, ServerConfig])
def test_every_field_has_a_docstring_and_a_default(kind):
    told = field_help(kind)
    for field in dataclasses.fields(kind):
        assert told.get(field.name), field.name
        assert field.default is not dataclasses.MISSING, field.name


def test_the_help_of_every_option_tells_its_default():
    parser = argparse.ArgumentParser()
    for kind in (EngineConfig, ServerConfig):
        add_options(parser, kind, title=kind.__name__)
    for action in parser._actions[1:]:
        assert "default" in str(action.help).lower(), action.option_strings
    told = {action.dest: str(action.help) for action in parser._actions}
    assert told["page_size"].endswith("Default: 1.")  # 1 == True: these two were taken for flags once
    assert told["num_threads"].endswith("Default: 0.")


def test_no_option_belongs_to_two():
    engine, server = ({f.name for f in dataclasses.fields(k)} for k in (EngineConfig, ServerConfig))
    assert not engine & server


def test_nothing_given_is_the_defaults():
    assert config_of(EngineConfig, parse()) == EngineConfig()
    assert config_of(ServerConfig, parse()) == ServerConfig()


def test_values_have_their_types():
    options = parse(
        "--model-path", "m", "--port", "1234", "--max-body-mb", "1.5", "--disable-radix-cache", "--no-weight-cache",
        "--cors-origins", "a", "b", "--schedule-policy", "fcfs", "--context-length", "128", "--quantize", "w4",
    )  # fmt: skip
    engine, server = config_of(EngineConfig, options), config_of(ServerConfig, options)
    assert (engine.model_path, engine.disable_radix_cache, engine.weight_cache) == ("m", True, False)
    assert (engine.schedule_policy, engine.context_length, engine.quantize) == ("fcfs", 128, "w4")
    assert (server.port, server.max_body_mb, server.cors_origins) == (1234, 1.5, ("a", "b"))


@pytest.mark.parametrize(("kind", "option"), [(EngineConfig, "--model-path"), (ServerConfig, "--cors-origins")])
def test_text_that_is_no_utf8_is_refused_by_its_option(kind, option):
    with pytest.raises(ConfigError, match=f"{option} .*is not UTF-8") as caught:
        config_of(kind, parse(option, os.fsdecode(b"/models/\xff")))
    str(caught.value).encode()


def test_sglang_names_work():
    options = parse(
        "--model", "m", "--mem-fraction-static", "0.4", "--max-running-requests", "3", "--served-model-name", "x"
    )
    assert config_of(EngineConfig, options).model_path == "m"


def test_options_without_a_meaning_are_warned_of(caplog):
    options = parse("--tp-size", "2", "--enable-metrics", "--cuda-graph-bs", "1", "2", "--port", "1")
    with caplog.at_level("WARNING", logger="radixlang"):
        warn_ignored(options)
    assert [r.args[0] for r in caplog.records] == ["--tp-size", "--enable-metrics", "--cuda-graph-bs"]
    assert config_of(ServerConfig, options).port == 1


def test_commands_of_several_sglang_releases_start():
    parse(
        "--tp",
        "1",
        "--torchao-config",
        "int4wo-128",
        "--moe-runner-backend",
        "triton",
        "--enable-eplb",
        "--dp=2",
        "--trust-remote-code",
    )


def test_options_of_tls_that_are_not_served_are_not_dropped_silently():
    with pytest.raises(SystemExit):
        parse("--ssl-keyfile-password", "secret")


@pytest.mark.parametrize(
    "bad", [["--no-such-option"], ["--port", "x"], ["--schedule-policy", "best"], ["--por", "1"], ["--quantize", "w3"]]
)
def test_wrong_options_end_the_program(bad, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*bad)
    assert caught.value.code == 2
    assert bad[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad",
    [
        ["--port", "70000"], ["--page-size", "3"], ["--mem-fraction-static", "0"], ["--context-length", "-5"],
        ["--model-path", ""], ["--max-body-mb", "0"],
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_config_errors(bad):
    options = parse(*bad)
    with pytest.raises(ConfigError, match=bad[0]):
        config_of(EngineConfig, options), config_of(ServerConfig, options)


@pytest.mark.parametrize(
    ("given", "algorithm", "path"),
    [
        ((), "auto", None),
        (("--speculative-algorithm", "NGRAM", "--speculative-num-draft-tokens", "7"), "ngram", None),
        (("--speculative-algorithm", "STANDALONE", "--speculative-draft-model-path", "d"), "draft", "d"),
        (("--speculative-draft-model", "d"), "auto", "d"),
        (("--speculative-algorithm", "none"), "none", None),
    ],
)
def test_speculation_goes_by_sglangs_names(given, algorithm, path):
    engine = config_of(EngineConfig, parse(*given))
    assert (engine.speculative_algorithm, engine.speculative_draft_model_path) == (algorithm, path)


def test_an_algorithm_that_needs_a_trained_head_is_warned_of_and_changes_nothing(caplog):
    with caplog.at_level("WARNING", logger="radixlang"):
        engine = config_of(
            EngineConfig, parse("--speculative-algorithm", "EAGLE3", "--speculative-draft-model-path", "head")
        )
    assert "EAGLE3" in caplog.text
    assert engine == EngineConfig()


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"speculative_algorithm": "guess"}, "speculative_algorithm"),
        ({"speculative_algorithm": "draft"}, "speculative_draft_model_path"),
        ({"speculative_algorithm": "tree", "speculative_draft_model_path": "d"}, "speculative_draft_model_path"),
        ({"speculative_num_draft_tokens": 0}, "speculative_num_draft_tokens"),
    ],
)
def test_speculation_that_cannot_be_is_refused(options, param):
    with pytest.raises(ConfigError) as caught:
        EngineConfig(**options)
    assert caught.value.param == param
