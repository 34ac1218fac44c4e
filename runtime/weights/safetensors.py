"""A Hugging Face directory as a Checkpoint: config.json, one or many *.safetensors files, mapped from disk.

Tensors are found by canonical names: fused projections are split by rows, prefixes of multimodal models are taken off.
Nothing in the directory is imported or unpickled.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadCheckpoint, ModelNotFound, UnsupportedModel
from ..model.config import ModelConfig
from ..model.hf_config import config_from_hf
from .canonical_names import canonical_name
from .checkpoint import Eights, PackedTensor
from .dequant import dequantise
from .json_files import bad, read_json, read_json_if_there
from .pages import SampledFile, forget_pages, map_file
from .quantised import SUFFIXES, Compact, QuantisedLinear, is_ignored, scheme_of
from .safetensors_header import StoredTensor, read_header
from .shapes import check_shapes

_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_LAYER_FUSED = re.compile(r"(model\.layers\.\d{1,6}\.)(self_attn\.qkv_proj|mlp\.gate_up_proj)\.(weight|bias)")


_NUMPY = {
    "F32": np.float32, "F16": np.float16, "F8_E4M3": np.uint8, "I32": np.int32, "I64": np.int64, "I8": np.int8,
    "U8": np.uint8,
}  # fmt: skip
"""How the parts of quantised linears are looked at; BF16 is widened."""


class _Source(NamedTuple):
    """Rows [first, last) of a tensor of one file, or of a quantised linear."""

    shard: int
    tensor: str
    first: int
    last: int
    linear: str = ""
    """Its name without the parts' suffixes."""


