"""Jump-forward on the default model: on and off, with and without log-probabilities."""

import json

import pytest

import radixlang as sgl
from radixlang.runtime.config import EngineConfig

pytestmark = pytest.mark.model
SCHEMA = json.dumps({
    "type": "object",
    "properties": {"first_name": {"enum": ["Anna", "Boris"]}, "years_of_age": {"type": "integer", "maximum": 99}},
    "required": ["first_name", "years_of_age"],
    "additionalProperties": False,
})  # fmt: skip
CONSTRAINTS = [
    {"json_schema": SCHEMA},
    {"regex": "The answer is: (yes|no), and the reason is (known|unknown)\\."},
]
UNIQUE = {"xml": "<!ELEMENT answer (verdict, reason)><!ELEMENT verdict EMPTY><!ELEMENT reason EMPTY>"}


@pytest.fixture(scope="module", params=[True, False], ids=["on", "off"])
def engines(request):
    """An engine, and whether it jumps."""
    with sgl.Engine(model_path="smollm2-135m-instruct", disable_jump_forward=not request.param) as engine:
        yield engine, request.param


@pytest.mark.parametrize("constraint", [*CONSTRAINTS, UNIQUE], ids=lambda constraint: next(iter(constraint)))
def test_log_probabilities_change_no_token(engines, constraint: dict[str, str]) -> None:
    engine, jumps = engines
    sampling = {"temperature": 0, "max_new_tokens": 80, **constraint}
    plain = engine.generate("Tell about a person.", sampling)
    scored = engine.generate("Tell about a person.", sampling, return_logprob=True)
    assert plain["output_ids"] == scored["output_ids"]
    meta = scored["meta_info"]
    assert [entry[1] for entry in meta["output_token_logprobs"]] == scored["output_ids"]
    assert all(entry[0] <= 0 for entry in meta["output_token_logprobs"])
    assert (plain["meta_info"]["forced_tokens"] > 0) == jumps
    assert meta["forced_tokens"] == plain["meta_info"]["forced_tokens"]
    assert plain["meta_info"]["mask_us"] > 0
    assert "compile_ms" in plain["meta_info"]
    if constraint is UNIQUE:  # on and off: what is forced is what could only have been drawn
        assert plain["text"] == "<answer><verdict/><reason/></answer>"


def test_the_switch_is_an_option_of_the_command_line() -> None:
    assert not EngineConfig(model_path="m").disable_jump_forward
