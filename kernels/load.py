"""Fills the registry, once, with what this machine can run."""

from __future__ import annotations

from functools import cache


@cache
def load_kernels() -> None:
    """Imports torch, and triton where there is a CUDA device. Cheap when called again."""
    import importlib.util
    import os

    import torch

    from .reference import table

    table.register_all()
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is not None:
        # Fused multiply-adds, as the kernels are tested: triton 3.9 warns that 3.10 changes its default.
        os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
        from .triton import table as triton_table

        triton_table.register_all()
