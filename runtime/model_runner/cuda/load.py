"""From a checkpoint to a CUDA executor: is the device good enough, what does a step need, how many slots are left?"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch

from ....errors import ConfigError
from ....kernels.paged import describe
from ....kernels.reference.batch import PackedBatch
from ...config import EngineConfig
from ...lora.names import SlotSize
from ...model.adapted import AdapterSlots
from ...model.decoder import Decoder
from ...model.kv_pool import KvPool, kv_bytes_per_token
from ...weights.checkpoint import Checkpoint
from .executor import CudaExecutor

logger = logging.getLogger(__name__)

TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
}
OLDEST, OLDEST_FP8 = (8, 0), (8, 9)
"""Compute capabilities: Ampere, whose tensor cores know bfloat16; Ada, whose know FP8."""


def check_device(name: str, capability: tuple[int, int], kv_dtype: str) -> None:
    """Raises ConfigError for a GPU that lacks what was asked for."""
    found = f"{name} has compute capability {capability[0]}.{capability[1]}"
    if capability < OLDEST:
        raise ConfigError(
            f"{found}; radixlang's kernels need {OLDEST[0]}.{OLDEST[1]} or newer: --device cpu, or --executor torch "
            "for plain torch on this GPU",
            param="device",
        )
    if kv_dtype == "fp8" and capability < OLDEST_FP8:
        raise ConfigError(
            f"{found}; FP8 needs {OLDEST_FP8[0]}.{OLDEST_FP8[1]}: --kv-cache-dtype int8", param="kv_cache_dtype"
        )


def load_cuda(
    config: EngineConfig,
    checkpoint: Checkpoint,
    *,
    dtype: str,
    kv_dtype: str,
    plan_slots: Callable[[int, int], int],
    lora: SlotSize | None,
) -> CudaExecutor:
    """lora: room for adapters; None: none.

    plan_slots: from the bytes that are free and a token's bytes to the number of slots; raises ConfigError.

    Raises ConfigError, WeightMismatch or UnsupportedModel.
    """
    from ....kernels.triton.attention_extend import rows_of_tile

    device = torch.device("cuda", torch.cuda.current_device())
    check_device(torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device), kv_dtype)
    model = checkpoint.config
    with torch.inference_mode():
        decoder = Decoder(checkpoint, dtype=TYPES[dtype], device=device, served_context=config.context_length)
        adapters = None if lora is None else AdapterSlots(decoder, lora)
        tile = rows_of_tile(model.num_heads // model.num_kv_heads)
        peak = _peak_bytes(decoder, config, TYPES[kv_dtype], tile)
        free = int(torch.cuda.mem_get_info(device)[0])
        logger.info("a step takes up to %.0f MiB beside weights and KV", peak / 2**20)
        num_slots = plan_slots(free - peak, kv_bytes_per_token(model, TYPES[kv_dtype]))
        pool = KvPool(model, num_slots + 1, TYPES[kv_dtype], device)
    return CudaExecutor(
        decoder,
        pool,
        num_rows=config.max_running_requests,
        max_context=min(config.context_length or model.max_context, num_slots),
        page_size=config.page_size,
        rows_of_tile=tile,
        uses_graphs=not config.disable_cuda_graph,
        adapters=adapters,
    )


def _peak_bytes(decoder: Decoder, config: EngineConfig, kv_dtype: torch.dtype, rows_of_tile: int) -> int:
    """Of the largest prompt chunk, and of the logits of the largest batch: run once over a pool of that size."""
    rows = config.chunked_prefill_size
    device = decoder.device
    pool = KvPool(decoder.config, rows, kv_dtype, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    counting = torch.arange(rows, dtype=torch.int32, device=device)
    paged = describe(
        np.array([0, rows], np.int32), np.array([rows], np.int32), np.array([0], np.int32), counting[None], rows_of_tile
    )
    hidden_TE = decoder.forward(torch.zeros_like(counting), counting, PackedBatch([], counting, paged), pool)
    largest = min(rows, config.max_running_requests)
    logits_RV = decoder.logits(decoder.norm(hidden_TE[:largest]))
    torch.cuda.synchronize()
    # The sampler's copy of the logits comes beside them.
    peak = torch.cuda.max_memory_allocated() - before + logits_RV.nbytes
    del hidden_TE, logits_RV, pool
    torch.cuda.empty_cache()
    return peak
