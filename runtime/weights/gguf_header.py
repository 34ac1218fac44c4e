"""The header of a GGUF file: metadata and where each tensor lies, every number checked before it is used.

A GGUF comes from strangers. A count, length, offset or dimension is believed only after it fits the bytes that are left
in the file; what does not fit is a `BadCheckpoint` that names the key or tensor. Strings of arrays (the vocabulary) are
walked over, not decoded, so that opening costs milliseconds; `Metadata.strings` decodes them when they are wanted.
Nothing here needs numpy: a server's process reads headers and no tensor.
Source: the GGUF specification, ggml/docs/gguf.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import BadCheckpoint, UnsupportedModel

# ggml type id -> (name, values a block, bytes a block). Removed ids (4, 5, 31-33, 36-38) stay unknown.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136),
    30: ("BF16", 1, 2),
}  # fmt: skip
UNSUPPORTED_TYPES: dict[int, str] = {
    9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S", 24: "I8",
    25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
BLOCKS: dict[str, tuple[int, int]] = {name: (values, size) for name, values, size in TENSOR_TYPES.values()}
"""Format name -> (values a block, bytes a block)."""

_SCALARS: dict[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Layouts of `struct` and of views, in this machine's order of bytes, which is the file's."""
_BOOL, _STRING, _ARRAY = 7, 8, 9
MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 17
MAX_STRINGS = 1 << 22
"""Strings in one array: sixteen times the largest vocabulary of today."""
MAX_DIMENSIONS = 4
MAX_STRING = 1 << 24

Scalar = int | float | bool | str


class StringArray(NamedTuple):
    """Where an array of strings lies in the file: `length` of them in bytes [start, end)."""

    start: int
    end: int
    length: int


Value = Scalar | StringArray | memoryview
"""Of a key; arrays of numbers are views of the file."""


class TensorInfo(NamedTuple):
    """`shape` is rows first (the file stores the row length first); `start` counts from the beginning of the file."""

    name: str
    format: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that precedes the tensor data."""

    version: int
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]
    data_start: int
    tokenizer_span: tuple[int, int]
    """Bytes from the first to the last `tokenizer.` key: what a digest of the vocabulary covers."""


class HeaderReader:
    """Walks a mapped file from its beginning."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0

    def bad(self, what: str) -> BadCheckpoint:
        return BadCheckpoint(f"{self.path}: {what}. The file is damaged or not a model; download it again")

    def _room(self, size: int, what: str) -> int:
        """Where the next `size` bytes begin; moves past them."""
        start = self.at
        if size > len(self.data) - start:
            raise self.bad(
                f"{what} needs {size} bytes at offset {start}, past the end of the file ({len(self.data)} bytes)"
            )
        self.at = start + size
        return start

    def number(self, layout: str, what: str) -> int:
        return int(struct.unpack_from(layout, self.data, self._room(struct.calcsize(layout), what))[0])

    def string(self, what: str, limit: int = MAX_STRING) -> str:
        size = self.number("<Q", f"the length of {what}")
        if size > limit:
            raise self.bad(f"{what} claims to be a string of {size} bytes; at most {limit} are read")
        start = self._room(size, what)
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError:
            raise self.bad(f"{what} is not UTF-8") from None

    def value(self, key: str) -> Value:
        kind = self.number("<I", f"the type of {key!r:.90}")
        if kind == _STRING:
            return self.string(f"key {key!r:.90}")
        if kind == _ARRAY:
            return self._array(key)
        layout = _SCALARS.get(kind)
        if layout is None:
            raise self.bad(f"key {key!r:.90} has the unknown value type {kind}")
        (found,) = struct.unpack_from(layout, self.data, self._room(struct.calcsize(layout), f"key {key!r:.90}"))
        return bool(found) if kind == _BOOL else found

    def _array(self, key: str) -> Value:
        kind = self.number("<I", f"the element type of {key!r:.90}")
        count = self.number("<Q", f"the length of {key!r:.90}")
        if kind == _ARRAY:
            raise self.bad(f"key {key!r:.90} is an array of arrays, which no model needs")
        if kind == _STRING:
            if count > MAX_STRINGS or count * 8 > len(self.data) - self.at:
                raise self.bad(f"key {key!r:.90} claims {count} strings, more than the file can hold")
            return self._skip_strings(key, count)
        layout = _SCALARS.get(kind)
        if layout is None:
            raise self.bad(f"key {key!r:.90} has the unknown element type {kind}")
        size = struct.calcsize(layout)
        if count > len(self.data) // size:
            raise self.bad(f"key {key!r:.90} claims {count} elements, more than the file can hold")
        start = self._room(count * size, f"key {key!r:.90}")
        found = self.data[start : self.at]
        if count:  # an empty view cannot be cast
            found = found.cast(layout)  # type: ignore[call-overload]  # one of _SCALARS
        return found

    def _skip_strings(self, key: str, count: int) -> StringArray:
        data, start, end = self.data, self.at, len(self.data)
        unpack = struct.Struct("<Q").unpack_from
        at, index = start, 0
        try:
            for index in range(count):  # noqa: B007  # told when it fails
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):
            raise self.bad(f"string {index} of {key!r:.90} lies past the end of the file") from None
        if at > end:
            raise self.bad(f"the strings of {key!r:.90} reach past the end of the file")
        self.at = at
        return StringArray(start, at, count)

    def tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, type id, shape rows first, offset from the data's beginning; not yet checked against the file."""
        name = self.string("a tensor's name", 1024)
        rank = self.number("<I", f"the rank of tensor {name!r:.90}")
        if not 1 <= rank <= MAX_DIMENSIONS:
            raise self.bad(f"tensor {name!r:.90} claims {rank} dimensions; 1 to {MAX_DIMENSIONS} are possible")
        shape = tuple(self.number("<Q", f"a dimension of tensor {name!r:.90}") for _ in range(rank))
        kind = self.number("<I", f"the type of tensor {name!r:.90}")
        return name, kind, shape[::-1], self.number("<Q", f"the offset of tensor {name!r:.90}")


