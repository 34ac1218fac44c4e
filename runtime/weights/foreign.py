"""A Hugging Face directory of a family that we do not read ourselves: transformers' modelling code loads its weights.

Headers are read and checked all the same: a damaged file is named before anything is loaded, and sizes are known.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedModel
from ..model.config import ModelConfig
from ..model.foreign_config import foreign_config
from .checkpoint import PackedTensor
from .dequant import dequantise
from .json_files import bad, read_json, read_json_if_there
from .pages import map_file
from .safetensors import weight_files
from .safetensors_header import StoredTensor, read_header


class ForeignCheckpoint:
    """See `Checkpoint`, but for the names: those of the files, which only the family's own code understands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        values = read_json(path / "config.json")
        self.config: ModelConfig = foreign_config(
            values, path / "config.json", read_json_if_there(path / "generation_config.json")
        )
        if values.get("quantization_config") or values.get("compression_config"):
            raise UnsupportedModel(
                f"{path}: quantised weights of a {values['model_type']} model are not read; use an unquantised copy",
                param="model",
            )
        self._stored: dict[str, tuple[memoryview, StoredTensor]] = {}
        digest = hashlib.blake2b((path / "config.json").read_bytes(), digest_size=16)
        for file in weight_files(path):
            stat = file.stat()
            digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
            self._map(file)
        self.digest = digest.hexdigest()

    def names(self) -> list[str]:
        return list(self._stored)

    def formats(self) -> list[str]:
        return sorted({stored.dtype for _, stored in self._stored.values()})

    def packed(self, name: str) -> PackedTensor:
        data, stored = self._stored[name]
        raw = np.frombuffer(data, np.uint8)[stored.start : stored.start + stored.nbytes]
        rows = raw.reshape(stored.shape[0], -1) if len(stored.shape) > 1 and stored.shape[0] else raw
        return PackedTensor(name, stored.dtype, stored.shape, rows)

    def dense(self, name: str) -> NDArray[np.float32]:
        tensor = self.packed(name)
        return dequantise(tensor.data, tensor.format, tensor.shape)

    def forget_pages(self) -> None:
        """Only headers are read here."""

    def close(self) -> None:
        """Lets go of the files."""
        self._stored = {}

    def _map(self, file: Path) -> None:
        data = memoryview(map_file(file))
        for name, stored in read_header(data, file).items():
            if name in self._stored:
                raise bad(file, f"tensor {name} is there twice")
            self._stored[name] = (data, stored)
