"""Which executor runs a checkpoint here: the native step where it covers the model, else our decoder in torch, else
transformers' modelling code."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError, UnsupportedModel
from ..config import EngineConfig
from ..lora.names import SlotSize
from ..model.config import FOREIGN, ModelConfig
from ..weights.checkpoint import Checkpoint
from .memory import check_weights, free_memory, plan_slots
from .plan import Executor

logger = logging.getLogger(__name__)

_MOST_THREADS = 8
"""For each core."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "fp8": 1}


def load_executor(config: EngineConfig, checkpoint: Checkpoint, *, lora: SlotSize | None = None) -> Executor:
    """Loads the weights and takes the memory of the KV pool.

    executor "auto": the native step; where it does not apply, one warning says why, and torch runs. A family that is
    not ours runs on transformers' code, and one line says so. lora: room for adapters; None: it takes none.
    Raises ConfigError when none can run, or the memory does not suffice; UnsupportedModel or WeightMismatch for a
    checkpoint that the chosen executor cannot run.
    """
    if config.quantize != "none" and (config.executor not in ("auto", "native") or config.device == "cuda"):
        other = "--device cuda" if config.device == "cuda" else f"--executor {config.executor}"
        raise ConfigError(f"--quantize {config.quantize} is for the native step; drop it or {other}", param="quantize")
    if config.device == "cuda" and config.executor == "native":
        raise ConfigError("--executor native runs on the CPU; drop it or --device cuda", param="executor")
    on_gpu = config.device == "cuda" or (config.device == "auto" and config.executor == "auto" and _has_cuda())
    if config.kv_cache_dtype == "fp8" and (not on_gpu or config.executor != "auto"):
        raise ConfigError("--kv-cache-dtype fp8 is for a GPU's Triton kernels; here: int8", param="kv_cache_dtype")
    foreign = checkpoint.config.architecture.startswith(FOREIGN)
    if lora is not None and (foreign or config.executor == "transformers"):
        raise ConfigError(
            "--enable-lora: adapters are computed by radixlang's own decoders, not by transformers' code; merge the "
            "adapter into the model (merge_and_unload of peft), or take a model of another family",
            param="enable_lora",
        )
    if foreign:
        return _foreign(config, checkpoint)
    if config.executor == "transformers":
        return _transformers(config, checkpoint, why="--executor transformers")
    if config.executor == "torch":
        return _torch(config, checkpoint, why="--executor torch", lora=lora)
    if on_gpu:
        return _cuda(config, checkpoint, lora)
    try:
        return _native(config, checkpoint, lora)
    except (UnsupportedModel, ImportError, OSError) as error:
        if config.executor == "native":
            raise ConfigError(f"--executor native: {error}", param="executor") from error
        if config.quantize != "none":
            raise ConfigError(
                f"--quantize {config.quantize} is for the native step, which does not run {checkpoint.path.name} here "
                f"({error}); drop the option",
                param="quantize",
            ) from error
        _need("torch", ("torch",), str(error))
        logger.warning("the native step does not run %s here (%s); torch does", checkpoint.path.name, error)
        return _torch_or_transformers(config, checkpoint, why=str(error), lora=lora)


def _torch_or_transformers(
    config: EngineConfig, checkpoint: Checkpoint, *, why: str, lora: SlotSize | None
) -> Executor:
    try:
        return _torch(config, checkpoint, why=why, lora=lora)
    except UnsupportedModel as error:
        if lora is not None or not checkpoint.path.is_dir() or importlib.util.find_spec("transformers") is None:
            raise
        logger.warning("our decoder does not run %s (%s); transformers' does", checkpoint.path.name, error)
        return _transformers(config, checkpoint, why=str(error))


def _foreign(config: EngineConfig, checkpoint: Checkpoint) -> Executor:
    kind = checkpoint.config.architecture.removeprefix(FOREIGN)
    if config.quantize != "none":
        raise ConfigError(
            f"--quantize {config.quantize}: {kind} models run on transformers' code only; drop the option",
            param="quantize",
        )
    if config.executor in ("native", "torch"):
        raise ConfigError(
            f"--executor {config.executor}: {kind} models run on transformers' code only; drop the option",
            param="executor",
        )
    logger.warning("%s: %s is no family of ours; transformers' modelling code runs it", checkpoint.path.name, kind)
    return _transformers(config, checkpoint, why=f"{kind} is no family of ours")


def _native(config: EngineConfig, checkpoint: Checkpoint, lora: SlotSize | None) -> Executor:
    from .native import NativeExecutor

    check_threads(config.num_threads)
    if config.quantize != "none":
        from ..weights.rounded import RoundedCheckpoint

        checkpoint = RoundedCheckpoint(checkpoint, config.quantize)
    kv_dtype = "bfloat16" if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    tensors = [checkpoint.packed(name) for name in checkpoint.names()]
    weight_bytes = sum((tensor.compact or tensor).nbytes for tensor in tensors)
    if widened := [tensor.name for tensor in tensors if tensor.widened and tensor.compact is None]:
        logger.warning(
            "%s: %d linears are computed in float32, the first is %s: packed are integers of which 32 inputs share a "
            "scale",
            checkpoint.path.name, len(widened), widened[0],
        )  # fmt: skip
    num_slots = _num_slots(config, checkpoint.config, weight_bytes, kv_dtype, free_memory())
    return NativeExecutor(checkpoint, config, num_slots, lora)


