"""The default model with every drafter says token by token what it says without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.engine import Engine
from radixlang.runtime.speculation.load import load_draft_model

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PROMPTS = [
    "<|im_start|>user\nRepeat: red green blue red green blue red green blue<|im_end|>\n<|im_start|>assistant\n",
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef add(a, b):\n",
    "Once upon a time",
]
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "sizes": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        },
        "required": ["name", "sizes"],
    }
)  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 0.8, "top_p": 0.95, "sampling_seed": 11},
    "penalties": {"temperature": 0, "frequency_penalty": 0.4, "presence_penalty": 0.3, "repetition_penalty": 1.1},
    "bias": {"temperature": 0.7, "min_p": 0.02, "sampling_seed": 3, "logit_bias": {"30": 2.0}, "min_new_tokens": 20},
    "stop": {"temperature": 0, "stop": ["a", "re"], "min_new_tokens": 4},
    "schema": {"temperature": 0, "json_schema": SCHEMA},
    "regex": {"temperature": 0.6, "sampling_seed": 5, "regex": r"(red|green|blue)( (red|green|blue)){8}"},
}


@pytest.fixture(scope="module")
def engine_of(default_model_path) -> Iterator[Any]:
    engines: dict[str, Engine] = {}

    def engine(algorithm: str) -> Engine:
        if algorithm not in engines:
            extra = {"speculative_draft_model_path": str(default_model_path)} if algorithm == "draft" else {}
            engines[algorithm] = Engine(
                model_path=str(default_model_path),
                speculative_algorithm=algorithm,
                max_total_tokens=4096,
                num_threads=1,
                **extra,
            )
            speculator = engines[algorithm]._assembled.scheduler._state.speculator
            if speculator is not None:
                speculator.costs = Eager()
        return engines[algorithm]

    yield engine
    for one in engines.values():
        one.shutdown()


class Eager:
    """Costs by which every draft pays."""

    def curve(self, context):
        return 1.0 / np.arange(1, 1025)

    def add(self, num_rows, context, seconds):
        pass


@pytest.mark.parametrize("algorithm", ["ngram", "draft", "auto"])
@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_of_drawing_is_as_without(engine_of, algorithm, way) -> None:
    sampling = {"max_new_tokens": 20, **WAYS[way]}
    ask = {"return_logprob": True, "top_logprobs_num": 2} if way in ("greedy", "sampled", "schema") else {}
    plain, drafting = engine_of("none"), engine_of(algorithm)
    expected = plain.generate(PROMPTS, sampling, **ask)
    for _ in range(2):  # the second time the tree knows the answer
        found = drafting.generate(PROMPTS, sampling, **ask)
        for one, other in zip(found, expected, strict=True):
            assert one["output_ids"] == other["output_ids"]
            assert one["text"] == other["text"]
            assert one["meta_info"]["finish_reason"] == other["meta_info"]["finish_reason"]
            for name in ("output_token_logprobs", "output_top_logprobs"):
                assert one["meta_info"].get(name) == other["meta_info"].get(name)


def test_answers_and_the_engine_tell_what_was_drafted(engine_of) -> None:
    engine = engine_of("auto")
    sampling = {"max_new_tokens": 24, "temperature": 0, "ignore_eos": True}
    engine.generate(PROMPTS[2], sampling)
    meta = engine.generate(PROMPTS[2], sampling)["meta_info"]
    assert meta["spec_verify_ct"] >= 1
    assert meta["spec_accept_length"] == 1 + meta["spec_num_correct_drafts"] / meta["spec_verify_ct"] > 3
    assert meta["spec_accept_rate"] == meta["spec_num_correct_drafts"] / meta["spec_num_proposed_drafts"]
    told = engine.get_server_info()
    state = told["internal_states"][0]
    assert told["speculative_algorithm"] == "auto"
    assert state["spec_verify_total"] >= meta["spec_verify_ct"]
    assert state["avg_spec_accept_length"] == state["spec_accept_length"] > 1
    assert 0 < state["spec_accept_rate"] <= 1
    assert "spec_verify_ct" not in engine_of("none").generate(PROMPTS[2], sampling)["meta_info"]


def test_a_small_model_of_other_tokens_is_refused(engine_of, default_model_path) -> None:
    engine = engine_of("none")

    class Other:
        digest = "other"
        vocab_size = engine.tokenizer.vocab_size

        def token_bytes(self, token_id):
            return b"?" if token_id == 77 else engine.tokenizer.token_bytes(token_id)

    config = engine_of("draft").config
    with pytest.raises(ConfigError, match=r"id 77 is .*take a smaller model of its family") as caught:
        load_draft_model(config, Other(), max_context=512)
    assert caught.value.param == "speculative_draft_model_path"
