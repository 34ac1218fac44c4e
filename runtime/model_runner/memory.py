"""How much memory this process may take, and how many KV slots fit. All sizes in bytes."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path

from ...errors import ConfigError
from ...kernels.cpu.control_groups import limit_folders

logger = logging.getLogger(__name__)

MAX_CONTEXTS = 64
"""Full contexts that a pool holds at most: more would only cost memory."""
MIN_CONTEXT = 512
"""Tokens that a pool must hold to be of use, when nobody asked for a context length."""


def free_memory() -> int:
    """What the machine has free, or less where a control group or this process's limits (ulimit -v, -d) allow less.
    Swap is not counted."""
    allowed = [
        *map(_headroom, limit_folders("memory")),
        _below_limit(resource.RLIMIT_AS),
        _below_limit(resource.RLIMIT_DATA),
    ]
    return min([_available(Path("/proc/meminfo")), *(size for size in allowed if size is not None)])


def _available(meminfo: Path) -> int:
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _below_limit(limit: int) -> int | None:
    """How far this process's address space is below its limit of that kind; None: there is no limit."""
    allowed, _ = resource.getrlimit(limit)
    used = Path("/proc/self/statm")
    if allowed == resource.RLIM_INFINITY or not used.exists():
        return None
    column = 0 if limit == resource.RLIMIT_AS else 5  # all of it, or what is private and can be written
    return max(0, allowed - int(used.read_text().split()[column]) * os.sysconf("SC_PAGE_SIZE"))


def _headroom(folder: Path) -> int | None:
    """Limit less use, page cache not counted, of the control group of `folder` (version 2, else 1); None: no limit."""
    for limit, used, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit_file, used_file, statistics = folder / limit, folder / used, folder / "memory.stat"
        if limit_file.exists() and used_file.exists():
            text = limit_file.read_text().strip()
            if text == "max" or int(text) >= 1 << 60:
                return None
            reclaimable = 0
            if statistics.exists():
                for line in statistics.read_text().splitlines():
                    key, _, value = line.partition(" ")
                    if key == cache_key:
                        reclaimable = int(value)
            return max(0, int(text) - int(used_file.read_text()) + reclaimable)
    return None


def plan_slots(
    *,
    free_bytes: int,
    fraction: float,
    weight_bytes: int,
    kv_bytes_per_token: int,
    model_context: int,
    asked_context: int | None = None,
    asked_slots: int = 0,
) -> int:
    """KV slots: `asked_slots` where given, else what the fraction of the free memory holds beside the weights.

    A context length that was asked for must fit whole, or a request of full length could never run; the model's own
    limit may be cut by the pool, down to MIN_CONTEXT tokens. Raises ConfigError, with the numbers, when it does not fit
    or when the weights alone are too large.
    """
    check_weights(weight_bytes, free_bytes)
    context = asked_context or model_context
    if asked_slots:
        if weight_bytes + asked_slots * kv_bytes_per_token > free_bytes:
            raise ConfigError(
                f"--max-total-tokens {asked_slots} needs {_size(asked_slots * kv_bytes_per_token)} beside "
                f"{_size(weight_bytes)} of weights; {_size(free_bytes)} are free",
                param="max_total_tokens",
            )
        num_slots = asked_slots
    else:
        budget = max(0, int(free_bytes * fraction) - weight_bytes)
        num_slots = min(budget // kv_bytes_per_token, MAX_CONTEXTS * context)
    needed = asked_context or (1 if asked_slots else min(model_context, MIN_CONTEXT))
    if num_slots < needed:
        option = "--max-total-tokens" if asked_slots else "--mem-fraction-static"
        raise ConfigError(
            f"a context larger than the pool: {needed} tokens of context, {num_slots} KV slots of "
            f"{_size(kv_bytes_per_token)} ({_size(weight_bytes)} weights; {fraction:g} of {_size(free_bytes)}); "
            f"lower --context-length or raise {option}",
            param="context_length",
        )
    if num_slots < context:
        logger.warning("the pool of %d tokens cuts the context of %d tokens", num_slots, context)
    return num_slots


def check_weights(weight_bytes: int, free_bytes: int, *, elsewhere: str = "") -> None:
    """Raises ConfigError when the weights alone are too large. elsewhere: a flag by which they may fit."""
    if weight_bytes > free_bytes:
        raise ConfigError(
            f"the model is larger than the memory: {_size(weight_bytes)} of weights, {_size(free_bytes)} free; "
            f"take a smaller model or a smaller quantisation{elsewhere and f', or {elsewhere}'}",
            param="model_path",
        )


def _size(num_bytes: int) -> str:
    if num_bytes < 1 << 20:
        return f"{num_bytes / 1024:.1f} KiB"
    return f"{num_bytes / (1 << 20):.1f} MiB" if num_bytes < 1 << 30 else f"{num_bytes / (1 << 30):.1f} GiB"
