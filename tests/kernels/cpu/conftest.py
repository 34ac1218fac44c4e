"""Packed matrices made from random blocks and the native linears called on them one at a time; whole tiny models."""

import ctypes
import hashlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import strategies as st

from radixlang.kernels.cpu import build, load, pack
from radixlang.kernels.cpu.load import native_folder
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model.config import ModelConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.plan import SamplePlan
from radixlang.runtime.weights.checkpoint import PackedTensor

INSTRUCTION_SETS = ("avx512bf16", "avx512", "avx2vnni", "avx2", "neon", "scalar")
PARTS = ("isa", "linear", "linear_abi", "pack", "pack_abi", "pack_formats")
"""Sources that are compiled once."""
_HALVES = {
    "Q2_K": (80, 2),
    "Q3_K": (108, 1),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208, 1),
    "IQ4_NL": (0, 1),
    "IQ4_XS": (0, 1),
}
"""Formats that the gguf package does not write: where their fp16 scales lie in a block, and how many."""


@dataclass
class Packed:
    """A packed matrix and the memory it lies in."""

    library: Any
    weight: pack.Weight
    memory: list[Any]

    def dense(self, columns: int | None = None) -> np.ndarray:
        """[columns, depth]: what the product multiplies with."""
        count = self.weight.columns if columns is None else columns
        out = np.empty((count, self.weight.depth), np.float32)
        self.library.rx_pack_unpack(ctypes.byref(self.weight), 0, count, out.ctypes.data)
        return out

    def multiply(
        self,
        isa: str,
        x: np.ndarray,
        *,
        epilogue: int = 0,
        activation: int = 0,
        multiplier: float = 1.0,
        out: np.ndarray | None = None,
        columns: tuple[int, int] | None = None,
    ) -> np.ndarray:
        x = np.ascontiguousarray(x, np.float32)
        out = np.full((len(x), self.weight.columns), np.nan, np.float32) if out is None else out
        first, last = columns or (0, self.weight.packed_columns)
        done = self.library.rx_linear(
            isa.encode(), ctypes.addressof(self.weight), x.ctypes.data, len(x), first, last,
            epilogue, activation, multiplier, out.ctypes.data, out.shape[1], 1,
        )  # fmt: skip
        assert done >= 0
        return out


def build_linears(folder: Path) -> Path:
    """A library of the linears alone, for every instruction set that the compiler knows; kept until a source changes.

    The product's own library, when it is built at first use, has only the set that this machine prefers.
    """
    digest = hashlib.sha256(repr((build._FLAGS, platform.machine())).encode())
    for pattern in ("linear*", "pack*", "isa*", "simd/*"):
        for path in sorted(build.SOURCES.glob(pattern)):
            digest.update(path.read_bytes())
    library = folder / f"linears.{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    cxx, common = build.compiler(), [*build._FLAGS, f"-I{build.SOURCES}", "-c"]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        sets = [isa for isa in build.instruction_sets() if build._knows(cxx, isa, here)]
        stub = "".join(
            f"namespace {isa.name} {{ const StepKernels* step_kernels() {{ return nullptr; }} }}" for isa in sets
        )
        (here / "stub.cpp").write_text(f"namespace rx {{ struct StepKernels; {stub} }}")
        listed = "-DRX_ISAS(X)=" + " ".join(f"X({isa.name})" for isa in sets)
        jobs = [(build.SOURCES / "linear.isa.cpp", isa.name, [f"-DRX_ISA={isa.name}", *isa.flags]) for isa in sets]
        jobs += [(build.SOURCES / f"{part}.cpp", part, [listed]) for part in PARTS] + [(here / "stub.cpp", "stub", [])]
        commands = [[*cxx, *common, *extra, str(source), "-o", str(here / f"{out}.o")] for source, out, extra in jobs]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(build._run, commands))
        build._run([*cxx, "-shared", *(command[-1] for command in commands), "-o", str(here / "library.so")])
        (here / "library.so").replace(library)
    return library


@pytest.fixture(scope="session")
def library() -> ctypes.CDLL:
    folder = native_folder()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = ctypes.CDLL(str(build_linears(folder)))
    except build.BuildFailed as error:
        pytest.skip(str(error))
    found.rx_isa_name.restype = ctypes.c_char_p
    pack._declare(found)
    address, i32 = ctypes.c_void_p, ctypes.c_int32
    found.rx_linear.restype = ctypes.c_double
    found.rx_linear.argtypes = [ctypes.c_char_p, address, address, i32, i32, i32, i32, i32, ctypes.c_float, address]
    found.rx_linear.argtypes += [ctypes.c_int64, i32]
    found.rx_linear_gather.argtypes = [ctypes.c_char_p, address, address, address, i32, address]
    found.rx_linear_embed.argtypes = [ctypes.c_char_p, address, address, i32, ctypes.c_float, address]
    found.rx_linear_quantise.argtypes = [ctypes.c_char_p, address, i32, i32, address, address, address]
    return found


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request: pytest.FixtureRequest, library: ctypes.CDLL) -> str:
    names = [library.rx_isa_name(i) for i in range(len(INSTRUCTION_SETS))]
    if request.param.encode() not in names:
        pytest.skip(f"{request.param} does not run here")
    return request.param


