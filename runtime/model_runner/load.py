"""Which executor runs a checkpoint here: the native step where it covers the model, else torch."""

from __future__ import annotations

import importlib.util
import logging
import math
import os

from ...errors import ConfigError, UnsupportedModel
from ..config import EngineConfig
from ..model.config import ModelConfig
from ..weights.checkpoint import Checkpoint
from .memory import free_memory, plan_slots
from .plan import Executor

logger = logging.getLogger(__name__)

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}


def load_executor(config: EngineConfig, checkpoint: Checkpoint) -> Executor:
    """Loads the weights and takes the memory of the KV pool.

    executor "auto": the native step; where it does not apply, one warning says why, and torch runs.
    Raises ConfigError when neither can run, or the memory does not suffice; UnsupportedModel or WeightMismatch for a
    checkpoint that the chosen executor cannot run.
    """
    if config.device == "cuda" and config.executor == "native":
        raise ConfigError("--executor native runs on the CPU; drop it or --device cuda", param="executor")
    if config.executor == "torch" or config.device == "cuda":
        return _torch(config, checkpoint, why="--executor torch" if config.executor == "torch" else "--device cuda")
    try:
        return _native(config, checkpoint)
    except (UnsupportedModel, ImportError, OSError) as error:
        if config.executor == "native":
            raise ConfigError(f"--executor native: {error}", param="executor") from error
        logger.warning("the native step does not run %s here (%s); torch does", checkpoint.path.name, error)
        return _torch(config, checkpoint, why=str(error))


def _native(config: EngineConfig, checkpoint: Checkpoint) -> Executor:
    from .native import NativeExecutor

    kv_dtype = "bfloat16" if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    weight_bytes = sum(checkpoint.packed(name).data.nbytes for name in checkpoint.names())
    num_slots = _num_slots(config, checkpoint.config, weight_bytes, kv_dtype, free_memory())
    return NativeExecutor(checkpoint, config, num_slots)


def _torch(config: EngineConfig, checkpoint: Checkpoint, *, why: str) -> Executor:
    """`why` torch and not the native step, for the message when torch is missing too."""
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            f"this model needs torch here ({why}), which is not installed: pip install 'radixlang[torch]'",
            param="executor",
        )
    # Threads that wait by spinning take the cores from everybody else; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from .torch_executor import TorchExecutor

    device = "cuda" if config.device == "cuda" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device", param="device")
    dtype = config.dtype
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    kv_dtype = dtype if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    num_weights = sum(math.prod(checkpoint.packed(name).shape) for name in checkpoint.names())
    free = free_memory() if device == "cpu" else int(torch.cuda.mem_get_info()[0])
    return TorchExecutor(
        checkpoint,
        num_slots=_num_slots(config, checkpoint.config, num_weights * _BYTES[dtype], kv_dtype, free),
        dtype=dtype,
        kv_dtype=kv_dtype,
        num_threads=config.num_threads,
        device=device,
        context_length=config.context_length,
    )


def _num_slots(config: EngineConfig, model: ModelConfig, weight_bytes: int, kv_dtype: str, free_bytes: int) -> int:
    a_head = model.head_dim * _BYTES[kv_dtype] + (4 if kv_dtype == "int8" else 0)
    num_slots = plan_slots(
        free_bytes=free_bytes,
        fraction=config.mem_fraction_static,
        weight_bytes=weight_bytes,
        kv_bytes_per_token=2 * model.num_kv_heads * a_head * model.num_layers,
        model_context=model.max_context,
        asked_context=config.context_length,
        asked_slots=config.max_total_tokens,
    )
    return max(num_slots // config.page_size, 1) * config.page_size