def check_threads(asked: int) -> None:
    """Of the native step; 0: as many as there are cores. A warning where more are asked for than this process has.

    Raises ConfigError for so many that nobody would wait for a token: 8 threads a core take twelve times as long.
    """
    from ...kernels.cpu.load import default_threads

    cores = default_threads()
    if asked > _MOST_THREADS * cores:
        raise ConfigError(
            f"--num-threads {asked} is far more than the cores that this process may use ({cores}), and threads wait "
            "for each other in every layer; leave it out",
            param="num_threads",
        )
    if asked > cores:
        logger.warning("--num-threads %d: steps take longer than with the %d that have a core here", asked, cores)


def _need(extras: str, packages: tuple[str, ...], why: str) -> None:
    """`why`: what asks for them. Raises ConfigError naming the extras of the first that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{package} is not installed, and this model needs it here ({why}): pip install 'radixlang[{extras}]'",
                param="executor",
            )
    # Threads that wait by spinning take the cores from everybody else; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _has_cuda() -> bool:
    """Torch is imported only where there is a driver, and both it and triton are installed."""
    drivers = Path("/dev/nvidiactl"), Path("/dev/dxg")  # of Linux, and of Linux within Windows
    if not any(driver.exists() for driver in drivers) or not all(map(importlib.util.find_spec, ("torch", "triton"))):
        return False
    import torch

    return torch.cuda.is_available()


class _Placement(NamedTuple):
    """Where torch computes and in which types."""

    device: str
    dtype: str
    kv_dtype: str
    weight_bytes: int
    free_bytes: int


def _placement(config: EngineConfig, checkpoint: Checkpoint) -> _Placement:
    import torch

    device = "cuda" if config.device == "cuda" or (config.device == "auto" and _has_cuda()) else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; drop it, or --device cpu", param="device")
    dtype = config.dtype
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    num_weights = sum(math.prod(checkpoint.packed(name).shape) for name in checkpoint.names())
    free = free_memory() if device == "cpu" else int(torch.cuda.mem_get_info()[0])
    kv_dtype = dtype if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    return _Placement(device, dtype, kv_dtype, num_weights * _BYTES[dtype], free)


def _torch(config: EngineConfig, checkpoint: Checkpoint, *, why: str, lora: SlotSize | None = None) -> Executor:
    """`why` torch and not the native step, for the message when torch is missing too."""
    _need("torch", ("torch",), why)
    from .torch_executor import TorchExecutor

    place = _placement(config, checkpoint)
    return TorchExecutor(
        checkpoint,
        num_slots=_num_slots(config, checkpoint.config, place.weight_bytes, place.kv_dtype, place.free_bytes),
        dtype=place.dtype,
        kv_dtype=place.kv_dtype,
        num_threads=config.num_threads,
        device=place.device,
        context_length=config.context_length,
        lora=lora,
    )


def _cuda(config: EngineConfig, checkpoint: Checkpoint, lora: SlotSize | None) -> Executor:
    _need("gpu", ("torch",), "--device cuda")
    place = _placement(config, checkpoint)
    if importlib.util.find_spec("triton") is None:
        logger.warning("triton is not installed: plain torch runs on the GPU; pip install 'radixlang[gpu]'")
        return _torch(config, checkpoint, why="--device cuda", lora=lora)
    from .cuda.load import load_cuda, stored_bytes

    check_weights(stored_bytes(checkpoint, _BYTES[place.dtype]), place.free_bytes, elsewhere="--device cpu")
    return load_cuda(
        config,
        checkpoint,
        dtype=place.dtype,
        kv_dtype=place.kv_dtype,
        plan_slots=lambda free, a_token: _slots(config, checkpoint.config, 0, a_token, free, is_gpu=True),
        lora=lora,
    )


def _transformers(config: EngineConfig, checkpoint: Checkpoint, *, why: str) -> Executor:
    _need("torch,hf", ("torch", "transformers"), why)
    if not checkpoint.path.is_dir():
        raise ConfigError(f"--executor transformers: {checkpoint.path} is no Hugging Face directory", param="executor")
    from .transformers_executor import TransformersExecutor

    place = _placement(config, checkpoint)
    free = place.free_bytes
    check_weights(place.weight_bytes, free)
    return TransformersExecutor(
        checkpoint,
        plan_slots=lambda a_token: _slots(config, checkpoint.config, place.weight_bytes, a_token, free),
        dtype=place.dtype,
        kv_dtype=place.kv_dtype,
        num_threads=config.num_threads,
        device=place.device,
        context_length=config.context_length,
    )


def _num_slots(config: EngineConfig, model: ModelConfig, weight_bytes: int, kv_dtype: str, free_bytes: int) -> int:
    a_head = model.head_dim * _BYTES[kv_dtype] + (4 if kv_dtype == "int8" else 0)
    return _slots(config, model, weight_bytes, 2 * model.num_kv_heads * a_head * model.num_layers, free_bytes)


def _slots(
    config: EngineConfig,
    model: ModelConfig,
    weight_bytes: int,
    kv_bytes_per_token: int,
    free_bytes: int,
    *,
    is_gpu: bool = False,
) -> int:
    num_slots = plan_slots(
        free_bytes=free_bytes,
        fraction=config.mem_fraction_static or (0.9 if is_gpu else 0.5),
        weight_bytes=weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token,
        model_context=model.max_context,
        asked_context=config.context_length,
        asked_slots=config.max_total_tokens,
    )
    if num_slots < config.page_size:
        raise ConfigError(
            f"--page-size {config.page_size} is more than the {num_slots} KV slots; lower it", param="page_size"
        )
    return num_slots // config.page_size * config.page_size
