"""From a checkpoint to a CUDA executor: is the device good enough, what does a step need, how many slots are left?"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from triton.runtime.errors import OutOfResources

from ....errors import ConfigError
from ....kernels.paged import MAX_HEAD_DIM, describe
from ....kernels.reference.batch import PackedBatch
from ...config import EngineConfig
from ...lora.names import SlotSize
from ...model.adapted import AdapterSlots
from ...model.decoder import Decoder
from ...model.kv_pool import KvPool, kv_bytes_per_token
from ...model.layers import NIBBLES
from ...weights.checkpoint import Checkpoint
from .executor import CudaExecutor
from .sample_arrays import draw_from_all

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


def stored_bytes(checkpoint: Checkpoint, dense: int) -> int:
    """Of the weights on the device, about: as stored where kernels compute on that, else `dense` bytes a number."""
    total = 0.0
    for tensor in map(checkpoint.packed, checkpoint.names()):
        a_number = 0.625 if tensor.format in NIBBLES else 1.0 if tensor.eights is not None else dense
        total += a_number * math.prod(tensor.shape)
    return int(total)


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
    device = _device()
    check_device(torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device), kv_dtype)
    model = checkpoint.config
    check_heads(model.head_dim)
    try:
        with torch.inference_mode():
            decoder = Decoder(checkpoint, dtype=TYPES[dtype], device=device, served_context=config.context_length)
            adapters = None if lora is None else AdapterSlots(decoder, lora)
            step_bytes = _step_bytes(decoder, config, TYPES[kv_dtype], num_graphs=1 if adapters is None else 2)
            free = int(torch.cuda.mem_get_info(device)[0])
            logger.info("a step takes up to %.0f MiB beside weights and KV", step_bytes / 2**20)
            check_step(step_bytes, free, config)
            num_slots = plan_slots(free - step_bytes, kv_bytes_per_token(model, TYPES[kv_dtype]))
            pool = KvPool(model, num_slots + 1, TYPES[kv_dtype], device)
        executor = CudaExecutor(
            decoder,
            pool,
            num_rows=config.max_running_requests,
            max_context=min(config.context_length or model.max_context, num_slots),
            page_size=config.page_size,
            uses_graphs=not config.disable_cuda_graph,
            adapters=adapters,
        )
        started = time.perf_counter()
        executor.warm_up(config.chunked_prefill_size)
        logger.info("every kind of step ran once, in %.1f s", time.perf_counter() - started)
        return executor
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"the memory of {torch.cuda.get_device_name(device)} ran out at start ({str(error).splitlines()[0]}); "
            "lower --mem-fraction-static, --chunked-prefill-size or --max-running-requests, or take a smaller model",
            param="mem_fraction_static",
        ) from None
    except OutOfResources as error:
        raise ConfigError(
            f"a kernel does not fit into a multiprocessor of {torch.cuda.get_device_name(device)} ({error}): "
            "--dtype bfloat16, or --executor torch for plain torch on this GPU",
            param="dtype",
        ) from None


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def check_heads(head_dim: int) -> None:
    """Raises ConfigError for heads that the kernels do not take."""
    if head_dim > MAX_HEAD_DIM:
        raise ConfigError(
            f"the model's heads have {head_dim} dimensions, the GPU's kernels take up to {MAX_HEAD_DIM}: "
            "--executor torch for plain torch on this GPU",
            param="executor",
        )


def check_step(step_bytes: int, free_bytes: int, config: EngineConfig) -> None:
    """Raises ConfigError where the largest step does not fit beside the weights."""
    if step_bytes >= free_bytes:
        raise ConfigError(
            f"a step of --chunked-prefill-size {config.chunked_prefill_size} tokens and --max-running-requests "
            f"{config.max_running_requests} needs {step_bytes / 2**30:.1f} GiB beside the weights; "
            f"{free_bytes / 2**30:.1f} GiB are free: lower one of them",
            param="chunked_prefill_size",
        )


def _step_bytes(decoder: Decoder, config: EngineConfig, kv_dtype: torch.dtype, *, num_graphs: int) -> int:
    """What steps need beside weights and pool, by running the largest.

    num_graphs: of each batch size; those of one kind share memory of their own.
    """
    chunk, largest, model = config.chunked_prefill_size, config.max_running_requests, decoder.config
    pool = KvPool(model, max(chunk, largest, 2), kv_dtype, decoder.device)
    needed = _peak_bytes(decoder, pool, chunk, largest)
    if not config.disable_cuda_graph:
        needed += num_graphs * _peak_bytes(decoder, pool, largest, largest)
    del pool
    torch.cuda.empty_cache()
    table = (largest + 1) * (config.context_length or model.max_context)
    return needed + 4 * (table + largest * model.vocab_size)  # and the logits of all graphs


def _peak_bytes(decoder: Decoder, pool: KvPool, rows: int, largest: int) -> int:
    """Of a prompt of so many tokens, and of drawing for the largest batch that it may be in."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    counting = torch.arange(rows, dtype=torch.int32, device=decoder.device)
    starts, lengths, table_rows = (np.array(x, np.int32) for x in ([0, rows], [rows], [0]))
    model = decoder.config
    group = model.num_heads // model.num_kv_heads
    paged = describe(starts, lengths, table_rows, counting[None], group=group, head_dim=model.head_dim)
    hidden_TE = decoder.forward(torch.zeros_like(counting), counting, PackedBatch([], counting, paged), pool)
    draw_from_all(decoder.logits(decoder.norm(hidden_TE[:largest])))
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
