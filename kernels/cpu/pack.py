"""A checkpoint's matrices in the layout that the native linears read: packed in parallel from the mapped file, cached.

The packed form of a whole model is one file in the cache folder, named by the digest of the checkpoint, the layout
version and the list of matrices; the next start maps it. The same for every instruction set; layouts: csrc/pack.h.

    layer = "model.layers.0"
    specs = [
        MatrixSpec("0.qkv", (f"{layer}.self_attn.q_proj", f"{layer}.self_attn.k_proj", f"{layer}.self_attn.v_proj")),
        MatrixSpec("0.gate_up", (f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj"), gate_up=True),
    ]
    packed = pack_model(checkpoint, specs, library=library, cache_dir=folder)
    packed.weight("0.qkv")  # a ctypes Weight: pass it by reference or copy it into a struct of your own
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BadCheckpoint, UnsupportedModel
from . import pack_cache

if TYPE_CHECKING:
    from typing import Any

    # Of runtime/weights/checkpoint.py, the layer above: names(), packed() and dense() are used, and a tensor's fields.
    Checkpoint = Any
    PackedTensor = Any

logger = logging.getLogger(__name__)

LAYOUT_VERSION = 4
"""Of csrc/pack.h: a change of any layout there is a change here."""
_MAGIC = b"radixlang packed weights\n"
_HEADER = 64
_COLUMNS = 32  # kStrip
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_STRIPS_A_TASK = 16

FORMATS = (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "A4", "A8",
)  # fmt: skip
"""PackedTensor.format in the order of SourceFormat in csrc/pack.h."""


class Weight(ctypes.Structure):
    """One packed matrix; mirrors rx::Weight of csrc/linear.h."""

    _fields_ = (
        ("tiles", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("strip_bytes", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("packed_columns", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )
    memory: mmap.mmap | None = None
    """What `tiles` lies in."""


class PackPart(ctypes.Structure):
    """Rows of one tensor; mirrors rx::PackPart of csrc/pack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row_bytes", ctypes.c_int64),
        ("format", ctypes.c_int32),
        ("rows", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """One matrix of the step and the checkpoint's tensors that it is made of."""

    name: str
    """The caller's name for it."""
    parts: tuple[str, ...]
    """Modules whose rows follow one another, without `.weight`, all of one depth. A `.bias` that exists is fused."""
    gate_up: bool = False
    """Two parts of equal size, gate and up, interleaved by 16 columns for the gated epilogue."""


class _Matrix(NamedTuple):
    """A spec with its shape decided and its place in the packed file."""

    spec: MatrixSpec
    weight: Weight
    """Without addresses."""
    tiles_at: int
    bias_at: int | None
    inputs_at: int | None
    end: int


class PackedModel:
    """Packed matrices over one mapping. Copies of its weights in other structs do not keep it alive."""

    def __init__(self, memory: mmap.mmap, matrices: Sequence[_Matrix]) -> None:
        self._memory: mmap.mmap | None = memory
        self._bytes: NDArray[np.uint8] | None = np.frombuffer(memory, np.uint8)
        base = self._bytes.ctypes.data
        self._weights: dict[str, Weight] = {}
        for matrix in matrices:
            weight = Weight.from_buffer_copy(matrix.weight)
            weight.tiles = base + matrix.tiles_at
            weight.bias = None if matrix.bias_at is None else base + matrix.bias_at
            weight.inputs = None if matrix.inputs_at is None else base + matrix.inputs_at
            weight.memory = memory  # keeps the mapping while someone holds the weight
            self._weights[matrix.spec.name] = weight

    def weight(self, name: str) -> Weight:
        """Raises KeyError for a name that was not in the specs."""
        return self._weights[name]

    @property
    def nbytes(self) -> int:
        return 0 if self._bytes is None else self._bytes.nbytes

    def close(self) -> None:
        """Unmaps; no Weight may be used afterwards."""
        self._weights.clear()
        self._bytes = None
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def pack_model(
    checkpoint: Checkpoint,
    specs: Sequence[MatrixSpec],
    *,
    library: ctypes.CDLL,
    cache_dir: Path,
    use_cache: bool = True,
    num_threads: int = 0,
) -> PackedModel:
    """The model's matrices, packed. Maps the cached file when there is one; else packs, and writes the file unless
    `use_cache` is false (then the packed form lives in anonymous memory).

    num_threads: 0 for as many as this process may use. Raises BadCheckpoint for parts of unequal depth,
    UnsupportedModel for a tensor format that the native step does not read.
    """
    _declare(library)
    names = frozenset(checkpoint.names())
    matrices = _lay_out(checkpoint, specs, names, library)
    size = matrices[-1].end if matrices else _HEADER
    header = _MAGIC + size.to_bytes(8, "little")
    path = cache_dir / pack_cache.name_of(LAYOUT_VERSION, _key(checkpoint.digest, matrices))
    if use_cache and (mapped := pack_cache.map_file(path, header, size)) is not None:
        return PackedModel(mapped, matrices)
    start = time.monotonic()
    file = pack_cache.new_file(cache_dir, size) if use_cache else None
    try:
        # Private where it is anonymous: shared memory has no huge pages on most systems.
        memory = mmap.mmap(file.descriptor, size) if file else mmap.mmap(-1, size, flags=_ANONYMOUS)
        if file is None and hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        _fill(memory, checkpoint, matrices, names, library, num_threads or _available_cores())
        memory[: len(header)] = header
        if file is not None:
            memory.flush()
            memory.close()
            pack_cache.finish(file, path)
    except BaseException:
        if file is not None:
            file.path.unlink(missing_ok=True)
        raise
    finally:
        if file is not None:
            os.close(file.descriptor)
    logger.info("packed %d matrices, %d MiB, in %.1f s", len(matrices), size >> 20, time.monotonic() - start)
    if file is not None:
        pack_cache.prune(cache_dir, LAYOUT_VERSION, keep=path)
        if (mapped := pack_cache.map_file(path, header, size)) is None:  # somebody deleted it meanwhile
            return pack_model(
                checkpoint, specs, library=library, cache_dir=cache_dir, use_cache=False, num_threads=num_threads
            )
        memory = mapped
    return PackedModel(memory, matrices)


def _declare(library: ctypes.CDLL) -> None:
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    for name, result, arguments in (
        ("rx_pack_kind_for", i32, (i32,)),
        ("rx_pack_join", i32, (i32, i32)),
        ("rx_pack_strip_bytes", i64, (i32, i32)),
        ("rx_pack_row_bytes", i64, (i32, i32)),
        ("rx_pack_strips", None, (pointer, i32, i32, i32, i32, i32, i32, pointer)),
        ("rx_pack_unpack", None, (pointer, i32, i32, pointer)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _lay_out(
    checkpoint: Checkpoint, specs: Sequence[MatrixSpec], names: frozenset[str], library: ctypes.CDLL
) -> list[_Matrix]:
    """Kind, shape and place of every matrix. Reads no weights."""
    matrices, end = list[_Matrix](), _HEADER
    for spec in specs:
        tensors = _tensors(checkpoint, spec)
        if any(tensor.compact is not None for tensor in tensors):
            logger.warning("%s is computed in float32: its parts take their inputs in different orders", spec.name)
        depth = tensors[0].shape[1]
        if any(len(t.shape) != 2 or t.shape[1] != depth for t in tensors):
            raise BadCheckpoint(
                f"{', '.join(t.name for t in tensors)} cannot become one matrix: their shapes are "
                f"{', '.join(str(t.shape) for t in tensors)}"
            )
        kind = -1
        for tensor in tensors:
            own = library.rx_pack_kind_for(FORMATS.index(tensor.format)) if tensor.format in FORMATS else -1
            if own < 0:
                raise UnsupportedModel(f"the native step does not read {tensor.format} ({tensor.name})")
            kind = own if kind < 0 else library.rx_pack_join(kind, own)
        rows = sum(t.shape[0] for t in tensors)
        if spec.gate_up:
            if len(tensors) != 2 or tensors[0].shape != tensors[1].shape:
                raise BadCheckpoint(f"{spec.name}: gate and up must be two matrices of one shape")
            rows //= 2
        packed_columns = -(-rows // (_COLUMNS // 2)) * _COLUMNS if spec.gate_up else -(-rows // _COLUMNS) * _COLUMNS
        weight = Weight(
            strip_bytes=library.rx_pack_strip_bytes(kind, depth),
            kind=kind,
            order=int(spec.gate_up),
            depth=depth,
            columns=rows,
            packed_columns=packed_columns,
        )
        tiles_at = end
        end += weight.strip_bytes * (packed_columns // _COLUMNS)
        bias_at = None
        if any(f"{part}.bias" in names for part in spec.parts):
            bias_at = end
            end += packed_columns * 4
        inputs_at = None
        if tensors[0].inputs_K is not None:
            inputs_at = end
            end += -(-depth // 16) * 64
        matrices.append(_Matrix(spec, weight, tiles_at, bias_at, inputs_at, end))
    return matrices


def _tensors(checkpoint: Checkpoint, spec: MatrixSpec) -> list[PackedTensor]:
    """The parts as they are packed: compact, if the inputs of all are in one order then."""
    tensors = [checkpoint.packed(f"{part}.weight") for part in spec.parts]
    compact = [tensor.compact or tensor for tensor in tensors]
    first = compact[0].inputs_K
    alike = all(t.inputs_K is first or (first is not None and np.array_equal(t.inputs_K, first)) for t in compact)
    return compact if alike else tensors


def _key(digest: str, matrices: Sequence[_Matrix]) -> str:
    """Of content, layout and plan: 32 hexadecimal digits."""
    state = hashlib.sha256(f"{digest} {LAYOUT_VERSION}".encode())
    for matrix in matrices:
        state.update(repr((matrix.spec, bytes(matrix.weight), matrix.bias_at, matrix.inputs_at)).encode())
    return state.hexdigest()[:32]


def _fill(
    memory: mmap.mmap,
    checkpoint: Checkpoint,
    matrices: Sequence[_Matrix],
    names: frozenset[str],
    library: ctypes.CDLL,
    num_threads: int,
) -> None:
    """Packs everything. One thread walks the matrices, so that few copies of unpermuted rows are alive at a time."""
    from concurrent.futures import ThreadPoolExecutor  # most starts map what was packed before

    out = np.frombuffer(memory, np.uint8)
    base = out.ctypes.data
    with ThreadPoolExecutor(num_threads) as pool:
        for matrix in matrices:
            weight, spec = matrix.weight, matrix.spec
            tensors = _tensors(checkpoint, spec)
            parts = (PackPart * len(tensors))()
            arrays = [tensor.data for tensor in tensors]  # held until the tasks are done: they may be made just now
            for i, (tensor, data) in enumerate(zip(tensors, arrays, strict=True)):
                format_ = FORMATS.index(tensor.format)
                if library.rx_pack_row_bytes(format_, weight.depth) != data.shape[1] or len(data) != tensor.shape[0]:
                    raise BadCheckpoint(
                        f"{tensor.name}: {tensor.shape[0]} rows of {weight.depth} weights in {tensor.format} are not "
                        f"{len(data)} of {data.shape[1]} bytes"
                    )
                if data.strides[1] != 1:
                    raise BadCheckpoint(f"{tensor.name}: the bytes of a row do not follow one another")
                parts[i] = PackPart(data.ctypes.data, data.strides[0], format_, tensor.shape[0])
            strips = weight.packed_columns // _COLUMNS
            tasks = [
                pool.submit(
                    library.rx_pack_strips,
                    parts,
                    len(tensors),
                    weight.kind,
                    weight.order,
                    weight.depth,
                    first,
                    min(first + _STRIPS_A_TASK, strips),
                    base + matrix.tiles_at,
                )
                for first in range(0, strips, _STRIPS_A_TASK)
            ]
            if matrix.bias_at is not None:
                bias = _bias(checkpoint, matrix, names, [t.shape[0] for t in tensors])
                out[matrix.bias_at : matrix.bias_at + bias.nbytes] = bias.view(np.uint8)
            if matrix.inputs_at is not None:
                inputs_K = np.ascontiguousarray(tensors[0].inputs_K, np.int32)
                out[matrix.inputs_at : matrix.inputs_at + inputs_K.nbytes] = inputs_K.view(np.uint8)
            for task in tasks:
                task.result()


def _bias(checkpoint: Checkpoint, matrix: _Matrix, names: frozenset[str], rows: Sequence[int]) -> NDArray[np.float32]:
    """In packed order, zero where a part has none."""
    biases = [
        checkpoint.dense(f"{part}.bias") if f"{part}.bias" in names else np.zeros(count, np.float32)
        for part, count in zip(matrix.spec.parts, rows, strict=True)
    ]
    for part, bias, count in zip(matrix.spec.parts, biases, rows, strict=True):
        if bias.shape != (count,):
            raise BadCheckpoint(f"{part}.bias should be [{count}], is {list(bias.shape)}")
    packed = np.zeros(matrix.weight.packed_columns, np.float32)
    if matrix.spec.gate_up:
        halves = packed.reshape(-1, 2, _COLUMNS // 2)
        for i, bias in enumerate(biases):
            padded = np.zeros(halves.shape[0] * (_COLUMNS // 2), np.float32)
            padded[: len(bias)] = bias
            halves[:, i] = padded.reshape(-1, _COLUMNS // 2)
    else:
        joined = np.concatenate(biases)
        packed[: len(joined)] = joined
    return packed


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
