"""Random weights of the shapes that a config.json describes: for measuring a model that is not at hand."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..model.config import ModelConfig
from ..model.hf_config import config_from_hf
from .checkpoint import PackedTensor
from .dequant import dequantise
from .json_files import read_json, read_json_if_there
from .shapes import expected_shapes

_BLOCK = 1_048_573
"""Random values that are repeated, a prime: no two rows of a weight are alike. Drawing them all would take minutes."""


class DummyCheckpoint:
    """See `Checkpoint`. bfloat16; the same weights at every start. Linears have no biases."""

    def __init__(self, path: Path) -> None:
        """`path`: a directory with config.json; other files in it are not read."""
        self.path = path
        self.config: ModelConfig = config_from_hf(
            read_json(path / "config.json"), path / "config.json", read_json_if_there(path / "generation_config.json")
        )
        self.digest = hashlib.blake2b(b"dummy" + (path / "config.json").read_bytes(), digest_size=16).hexdigest()
        self._shapes = dict(expected_shapes(self.config, has_head=not self.config.tie_embeddings))
        self._block = np.random.default_rng(0).standard_normal(_BLOCK, np.float32)

    def names(self) -> list[str]:
        return list(self._shapes)

    def formats(self) -> list[str]:
        return ["BF16"]

    def packed(self, name: str) -> PackedTensor:
        """Matrices spread so that activations keep their size; norms are one."""
        return PackedTensor(
            name, "BF16", self._shapes[name], lambda: self._rows(name), repeated=lambda: self._repeated(name)
        )  # fmt: skip

    def _repeated(self, name: str) -> NDArray[np.uint8]:
        shape = self._shapes[name]
        if len(shape) == 1:
            block = np.full(1, 1.0 - self.config.norm_offset, np.float32)
        else:
            block = np.roll(self._block * np.float32(shape[1] ** -0.5), zlib.crc32(name.encode()) % _BLOCK)
        return (block.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)

    def _rows(self, name: str) -> NDArray[np.uint8]:
        shape = self._shapes[name]
        values = np.resize(self._repeated(name).view(np.uint16), shape)
        return (values.reshape(shape[0], -1) if len(shape) > 1 else values).view(np.uint8)

    def dense(self, name: str) -> NDArray[np.float32]:
        tensor = self.packed(name)
        return dequantise(tensor.data, tensor.format, tensor.shape)

    def forget_pages(self) -> None:
        """There are no files."""

    def close(self) -> None:
        self._shapes = {}
