"""Fills the registry, once, with what this machine can run."""

from __future__ import annotations

from functools import cache


@cache
def load_kernels() -> None:
    """Imports torch, and triton where there is a CUDA device. Cheap when called again."""
    import importlib.util

    import torch

    from .reference import table

    table.register_all()
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is not None:
        from .triton import table as triton_table

        triton_table.register_all()
