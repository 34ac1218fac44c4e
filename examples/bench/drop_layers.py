"""Writes a GGUF without some of its layers: a draft model for a model that has no smaller sister.

    python examples/bench/drop_layers.py OUT.gguf [--model smollm2-135m-instruct] [--keep 0-11,20-29]

Nothing is trained anew: the fewer layers are left, the more often it guesses wrong. Its tokens are the model's own.
"""

from __future__ import annotations

import argparse
import mmap
import re
import struct
from pathlib import Path

from command import run_main

from radixlang.runtime.store.resolve import resolve_model
from radixlang.runtime.weights.gguf_header import HeaderReader

_ALIGNMENT = 32
_BLOCK = re.compile(r"blk\.(\d+)\.")


def layers_of(text: str) -> list[int]:
    """0-2,5 is 0, 1, 2 and 5."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def drop_layers(source: Path, out: Path, keep: list[int]) -> None:
    """`out` has the layers `keep` of `source`, in their order, and all else."""
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = bytes(mapped)
    reader = HeaderReader(memoryview(data), source)
    reader.at = 8
    num_tensors, num_keys = reader.number("<Q", "tensors"), reader.number("<Q", "keys")
    keys = bytearray()
    for _ in range(num_keys):
        begin = reader.at
        key = reader.string("a key")
        reader.value(key)
        keys += data[begin : reader.at]
        if key.endswith(".block_count"):
            keys[-4:] = struct.pack("<I", len(keep))
    entries = [reader.tensor() for _ in range(num_tensors)]
    data_start = -(-reader.at // _ALIGNMENT) * _ALIGNMENT
    ends = sorted([offset for *_, offset in entries] + [len(data) - data_start])
    infos, tensors = bytearray(), bytearray()
    kept = 0
    for name, kind, shape, offset in entries:
        block = _BLOCK.match(name)
        if block is not None and int(block[1]) not in keep:
            continue
        new = name if block is None else f"blk.{keep.index(int(block[1]))}.{name[block.end() :]}"
        infos += struct.pack("<Q", len(new)) + new.encode()
        infos += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(tensors))
        end = next(end for end in ends if end > offset)
        tensors += data[data_start + offset : data_start + end]
        tensors += bytes(-len(tensors) % _ALIGNMENT)
        kept += 1
    head = data[:8] + struct.pack("<QQ", kept, num_keys) + keys + infos
    out.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + tensors)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("out", type=Path)
    options.add_argument("--model", default="smollm2-135m-instruct")
    options.add_argument("--keep", type=layers_of, default=layers_of("0-11,20-29"), help="layers, such as 0-11,20-29")
    given = options.parse_args()
    drop_layers(Path(resolve_model(given.model)), given.out, given.keep)
    print(given.out)


if __name__ == "__main__":
    run_main(main)
