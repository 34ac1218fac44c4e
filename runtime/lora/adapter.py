"""A LoRA adapter's tensors, checked against the model that it is for. R rank, E features in, N features out.

A peft folder: adapter_config.json and adapter_model.safetensors, whose tensors are
base_model.model.<path>.lora_A.weight [R, E] and .lora_B.weight [N, R]. Linears of `q_proj`, `k_proj`, `v_proj`,
`o_proj`, `gate_proj`, `up_proj`, `down_proj` and `lm_head` are served, fused ones (Phi-3's) split by rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadAdapter, BadCheckpoint, ModelNotFound
from ..weights.canonical_names import canonical_name
from ..weights.checkpoint import Checkpoint
from ..weights.safetensors_header import StoredTensor, read_header
from .adapter_config import CONFIG, AdapterConfig, read_adapter_config

Float32 = NDArray[np.float32]

WEIGHTS = "adapter_model.safetensors"
_SERVED = re.compile(r"model\.layers\.\d{1,6}\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)|lm_head")
_TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.[^.]+)?\.weight")
_FUSED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


class LowRank(NamedTuple):
    """What an adapter adds to one linear: y += scale · up (down x)."""

    down_RE: Float32
    up_NR: Float32
    scale: float


@dataclass(frozen=True, eq=False)  # without slots: executors keep what they make of one for as long as it lives
class Adapter:
    """Equal to nothing but itself: a folder that is read again is another adapter."""

    path: Path
    rank: int
    """The largest of its linears."""
    parts: Mapping[str, LowRank]
    """By the canonical name of the linear, without ".weight"."""
    digest: str
    """Of all that its answers depend on: what was computed with it is shared under this name."""


def linears_of(checkpoint: Checkpoint) -> dict[str, tuple[int, int]]:
    """[N, E] of the linears of a model that adapters may adapt."""
    found: dict[str, tuple[int, int]] = {}
    for name in checkpoint.names():
        module = name.removesuffix(".weight")
        if module != name and _SERVED.fullmatch(module):
            rows, columns = checkpoint.packed(name).shape
            found[module] = rows, columns
    found.setdefault("lm_head", (checkpoint.config.vocab_size, checkpoint.config.hidden_size))  # tied
    return found


def read_adapter(folder: Path, linears: Mapping[str, tuple[int, int]]) -> Adapter:
    """Reads a folder whole. `linears`: of the model, see `linears_of`.

    Raises ModelNotFound where there is none, BadAdapter naming file and tensor.
    """
    config = read_adapter_config(folder)
    file = folder / WEIGHTS
    if not file.is_file():
        if (folder / "adapter_model.bin").exists():
            raise _bad(
                folder / "adapter_model.bin",
                "a pickled adapter can run code and is never loaded; save it again with safe_serialization=True",
            )
        raise ModelNotFound(f"{folder} has no {WEIGHTS}", param="lora_path")
    try:
        data = file.read_bytes()
        stored = read_header(memoryview(data), file)
    except BadCheckpoint as error:
        raise BadAdapter(error.message, param="lora_path") from None
    except OSError as error:
        raise _bad(file, f"cannot be read ({error})") from None
    halves = _halves(stored, file)
    parts: dict[str, LowRank] = {}
    for module, pair in halves.items():
        for half in "AB":
            if half not in pair:
                raise _bad(file, f"{module} has no lora_{half}: the file is cut; save the adapter again")
        down_RE, up_NR = (_float32(data, stored[pair[half]], pair[half], file) for half in "AB")
        for name, part in _fitted(module, down_RE, up_NR, config, linears, file):
            if name in parts:
                raise _bad(file, f"{name} is adapted twice, by itself and as a part of a fused linear")
            parts[name] = part
    if not parts:
        raise _bad(file, "holds no lora_A and lora_B tensor")
    digest = hashlib.blake2b((folder / CONFIG).read_bytes(), digest_size=16)
    digest.update(data)
    return Adapter(folder, max(len(p.down_RE) for p in parts.values()), parts, digest.hexdigest())


def _halves(stored: Mapping[str, StoredTensor], file: Path) -> dict[str, dict[str, str]]:
    """Path of each adapted module to its two tensors."""
    halves: dict[str, dict[str, str]] = {}
    for name in stored:
        if name.endswith(".base_layer.weight"):  # peft copies the head of the model when it is a target
            continue
        match = _TENSOR.fullmatch(name)
        if match is None:
            if "lora_embedding_" in name:
                raise _bad(
                    file,
                    f"tensor {name[:200]}: adapters of the embedding are not served; leave it out of target_modules",
                )
            if "lora_magnitude_vector" in name:
                raise _bad(file, f"tensor {name[:200]}: DoRA is not served; merge the adapter into the model")
            raise _bad(file, f"tensor {name[:200]} is no lora_A or lora_B weight; merge the adapter into the model")
        module, half = match.groups()
        pair = halves.setdefault(module, {})
        if half in pair:
            raise _bad(file, f"tensors {pair[half][:200]} and {name[:200]} are the same half")
        pair[half] = name
    return halves


def _fitted(
    module: str,
    down_RE: Float32,
    up_NR: Float32,
    config: AdapterConfig,
    linears: Mapping[str, tuple[int, int]],
    file: Path,
) -> list[tuple[str, LowRank]]:
    """The module's pair under the names of the model's own linears. Raises BadAdapter where it does not fit them."""
    canonical = (canonical_name(f"{module}.weight") or module).removesuffix(".weight")
    names = [canonical]
    for fused, single in _FUSED.items():
        if canonical.endswith(f".{fused}"):
            names = [canonical.removesuffix(fused) + part for part in single]
    unknown = next((name for name in names if name not in linears), None)
    if unknown is not None:
        raise _bad(
            file,
            f"adapts {module}, which is no linear of this model that can be adapted (those are q, k, v, o, gate, up "
            "and down_proj of its layers, and lm_head); take the adapter of this model, or leave it out of "
            "target_modules",
        )
    rank = config.rank_of(module)
    rows, columns = sum(linears[name][0] for name in names), linears[names[0]][1]
    for half, wanted, found in (("A", (rank, columns), down_RE.shape), ("B", (rows, rank), up_NR.shape)):
        if found != wanted:
            raise _bad(
                file,
                f"lora_{half} of {module} should be {list(wanted)} for this model and rank {rank}, is {list(found)}: "
                "it is the adapter of another model, or its config is not its own",
            )
    parts, first = [], 0
    for name in names:
        end = first + linears[name][0]
        parts.append((name, LowRank(down_RE, np.ascontiguousarray(up_NR[first:end]), config.scale_of(module))))
        first = end
    return parts


def _float32(data: bytes, tensor: StoredTensor, name: str, file: Path) -> Float32:
    if tensor.dtype not in _TYPES:
        raise _bad(file, f"tensor {name[:200]} is {tensor.dtype}; F32, F16 and BF16 are read")
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise _bad(file, f"tensor {name[:200]} has the shape {list(tensor.shape)}, which is no matrix")
    dtype = _TYPES[tensor.dtype]
    raw: NDArray[Any] = np.frombuffer(data, dtype, tensor.nbytes // dtype.itemsize, tensor.start)
    if tensor.dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    values: Float32 = raw.astype(np.float32).reshape(tensor.shape)
    if not np.isfinite(values).all():
        raise _bad(file, f"tensor {name[:200]} holds values that are not finite; train the adapter again")
    return values


def _bad(file: Path, what: str) -> BadAdapter:
    return BadAdapter(f"{file}: {what}", param="lora_path")