def _tensor_bytes(reader: HeaderReader, name: str, kind: int, shape: tuple[int, ...]) -> tuple[str, int]:
    if kind in UNSUPPORTED_TYPES:
        known = ", ".join(BLOCKS)
        raise UnsupportedModel(
            f"{reader.path}: tensor {name!r:.90} is {UNSUPPORTED_TYPES[kind]}; types read here: {known}"
        )
    if kind not in TENSOR_TYPES:
        raise reader.bad(f"tensor {name!r:.90} has the unknown type {kind}")
    format_, block, size = TENSOR_TYPES[kind]
    values = 1
    for extent in shape:  # Python's integers do not overflow
        values *= extent
    if min(shape) < 1 or values > len(reader.data) * 8:
        raise reader.bad(f"tensor {name!r:.90} of shape {list(shape)} cannot lie in {len(reader.data)} bytes")
    if shape[-1] % block:
        raise reader.bad(f"tensor {name!r:.90} has rows of {shape[-1]} values, not a multiple of {format_}'s {block}")
    return format_, values // block * size


def _alignment(reader: HeaderReader, found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or found < 1 or found & (found - 1) or found > 1 << 20:
        told = found if isinstance(found, bool | int | float) else "no number"
        raise reader.bad(f"general.alignment is {told}, not a power of two")
    return found


def read_header(data: memoryview, path: Path) -> Header:
    """Raises BadCheckpoint for anything that does not fit the file, UnsupportedModel for tensor types not read here."""
    reader = HeaderReader(data, path)
    if bytes(data[:4]) != b"GGUF":
        raise reader.bad("not a GGUF file (its first four bytes are not 'GGUF')")
    reader.at = 4
    version = reader.number("<I", "the version")
    if version not in (2, 3):
        hint = " (big-endian files are not read)" if version & 0xFFFF == 0 and version else ""
        raise UnsupportedModel(
            f"{path}: GGUF version {version}{hint}; versions 2 and 3 are read. Convert the file again"
        )
    num_tensors = reader.number("<Q", "the number of tensors")
    num_keys = reader.number("<Q", "the number of keys")
    if num_tensors > MAX_TENSORS or num_keys > MAX_KEYS:
        raise reader.bad(
            f"{num_tensors} tensors and {num_keys} keys are claimed; at most {MAX_TENSORS} and {MAX_KEYS} are read"
        )
    metadata: dict[str, Value] = {}
    first, last = 0, 0
    for _ in range(num_keys):
        begin = reader.at
        key = reader.string("a key", 65535)
        if key in metadata:
            raise reader.bad(f"key {key!r:.90} appears twice")
        metadata[key] = reader.value(key)
        if key.startswith("tokenizer."):
            first, last = first or begin, reader.at
    entries = [reader.tensor() for _ in range(num_tensors)]
    alignment = _alignment(reader, metadata.get("general.alignment", 32))
    data_start = -(-reader.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, kind, shape, offset in entries:
        format_, nbytes = _tensor_bytes(reader, name, kind, shape)
        if name in tensors:
            raise reader.bad(f"tensor {name!r:.90} appears twice")
        if offset % alignment:
            raise reader.bad(f"tensor {name!r:.90} begins at {offset}, not a multiple of the alignment {alignment}")
        if data_start + offset + nbytes > len(data):
            end = data_start + offset + nbytes
            raise reader.bad(f"tensor {name!r:.90} ends at byte {end}, past the end of the file ({len(data)} bytes)")
        tensors[name] = TensorInfo(name, format_, shape, data_start + offset, nbytes)
    end, previous = data_start, ""
    for info in sorted(tensors.values(), key=lambda tensor: tensor.start):
        if info.start < end:
            raise reader.bad(f"tensors {previous!r:.90} and {info.name!r:.90} overlap")
        end, previous = info.start + info.nbytes, info.name
    return Header(version, metadata, tensors, data_start, (first, last))


def read_strings(data: memoryview, array: StringArray, first: int = 0, last: int | None = None) -> list[str]:
    """Strings [first, last) of an array that `read_header` walked over; broken UTF-8 becomes U+FFFD."""
    unpack = struct.Struct("<Q").unpack_from
    raw = data[array.start : array.end]
    found, at = [], 0
    for index in range(array.length if last is None else min(last, array.length)):
        size = unpack(raw, at)[0]
        at += 8
        if index >= first:
            found.append(str(raw[at : at + size], "utf-8", "replace"))
        at += size
    return found
