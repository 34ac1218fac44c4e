"""Speed of the native linears on one core, by matrix and number of rows, beside what this core can do at most.

    python examples/bench/linear.py                       matrices of the default model, best instruction set
    python examples/bench/linear.py --isa avx2 --rows 1 16 --json linear.json
    python examples/bench/linear.py --formats             one matrix in every quantised format of GGUF

Each figure is the best of interleaved rounds, in this thread's own time: other work on the machine only adds to it. The
weights of a matrix are spread over copies that no cache holds together, as a model's are. Limits: dot products on
registers alone, and bytes read in order.
"""

import argparse
import ctypes
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radixlang.kernels.cpu.load import instruction_set, load
from radixlang.kernels.cpu.pack import FORMATS, PackPart, Weight
from radixlang.runtime.weights.gguf_header import BLOCKS

_EPILOGUES = {"store": 0, "add": 1, "gated": 2}
_COPIES_BYTES = 48 << 20
_SCALES = {
    "Q4_0": (0, 1), "Q4_1": (0, 2), "Q5_0": (0, 1), "Q5_1": (0, 2), "Q8_0": (0, 1), "Q2_K": (80, 2), "Q3_K": (108, 1),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208, 1), "IQ4_NL": (0, 1), "IQ4_XS": (0, 1),
}  # fmt: skip
"""Where the fp16 scales and offsets of a block lie, and how many."""


class Shape(NamedTuple):
    name: str
    columns: int
    depth: int
    format: str
    epilogue: str


SHAPES = (
    Shape("qkv", 960, 576, "Q4_1", "store"),
    Shape("output", 576, 576, "Q4_1", "add"),
    Shape("gate_up", 3072, 576, "Q4_1", "gated"),
    Shape("down", 576, 1536, "Q4_1", "add"),
    Shape("head", 49152, 576, "Q8_0", "store"),
)


class Matrix:
    """A random matrix, packed, in as many copies as caches cannot hold."""

    def __init__(self, library: ctypes.CDLL, shape: Shape) -> None:
        self.shape, self._library = shape, library
        number = FORMATS.index(shape.format)
        rng = np.random.default_rng(0)
        values, size = BLOCKS[shape.format]
        blocks = rng.integers(0, 256, (shape.columns, shape.depth // values, size)).astype(np.uint8)
        at, halves = _SCALES[shape.format]
        scales = rng.uniform(0.01, 0.02, (*blocks.shape[:2], halves)).astype(np.float16)
        blocks[:, :, at : at + 2 * halves] = scales.view(np.uint8)
        kind = library.rx_pack_kind_for(number)
        strip = library.rx_pack_strip_bytes(kind, shape.depth)
        self.nbytes = strip * shape.columns // 32
        copies = max(1, _COPIES_BYTES // self.nbytes)
        raw = np.zeros(copies * self.nbytes + 64, np.uint8)
        self._tiles = raw[-raw.ctypes.data % 64 :][: copies * self.nbytes].reshape(copies, -1)
        blocks = blocks.reshape(shape.columns, -1)
        part = PackPart(blocks.ctypes.data, blocks.strides[0], number, shape.columns)
        library.rx_pack_strips(
            ctypes.addressof(part), 1, kind, 0, shape.depth, 0, shape.columns // 32, self._tiles.ctypes.data
        )
        self._tiles[1:] = self._tiles[0]
        gated = shape.epilogue == "gated"
        self._weights = [
            Weight(
                tiles=copy.ctypes.data,
                strip_bytes=strip,
                kind=kind,
                order=int(gated),
                depth=shape.depth,
                columns=shape.columns // (2 if gated else 1),
                packed_columns=shape.columns,
            )
            for copy in self._tiles
        ]
        self._next = 0

    def seconds(self, isa: str, x: np.ndarray, out: np.ndarray) -> float:
        """Of one product, on the copy that has waited longest."""
        weight = self._weights[self._next]
        self._next = (self._next + 1) % len(self._weights)
        return float(
            self._library.rx_linear(
                isa.encode(), ctypes.addressof(weight), x.ctypes.data, len(x), 0, weight.packed_columns,
                _EPILOGUES[self.shape.epilogue], 0, 1.0, out.ctypes.data, weight.columns, 1,
            )
        )  # fmt: skip


def declare(library: ctypes.CDLL) -> None:
    address, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    library.rx_linear.restype = library.rx_linear_peak.restype = ctypes.c_double
    library.rx_linear_bandwidth.restype = ctypes.c_double
    library.rx_linear_peak.argtypes = [ctypes.c_char_p]
    library.rx_linear_bandwidth.argtypes = [address, i64]
    library.rx_linear.argtypes = [ctypes.c_char_p, address, address, i32, i32, i32, i32, i32, ctypes.c_float, address]
    library.rx_linear.argtypes += [i64, i32]
    library.rx_pack_strip_bytes.restype = i64
    library.rx_pack_strips.argtypes = [address, i32, i32, i32, i32, i32, i32, address]
    library.rx_pack_strips.restype = None


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the native linears on one core.")
    parser.add_argument("--isa", default=None, help="instruction set; default: the one in use")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 6, 16, 64, 512])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--formats", action="store_true", help="a matrix of 1536 x 1536 in every quantised format")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    library = load()
    declare(library)
    isa = options.isa or instruction_set()
    peak = library.rx_linear_peak(isa.encode()) / 1e9
    if peak < 0:
        parser.error(f"{isa} is not compiled or does not run here")
    memory = np.ones(64 << 20, np.uint8)
    bandwidth = library.rx_linear_bandwidth(memory.ctypes.data, memory.nbytes) / 1e9
    print(f"{isa}: at most {peak:.0f} GMAC/s a core, {bandwidth:.1f} GB/s; load average {os.getloadavg()[0]:.1f}")
    print(f"{'':9}{'rows':>5}{'GMAC/s':>9}{'of peak':>9}{'GB/s':>7}{'of bandwidth':>14}")
    shapes = tuple(Shape(name, 1536, 1536, name, "store") for name in _SCALES) if options.formats else SHAPES
    rows_of = np.random.default_rng(1)
    results = []
    for shape in shapes:
        matrix = Matrix(library, shape)
        inputs = {n: rows_of.standard_normal((n, shape.depth)).astype(np.float32) for n in options.rows}
        outputs = {n: np.zeros((n, shape.columns), np.float32) for n in options.rows}
        best = dict.fromkeys(options.rows, 1e9)
        for _ in range(options.rounds):
            for n in options.rows:
                repeats = 1 if n * shape.columns > 1 << 20 else 3
                best[n] = min(best[n], *(matrix.seconds(isa, inputs[n], outputs[n]) for _ in range(repeats)), 1e9)
        for n, seconds in best.items():
            speed = n * shape.columns * shape.depth / seconds / 1e9
            read = matrix.nbytes / seconds / 1e9
            print(
                f"{shape.name:9}{n:5}{speed:9.1f}{100 * speed / peak:8.0f}%{read:7.1f}{100 * read / bandwidth:13.0f}%"
            )
            row = {"matrix": shape.name, "rows": n, "gmac_s": speed, "of_peak": speed / peak, "gb_s": read}
            results.append({**row, "of_bandwidth": read / bandwidth})
    if options.json:
        found = {"isa": isa, "peak_gmac_s": peak, "read_gb_s": bandwidth, "results": results}
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
