"""Random requests of every kind on a tiny model: alone on a plain engine, and all at once on engines with little room.

Adapters, constraints, drafts, penalties, log-probabilities and streams meet the cache, retraction, pages, int8 KV and
short steps; no answer may change. `test_combinations.py` does the same with the default model and chosen requests.
"""

import asyncio
import json
import random

import pytest

import radixlang as sgl

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}
KINDS = [
    {}, {}, {"regex": "(ab|cd){3,9}x"}, {"regex": "[0-9]{4}-[0-9]{2}"}, {"json_schema": json.dumps(PERSON)},
    {"stop": ["the", "a", " "]}, {"repetition_penalty": 1.3, "frequency_penalty": 0.4}, {"ignore_eos": True},
    {"top_k": 5, "top_p": 0.8},
]  # fmt: skip


def drawn(rng, count, adapters):
    prefixes = [[rng.randrange(3, 300) for _ in range(size)] for size in (16, 33, 70)]
    requests = []
    for seed in range(count):
        ids = rng.choice(prefixes)[: rng.choice([4, 17, 70])] + [
            rng.randrange(3, 300) for _ in range(rng.choice([0, 1, 20]))
        ]
        if rng.random() < 0.3:
            ids += ids[-6:] * 3  # drafts find themselves
        sampling = {
            "temperature": rng.choice([0, 0, 0.8]),
            "max_new_tokens": rng.choice([1, 5, 30]),
            "sampling_seed": seed,
        }
        request = {"input_ids": ids, "sampling_params": sampling | rng.choice(KINDS), "lora_path": rng.choice(adapters)}
        if rng.random() < 0.2:
            request |= {"return_logprob": True, "logprob_start_len": rng.choice([-1, 0, 3])}
        requests.append(request)
    return requests


def told(answer):
    """What of an answer does not depend on when it was computed."""
    meta = answer["meta_info"]
    logprobs = [(round(p, 3) if p is not None else None, token) for p, token, _ in meta.get("input_token_logprobs", [])]
    return answer["text"], answer["output_ids"], meta["finish_reason"], logprobs


async def together(engine, requests):
    async def one(number, request):
        if number % 3:
            return told(await engine.async_generate(**request))
        chunks = [chunk async for chunk in await engine.async_generate(**request, stream=True)]
        return told(chunks[-1])

    return await asyncio.gather(*(one(*numbered) for numbered in enumerate(requests)))


@pytest.fixture(scope="module")
def adapters(tiny_model_dir, make_adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    make_adapter(folder / "all", tiny_model_dir, seed=1, size=0.5)
    make_adapter(folder / "some", tiny_model_dir, seed=2, rank=8, size=0.5, targets=["q_proj", "v_proj"])
    return folder


@pytest.mark.parametrize(
    "little",
    [
        {"max_total_tokens": 560, "chunked_prefill_size": 32},
        {"max_loras_per_batch": 1, "speculative_algorithm": "ngram", "page_size": 8},
        {"kv_cache_dtype": "int8", "page_size": 16, "max_total_tokens": 704},
        {"disable_overlap_schedule": False, "chunked_prefill_size": 16},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_around_a_request_changes_no_answer(tiny_model_dir, adapters, little, seed):
    paths = (f"all={adapters / 'all'}", f"some={adapters / 'some'}")
    shared = {"model_path": str(tiny_model_dir), "context_length": 512, "enable_lora": True, "lora_paths": paths}
    shared |= {"executor": "native", "num_threads": 1, "kv_cache_dtype": little.get("kv_cache_dtype", "auto")}
    requests = drawn(random.Random(seed), 16, [None, "all", "some"])
    plain = {"disable_radix_cache": True, "speculative_algorithm": "none", "max_total_tokens": 2048}
    with sgl.Engine(**shared, **plain) as engine:
        alone = [told(engine.generate(**request)) for request in requests]
    with sgl.Engine(**shared | {"max_total_tokens": 2048} | little) as engine:
        assert asyncio.run(together(engine, requests)) == alone
