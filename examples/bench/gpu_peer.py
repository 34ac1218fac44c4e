"""The peer of gpu.py: transformers' generate and its continuous batching, on random weights of the same shapes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from workloads import words


def transformers_peer(
    model: Path, device: str, *, batches: tuple[int, ...], count: int, size: int
) -> Iterator[tuple[str, float]]:
    """Tokens a second: decoding in batches without padding, and `count` requests of size/size, continuously batched."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    with torch.device(device):
        peer = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model), dtype=torch.bfloat16).eval()
    rng = random.Random(1)
    tokens = size // 2
    for batch in batches:
        ids = torch.tensor([words(rng, size) for _ in range(batch)], device=device)
        ask = partial(peer.generate, ids, do_sample=False, pad_token_id=1, eos_token_id=None)
        ask(max_new_tokens=2)
        first, both = (_seconds(partial(ask, max_new_tokens=n)) for n in (1, tokens + 1))
        yield f"transformers generate, bs {batch}", batch * tokens / (both - first)
    if hasattr(peer, "generate_batch"):
        settings = GenerationConfig(max_new_tokens=size, do_sample=False, eos_token_id=-1, pad_token_id=1)
        ask = partial(peer.generate_batch, generation_config=settings, **_cache(device, count * size * 2))
        ask(inputs=[words(rng, size) for _ in range(min(count, 4))])
        prompts = [words(rng, size) for _ in range(count)]
        yield (
            f"transformers continuous batching, {count} x {size}/{size}",
            count * size / _seconds(partial(ask, inputs=prompts)),
        )


def _cache(device: str, num_tokens: int) -> dict[str, object]:
    """Off a GPU its cache would take nine tenths of the machine's memory, and there are no graphs to capture."""
    if device == "cuda":
        return {}
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    small = ContinuousBatchingConfig(
        page_size=16, num_blocks=num_tokens // 16 + 64, max_batch_tokens=256, use_cuda_graph=False,
        use_async_batching=False,
    )  # fmt: skip
    return {"continuous_batching_config": small, "progress_bar": False, "warmup": False}


def _seconds(call: partial) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