@pytest.fixture(scope="session")
def blocks() -> Callable[..., np.ndarray]:
    """blocks(format, rows, depth, rng): the bytes of a random matrix, [rows, bytes of a row]."""

    def make(format_: str, rows: int, depth: int, rng: np.random.Generator) -> np.ndarray:
        values = rng.standard_normal((rows, depth)).astype(np.float32)
        kind = gguf.GGMLQuantizationType[format_]
        if format_ == "F32":
            return values.view(np.uint8)
        if format_ not in _HALVES:
            return gguf.quants.quantize(values, kind).view(np.uint8).reshape(rows, -1)
        size, width = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (rows, depth // size, width)).astype(np.uint8)
        at, count = _HALVES[format_]
        scales = (rng.standard_normal((rows, depth // size, count)) * 0.01).astype(np.float16)
        raw[:, :, at : at + 2 * count] = scales.view(np.uint8)
        return raw.reshape(rows, -1)

    return make


@pytest.fixture(scope="session")
def packed(library: ctypes.CDLL) -> Callable[..., Packed]:
    """packed([(format, bytes), …], depth, gate_up=…, bias=…, inputs=…): one matrix of these parts."""

    def make(
        parts: Sequence[tuple[str, np.ndarray]],
        depth: int,
        *,
        gate_up: bool = False,
        bias: np.ndarray | None = None,
        inputs: np.ndarray | None = None,
    ) -> Packed:
        described = (pack.PackPart * len(parts))()
        kind = -1
        for i, (format_, data) in enumerate(parts):
            number = pack.FORMATS.index(format_)
            assert library.rx_pack_row_bytes(number, depth) == data.shape[1]
            described[i] = pack.PackPart(data.ctypes.data, data.strides[0], number, len(data))
            own = library.rx_pack_kind_for(number)
            kind = own if i == 0 else library.rx_pack_join(kind, own)
        rows = sum(len(data) for _, data in parts)
        packed_columns = -(-len(parts[0][1]) // 16) * 32 if gate_up else -(-rows // 32) * 32
        strip = library.rx_pack_strip_bytes(kind, depth)
        raw = np.full(strip * packed_columns // 32 + 64, 0xA5, np.uint8)
        tiles = raw[-raw.ctypes.data % 64 :][: strip * packed_columns // 32]
        library.rx_pack_strips(
            described, len(parts), kind, int(gate_up), depth, 0, packed_columns // 32, tiles.ctypes.data
        )
        weight = pack.Weight(
            tiles=tiles.ctypes.data,
            strip_bytes=strip,
            kind=kind,
            order=int(gate_up),
            depth=depth,
            columns=len(parts[0][1]) if gate_up else rows,
            packed_columns=packed_columns,
        )
        if bias is not None:
            weight.bias = bias.ctypes.data
        if inputs is not None:
            weight.inputs = inputs.ctypes.data
        return Packed(library, weight, [raw, bias, inputs])

    return make


class MemoryCheckpoint:
    """A random model of one family, in memory; matrices in `weights`' format where rows are long enough."""

    def __init__(self, config: ModelConfig, *, weights: str = "F32", bias: bool = False, seed: int = 0) -> None:
        self.config, self.path, self.digest = (
            config,
            Path(f"{config.architecture}.memory"),
            f"{config!r}{weights}{seed}",
        )
        self._tensors: dict[str, tuple[str, np.ndarray]] = {}
        rng = np.random.default_rng(seed)
        hidden, wide = config.hidden_size, config.intermediate_size
        heads, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim

        def matrix(name: str, rows: int, depth: int) -> None:
            values = (rng.standard_normal((rows, depth)) * depth**-0.5 * 1.5).astype(np.float32)
            self._tensors[f"{name}.weight"] = (weights if depth % 32 == 0 else "F32", values)

        def vector(name: str, size: int, centre: float) -> None:
            self._tensors[name] = ("F32", (centre + 0.3 * rng.standard_normal(size)).astype(np.float32))

        matrix("model.embed_tokens", config.vocab_size, hidden)
        for i in range(config.num_layers):
            layer, attention, mlp = (f"model.layers.{i}{part}" for part in ("", ".self_attn", ".mlp"))
            for name, rows in (("q", heads), ("k", keys), ("v", keys)):
                matrix(f"{attention}.{name}_proj", rows, hidden)
                if bias:
                    vector(f"{attention}.{name}_proj.bias", rows, 0.0)
            matrix(f"{attention}.o_proj", hidden, heads)
            for name in ("gate", "up"):
                matrix(f"{mlp}.{name}_proj", wide, hidden)
            matrix(f"{mlp}.down_proj", hidden, wide)
            norms = {"pre": (0, 1), "post": (1, 3), "sandwich": (0, 1, 2, 3)}[config.norm_placement]
            for which in norms:
                vector(f"{layer}.{_NORM_NAMES[which]}.weight", hidden, 1.0 - config.norm_offset)
            if config.qk_norm != "none":
                full = config.qk_norm == "full"
                vector(f"{attention}.q_norm.weight", heads if full else config.head_dim, 1.0 - config.norm_offset)
                vector(f"{attention}.k_norm.weight", keys if full else config.head_dim, 1.0 - config.norm_offset)
        vector("model.norm.weight", hidden, 1.0 - config.norm_offset)
        if not config.tie_embeddings:
            matrix("lm_head", config.vocab_size, hidden)

    def names(self) -> list[str]:
        return list(self._tensors)

    def packed(self, name: str) -> PackedTensor:
        format_, values = self._tensors[name]
        if format_ == "F32":
            return PackedTensor(name, "F32", values.shape, values.view(np.uint8))
        raw = gguf.quants.quantize(values, gguf.GGMLQuantizationType[format_])
        return PackedTensor(name, format_, values.shape, raw.view(np.uint8).reshape(len(values), -1))

    def dense(self, name: str) -> np.ndarray:
        format_, values = self._tensors[name]
        if format_ == "F32":
            return values
        return gguf.quants.dequantize(self.packed(name).data, gguf.GGMLQuantizationType[format_])

    def forget_pages(self) -> None:
        pass

    def close(self) -> None:
        pass


_NORM_NAMES = (
    *("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),
)


@pytest.fixture(scope="session")
def whole_library() -> Path:
    """The native library with every instruction set that the compiler knows; kept until a source changes.

    RADIXLANG_NATIVE_LIBRARY names another one (test_sanitizers.py).
    """
    if given := os.environ.get("RADIXLANG_NATIVE_LIBRARY"):
        return Path(given)
    target = native_folder() / build.library_name()
    if not target.exists():
        try:
            build.build(target, objects=native_folder() / "objects")
        except build.BuildFailed as error:
            pytest.skip(str(error))
    return target


@pytest.fixture
def native(whole_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Loads that library; RADIXLANG_ISA chooses the set."""
    monkeypatch.setenv("RADIXLANG_NATIVE_LIBRARY", str(whole_library))
    monkeypatch.delenv("RADIXLANG_ISA", raising=False)
    load.load.cache_clear()
    yield monkeypatch
    load.load.cache_clear()


@pytest.fixture
def run_model(native: pytest.MonkeyPatch) -> Iterator[Callable[..., NativeExecutor]]:
    """run_model(checkpoint, isa=…, kv=…, threads=…, slots=…): an executor that is closed at the end of the test."""
    opened: list[NativeExecutor] = []

    def make(
        checkpoint: MemoryCheckpoint, *, isa: str = "", kv: Any = "float32", threads: int = 2, slots: int = 1024
    ) -> NativeExecutor:
        if isa and isa not in load.instruction_sets():
            pytest.skip(f"{isa} does not run here")
        native.setenv("RADIXLANG_ISA", isa)
        config = EngineConfig(kv_cache_dtype=kv, num_threads=threads, weight_cache=False)
        opened.append(NativeExecutor(checkpoint, config, slots))
        return opened[-1]

    yield make
    for executor in opened:
        executor.close()


@pytest.fixture
def llama() -> ModelConfig:
    """Three query heads for each of two kv heads; a vocabulary that is no multiple of 32."""
    return ModelConfig(
        architecture="llama",
        vocab_size=211,
        hidden_size=96,
        intermediate_size=160,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=32,
        max_context=1024,
    )


@pytest.fixture
def checkpoint() -> type[MemoryCheckpoint]:
    return MemoryCheckpoint


NO_IDS = np.zeros(0, np.int32)


@pytest.fixture(scope="session")
def sample_plans() -> st.SearchStrategy[SamplePlan]:
    """Draws of every kind; the counts of penalties are zero."""

    @st.composite
    def plans(draw: st.DrawFn) -> SamplePlan:
        penalised = draw(st.booleans())
        biased = draw(st.lists(st.integers(0, 210), unique=True, max_size=3))
        return SamplePlan(
            row=0,
            temperature=draw(st.sampled_from([0.0, 0.7, 1.5])),
            top_k=draw(st.sampled_from([0, 5])),
            top_p=draw(st.sampled_from([1.0, 0.8])),
            min_p=0.0,
            seed=draw(st.integers(0, 2**64 - 1)),
            counter=draw(st.integers(0, 1000)),
            mask_row=-1,
            bias_ids=np.array(biased, np.int32),
            bias_values=np.full(len(biased), draw(st.sampled_from([-np.inf, 8.0])), np.float32),
            penalty_ids=np.array([3, 8, 200], np.int32) if penalised else NO_IDS,
            penalty_counts=np.zeros(3, np.int32) if penalised else NO_IDS,
            frequency_penalty=draw(st.sampled_from([0.0, 2.0])) if penalised else 0.0,
            presence_penalty=draw(st.sampled_from([0.0, 5.0])) if penalised else 0.0,
            repetition_penalty=draw(st.sampled_from([1.0, 1.8])) if penalised else 1.0,
            num_top=draw(st.sampled_from([-1, -1, 0, 3])),
            logprob_ids=np.array([7, 9], np.int32) if draw(st.booleans()) else NO_IDS,
        )

    return plans()
