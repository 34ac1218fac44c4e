"""The mapped files of a GGUF model: one, or the parts that llama.cpp's gguf-split made of a large one.

The first part has all metadata, each has tensors of its own. Source: llama.cpp, tools/gguf-split.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import BadCheckpoint
from .gguf_header import Header, read_header
from .pages import map_file
from .part_names import names_of_parts


class GgufPart:
    """One file; opening reads its header only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory = map_file(path)
        self.data = memoryview(self.memory)
        self.header: Header = read_header(self.data, path)

    def number(self, key: str) -> int | None:
        """A whole number of the metadata."""
        found = self.header.metadata.get(key)
        return found if type(found) is int else None

    def close(self) -> None:
        """Lets go of the file; it stays mapped while tensors of it are in use."""
        self.data = memoryview(b"")


def open_parts(path: Path) -> list[GgufPart]:
    """All files of the model, the one with the metadata first, whichever of them `path` is.

    Raises BadCheckpoint naming the part that is missing, damaged or another model's.
    """
    given = GgufPart(path)
    count = given.number("split.count") or 1
    if count == 1:
        return [given]
    names = names_of_parts(path.name)
    if len(names) != count:
        raise BadCheckpoint(
            f"{path}: one of {count} parts of a model, which must be named NAME-00001-of-{count:05d}.gguf and so on; "
            "rename them, or join them with llama-gguf-split --merge"
        )
    parts = [given if name == path.name else _other(path, name) for name in names]
    tensors: set[str] = set()
    for number, part in enumerate(parts):
        if part.number("split.count") != count or part.number("split.no") not in (number, None):
            raise BadCheckpoint(f"{part.path}: is not part {number + 1} of {count}; download the parts again")
        if twice := tensors & part.header.tensors.keys():
            raise BadCheckpoint(f"{part.path}: tensor {min(twice)!r} is in another part too; download the parts again")
        tensors |= part.header.tensors.keys()
    wanted = parts[0].number("split.tensors.count")
    if wanted is not None and wanted != len(tensors):
        raise BadCheckpoint(
            f"{path}: the {count} parts have {len(tensors)} tensors together, not {wanted}; download the parts again"
        )
    return parts


def _other(path: Path, name: str) -> GgufPart:
    file = path.with_name(name)
    if not file.is_file():
        raise BadCheckpoint(f"{path}: a part of a model of which {name} is not beside it; download that part too")
    return GgufPart(file)