class SafetensorsCheckpoint:
    """See `Checkpoint`. Opening reads headers only; tensors are views of the mapped files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        values = read_json(path / "config.json")
        self.config: ModelConfig = config_from_hf(
            values, path / "config.json", read_json_if_there(path / "generation_config.json")
        )
        self._scheme = scheme_of(values.get("quantization_config") or values.get("compression_config"), path)
        self._linears: dict[str, dict[str, tuple[int, str]]] = {}
        """The quantised linears: suffix to where the part lies."""
        self._shapes: dict[str, tuple[int, int]] = {}
        self._forms: dict[str, Compact | None] = {}
        self._compacts: dict[str, Compact | None] = {}
        self._last: tuple[tuple[str, str], NDArray[np.uint8]] | None = None
        self._files: list[Path] = []
        self._maps: list[mmap.mmap] = []
        self._arrays: list[NDArray[np.uint8]] = []
        self._stored: list[dict[str, StoredTensor]] = []
        for file in weight_files(path):
            self._map(file)
        self._sources = self._canonical()
        self._refuse_other_types()
        check_shapes({name: self._shape(source) for name, source in self._sources.items()}, self.config, path)
        self.digest = self._digest()

    def names(self) -> list[str]:
        return list(self._sources)

    def formats(self) -> list[str]:
        stored = {tensor.dtype for tensors in self._stored for tensor in tensors.values()}
        return sorted(stored if self._scheme is None else {*stored, self._scheme.method.upper()})

    def packed(self, name: str) -> PackedTensor:
        """Linears of a quantised checkpoint come as blocks that are computed on, else as float32 beside what is compact
        (quantised.py)."""
        source = self._sources[name]
        shape = self._shape(source)
        if source.linear:
            form = self._form(source.linear)
            compact = self._compact(source.linear) if form is None else None
            return PackedTensor(
                name,
                "F32" if form is None else form.format,
                shape,
                self._rows(source, form),
                widened=form is None,
                compact=None
                if compact is None
                else PackedTensor(name, compact.format, shape, self._rows(source, compact), inputs_K=compact.inputs_K),
                eights=lambda: self._eights(source),
            )
        stored = self._stored[source.shard][source.tensor]
        data = self._arrays[source.shard][stored.start : stored.start + stored.nbytes]
        row = stored.nbytes // stored.shape[0]
        data = data[source.first * row : source.last * row]
        return PackedTensor(name, stored.dtype, shape, data.reshape(shape[0], -1) if len(shape) > 1 else data)

    def dense(self, name: str) -> NDArray[np.float32]:
        source = self._sources[name]
        if source.linear:
            return self._made(source.linear, None)[source.first : source.last].view(np.float32)
        tensor = self.packed(name)
        return dequantise(tensor.data, tensor.format, tensor.shape)

    def forget_pages(self) -> None:
        for memory in self._maps:
            forget_pages(memory)

    def close(self) -> None:
        """Lets go of the files; they stay mapped while tensors of them are in use."""
        self._arrays, self._maps, self._sources, self._last = [], [], {}, None

    def _map(self, file: Path) -> None:
        mapped = map_file(file)
        data = memoryview(mapped)
        self._maps.append(mapped)
        self._files.append(file)
        self._stored.append(read_header(data, file))
        self._arrays.append(np.frombuffer(data, np.uint8))

    def _linear(self, linear: str) -> QuantisedLinear:
        assert self._scheme is not None
        arrays = {suffix: self._array(shard, name) for suffix, (shard, name) in self._linears[linear].items()}
        return QuantisedLinear(self._scheme, arrays, f"{self.path}: {linear}")

    def _eights(self, source: _Source) -> Eights | None:
        found = self._linear(source.linear).eights()
        if found is None:
            return None
        rows = slice(source.first, source.last)
        return Eights(found.codes_NK[rows], found.is_float, found.scales_NG[rows])

    def _form(self, linear: str) -> Compact | None:
        """What holds its numbers in order; None: float32 alone."""
        if linear not in self._forms:
            found = self._linear(linear).form()
            self._forms[linear] = None if found is None else Compact(found)
        return self._forms[linear]

    def _compact(self, linear: str) -> Compact | None:
        if linear not in self._compacts:
            self._compacts[linear] = self._linear(linear).compact()
        return self._compacts[linear]

    def _rows(self, source: _Source, form: Compact | None) -> Callable[[], NDArray[np.uint8]]:
        return lambda: self._made(source.linear, form)[source.first : source.last]

    def _made(self, linear: str, form: Compact | None) -> NDArray[np.uint8]:
        """All rows of a quantised linear in that form, or (None) as float32; the last one made is kept: the parts of a
        fused one are asked for in turn."""
        last, key = self._last, (linear, "" if form is None else form.format)
        if last is None or last[0] != key:
            found = self._linear(linear)
            rows = np.ascontiguousarray(found.dense()).view(np.uint8) if form is None else found.blocks(form)
            last = self._last = (key, rows)
        return last[1]

    def _array(self, shard: int, name: str) -> NDArray[Any]:
        stored = self._stored[shard][name]
        raw = self._arrays[shard][stored.start : stored.start + stored.nbytes]
        if stored.dtype == "BF16":
            return dequantise(raw, "BF16", stored.shape)
        if stored.dtype not in _NUMPY:
            raise UnsupportedModel(f"{self._files[shard]}: tensor {name} is {stored.dtype}, which no quantisation uses")
        return raw.view(_NUMPY[stored.dtype]).reshape(stored.shape)

    def _shape(self, source: _Source) -> tuple[int, ...]:
        if source.linear:
            return source.last - source.first, self._shapes[source.linear][1]
        return (source.last - source.first, *self._stored[source.shard][source.tensor].shape[1:])

    def _canonical(self) -> dict[str, _Source]:
        """Canonical name to where its rows lie."""
        found: dict[str, _Source] = {}
        for shard, tensors in enumerate(self._stored):
            for name, stored in tensors.items():
                canonical = canonical_name(name)
                if canonical is None or (self._scheme is not None and is_ignored(name)):
                    continue
                if canonical.startswith("lm_head.") and self.config.tie_embeddings:
                    continue  # the embedding is the head; a copy in the file is not read
                if not self._belongs_to_linear(shard, name, stored) and stored.shape and 0 not in stored.shape:
                    self._add(found, canonical, stored.shape[0], _Source(shard, name, 0, 0))
        self._shapes = {linear: self._linear(linear).shape for linear in self._linears}
        for linear, (rows, _) in self._shapes.items():
            canonical = canonical_name(f"{linear}.weight")
            assert canonical is not None
            self._add(found, canonical, rows, _Source(0, linear, 0, 0, linear))
        return found

    def _add(self, found: dict[str, _Source], name: str, rows: int, source: _Source) -> None:
        file = self._files[source.shard]
        for part, first, last in self._parts(name, rows, file):
            if part in found:
                raise bad(file, f"tensor {part} is there twice")
            found[part] = source._replace(first=first, last=last)

    def _belongs_to_linear(self, shard: int, name: str, stored: StoredTensor) -> bool:
        """Notes the part of a quantised linear that this tensor is."""
        linear, _, suffix = name.rpartition(".")
        is_part = suffix in SUFFIXES or (suffix == "weight" and stored.dtype in ("I8", "F8_E4M3"))
        if self._scheme is None or not is_part:
            return False
        if suffix in self._linears.setdefault(linear, {}):
            raise bad(self._files[shard], f"tensor {name} is there twice")
        self._linears[linear][suffix] = (shard, name)
        return True

    def _parts(self, name: str, rows: int, file: Path) -> list[tuple[str, int, int]]:
        match = _LAYER_FUSED.fullmatch(name)
        if match is None:
            return [(name, 0, rows)]
        config = self.config
        prefix, fused, kind = match.groups()
        if fused == "self_attn.qkv_proj":
            q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
            sizes = {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}
        else:
            sizes = dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), config.intermediate_size)
        if sum(sizes.values()) != rows:
            raise bad(file, f"tensor {name} has {rows} rows, not {'+'.join(map(str, sizes.values()))}")
        parts, first = [], 0
        for part, size in sizes.items():
            parts.append((f"{prefix}{part}.{kind}", first, first + size))
            first += size
        return parts

    def _refuse_other_types(self) -> None:
        for name, source in self._sources.items():
            dtype = "F32" if source.linear else self._stored[source.shard][source.tensor].dtype
            if dtype not in ("F32", "F16", "BF16"):
                raise UnsupportedModel(
                    f"{self.path}: tensor {name} is {dtype}; F32, F16 and BF16 are read. "
                    "Use an unquantised or a GGUF copy"
                )

    def _digest(self) -> str:
        """Of the config, the headers, the files' sizes and times, and three samples of each tensor."""
        digest = hashlib.blake2b((self.path / "config.json").read_bytes(), digest_size=16)
        for path, stored in zip(self._files, self._stored, strict=True):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
            with SampledFile(path) as file:
                for name, tensor in stored.items():
                    digest.update(f"{name} {tensor}".encode() + file.samples(tensor.start, tensor.nbytes))
        return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weight files, by the index where there is one. Each lies in the folder itself."""
    index = read_json_if_there(folder / _INDEX)
    if index is not None:
        weights = index.get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise bad(folder / _INDEX, "has no weight_map")
        names = set(weights.values()) if all(isinstance(name, str) for name in weights.values()) else {""}
        for name in sorted(names):
            if not _SHARD.fullmatch(name):
                raise bad(folder / _INDEX, f"names the file {name[:200]!r}, which is no plain *.safetensors name")
            if not (folder / name).is_file():
                raise bad(folder / _INDEX, f"names {name}, which is not there")
        return [folder / name for name in sorted(names)]
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    files = sorted(
        path for path in folder.glob("*.safetensors") if not path.name.startswith(("consolidated", "adapter"))
    )
    if files:
        return files
    if any(next(folder.glob(pattern), None) for pattern in _PICKLES):
        raise BadCheckpoint(
            f"{folder} has pickled weights only; they can run code and are never loaded. "
            "Use a safetensors copy of the model"
        )
    raise ModelNotFound(f"{folder} has no *.safetensors", param="model")
