"""The header of a safetensors file, checked: every length and offset lies in the file, nothing overlaps.

Format: 8 bytes, the length of the header; the header, JSON; the data. Source: huggingface/safetensors, README.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from .json_files import bad, parse_json

WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one value."""
MAX_HEADER = 100_000_000
"""The limit of the safetensors library."""
MAX_TENSORS = 1 << 17
_MAX_RANK = 8


class StoredTensor(NamedTuple):
    """`start` counts from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def read_header(data: memoryview, path: Path) -> dict[str, StoredTensor]:
    """The tensors by their names in the file. Raises BadCheckpoint."""
    if len(data) < 8:
        raise bad(path, f"only {len(data)} bytes")
    (size,) = struct.unpack_from("<Q", data)
    if size > min(MAX_HEADER, len(data) - 8):
        raise bad(path, f"the header claims {size} bytes in a file of {len(data)}")
    header = parse_json(path, bytes(data[8 : 8 + size]), "the header")
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise bad(path, f"{len(header)} tensors; at most {MAX_TENSORS} are read")
    begin = 8 + size
    tensors = {name: _tensor(name, entry, path, begin, len(data) - begin) for name, entry in header.items()}
    end, previous = begin, ""
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if tensor.start < end:
            raise bad(path, f"tensors {previous!r:.90} and {name!r:.90} overlap")
        end, previous = tensor.start + tensor.nbytes, name
    return tensors


def _tensor(name: str, entry: object, path: Path, begin: int, available: int) -> StoredTensor:
    if not isinstance(entry, dict):
        raise bad(path, f"tensor {name!r:.90} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise bad(path, f"tensor {name!r:.90} has the unknown dtype {str(dtype)[:40]!r}")
    if not _naturals(shape) or len(shape) > _MAX_RANK:  # type: ignore[arg-type]
        raise bad(path, f"tensor {name!r:.90} has no possible shape")
    if not _naturals(offsets) or len(offsets) != 2:  # type: ignore[arg-type]
        raise bad(path, f"tensor {name!r:.90} has no possible data_offsets")
    assert isinstance(shape, list)
    assert isinstance(offsets, list)
    first, last = offsets
    if not first <= last <= available:
        raise bad(path, f"tensor {name!r:.90} claims bytes {first} to {last} of {available}")
    nbytes = WIDTHS[dtype]
    for extent in shape:  # Python's integers do not overflow
        nbytes *= extent
    if nbytes != last - first:
        raise bad(path, f"tensor {name!r:.90}, {dtype} {str(shape)[:80]}, needs {nbytes} bytes and has {last - first}")
    return StoredTensor(dtype, tuple(shape), begin + first, nbytes)


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 1 << 62 for x in value)
