"""A GGUF file as a Checkpoint: canonical names, llama.cpp's rearrangements undone, tensors mapped from disk.

llama.cpp's converter permutes the rows of q and k for the families it runs with interleaved rotation, stores Gemma's
norm weights plus one, and keeps Phi-3's fused projections: all three are undone here, on whole rows, so quantised
blocks stay as they are. Source: llama.cpp's convert_hf_to_gguf.py.

What reads tensors is imported where they are read: a server's process opens a file for its facts and its vocabulary,
and numpy would be a tenth of its start.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import BadCheckpoint
from ..model.config import ModelConfig
from ..model.gguf_config import config_from_gguf
from .checkpoint import PackedTensor
from .gguf_header import Header, StringArray, TensorInfo, read_strings
from .gguf_parts import open_parts
from .pages import SampledFile, forget_pages
from .shapes import check_shapes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERMUTED_FAMILIES = frozenset({"llama", "mistral", "mixtral", "granite", "smollm3", "olmo"})
"""Families whose q and k rows the converter permutes."""
NORM_PLUS_ONE = frozenset({"gemma", "gemma2", "gemma3"})

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>")
"""Tokens that end a turn by their names: a file tells one id only (llama.cpp knows them by name too)."""

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate", "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj", "ffn_down_shexp": "mlp.shared_expert.down_proj",
}  # fmt: skip
_STACKED = {
    "ffn_gate_exps": ("gate_proj",), "ffn_up_exps": ("up_proj",), "ffn_down_exps": ("down_proj",),
    "ffn_gate_up_exps": ("gate_proj", "up_proj"),
}  # fmt: skip
"""All experts of a layer one behind the other, [X, N, E]: the rows of each expert are one of these, or both."""
_IN_CONFIG = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
_LAYER_NAME = re.compile(r"blk\.(\d{1,6})\.([a-z_]+)\.(weight|bias)")
_EXPERT_NAME = re.compile(r"blk\.(\d{1,6})\.ffn_(gate|up|down)\.(\d{1,4})\.weight")
"""Of files from before experts were stacked."""


class _Source(NamedTuple):
    """Rows [first, last) of a tensor of the file; `heads`: undo the permutation of that many heads. is_flat: several
    matrices count as one of all their rows, and a vector as a row."""

    tensor: str
    first: int
    last: int
    heads: int = 0
    is_flat: bool = False


class GgufCheckpoint:
    """See `Checkpoint`. Opening reads the header only; tensors are views of the mapped file."""

    def __init__(self, path: Path) -> None:
        self._files = open_parts(path)
        self.path = path = self._files[0].path
        self.header: Header = self._files[0].header
        """Of the file with the metadata; its tensors may be some of the model's only."""
        self._tensors = {name: info for part in self._files for name, info in part.header.tensors.items()}
        self._part_of = {name: part for part in self._files for name in part.header.tensors}
        small = {name: self._read(info) for name, info in self._tensors.items() if name in _IN_CONFIG}
        self.config: ModelConfig = config_from_gguf(
            self.header.metadata, {name: info.shape for name, info in self._tensors.items()}, small, path
        )
        self.config = replace(self.config, eos_token_ids=self._turn_ends())
        self._sources = self._canonical()
        check_shapes({name: self._shape(source) for name, source in self._sources.items()}, self.config, path)
        self.digest = self._digest()

    def names(self) -> list[str]:
        return list(self._sources)

    def formats(self) -> list[str]:
        return sorted({info.format for info in self._tensors.values()})

    def packed(self, name: str) -> PackedTensor:
        from .dequant import dequantise, row_bytes

        source = self._sources[name]
        info = self._tensors[source.tensor]
        shape = self._shape(source)
        num_rows = math.prod(info.shape[:-1]) if source.is_flat else info.shape[0] if len(shape) > 1 else 1
        rows = self._bytes(info).reshape(num_rows, -1)
        if len(shape) > 1:
            rows = rows[source.first : source.last]
        elif source.last - source.first != info.shape[0]:
            rows = rows[:, row_bytes(info.format, source.first) : row_bytes(info.format, source.last)]
        if self.config.architecture in NORM_PLUS_ONE and name.endswith("norm.weight"):
            less = dequantise(rows, info.format, shape) - 1.0
            return PackedTensor(name, "F32", shape, less.view("u1"))
        if len(shape) == 1 and not source.heads:
            return PackedTensor(name, info.format, shape, rows.reshape(-1))
        return PackedTensor(name, info.format, shape, lambda: self._checked(source, info, rows.reshape(shape[0], -1)))

    def _checked(self, source: _Source, info: TensorInfo, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rows in canonical order. Raises BadCheckpoint for scales that are not finite."""
        from .scales import first_bad_row

        bad = first_bad_row(info.format, rows)
        if bad is not None:
            raise BadCheckpoint(
                f"{self.path}: tensor {source.tensor!r} ({info.format}) has a scale in row {source.first + bad} that "
                "is not finite; the file is damaged: download or quantise the model again"
            )
        ordered = _unpermuted(rows, source.heads) if source.heads else rows
        return ordered if len(self._shape(source)) > 1 else ordered.reshape(-1)

    def dense(self, name: str) -> NDArray[np.float32]:
        from .dequant import dequantise

        tensor = self.packed(name)
        return dequantise(tensor.data, tensor.format, tensor.shape)

    def forget_pages(self) -> None:
        for part in self._files:
            forget_pages(part.memory)

    def close(self) -> None:
        """Lets go of the files; they stay mapped while tensors of them are in use."""
        for part in self._files:
            part.close()
        self._sources = {}

    def strings(self, key: str) -> list[str]:
        """An array of strings of the metadata, decoded; empty where the file has none of that name."""
        array = self.header.metadata.get(key)
        if array is None:
            return []
        if not isinstance(array, StringArray):
            raise BadCheckpoint(f"{self.path}: key {key!r} is not an array of strings; convert the model again")
        return read_strings(self._files[0].data, array)

    def tokenizer_digest(self) -> str:
        """Of the metadata that describes the vocabulary, whatever the weights."""
        first, last = self.header.tokenizer_span
        return hashlib.blake2b(self._files[0].data[first:last], digest_size=16).hexdigest()

    def _digest(self) -> str:
        """Of the headers, the files' sizes and times, and three samples of each tensor: no need to read it all."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self._files:
            stat = part.path.stat()
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
            digest.update(part.data[: part.header.data_start])
            with SampledFile(part.path) as file:
                for info in part.header.tensors.values():
                    digest.update(file.samples(info.start, info.nbytes))
        return digest.hexdigest()

    def _turn_ends(self) -> tuple[int, ...]:
        """The stop tokens of the metadata, and those known by name; the vocabulary is decoded only if it has one."""
        told = self.config.eos_token_ids
        array = self.header.metadata.get("tokenizer.ggml.tokens")
        if not told or not isinstance(array, StringArray) or max(told) >= array.length:
            return told
        data = self._files[0].data
        raw = bytes(data[array.start : array.end])
        known = {read_strings(data, array, first=token_id, last=token_id + 1)[0] for token_id in told}
        present = [n for n in TURN_ENDS if n not in known and struct.pack("<Q", len(n)) + n.encode() in raw]
        if not present:
            return told
        tokens = read_strings(data, array)[: self.config.vocab_size]
        return tuple(dict.fromkeys([*told, *(tokens.index(name) for name in present if name in tokens)]))

    def _bytes(self, info: TensorInfo) -> NDArray[np.uint8]:
        import numpy as np

        return np.frombuffer(self._part_of[info.name].data, np.uint8)[info.start : info.start + info.nbytes]

    def _read(self, info: TensorInfo) -> NDArray[np.float32]:
        from .dequant import dequantise

        return dequantise(self._bytes(info), info.format, info.shape)

    def _shape(self, source: _Source) -> tuple[int, ...]:
        shape = self._tensors[source.tensor].shape
        return (source.last - source.first, *(shape[-1:] if source.is_flat else shape[1:]))

    def _canonical(self) -> dict[str, _Source]:
        """Canonical name to where its rows lie."""
        found: dict[str, _Source] = {}
        for name, info in self._tensors.items():
            for canonical, source in self._parts(name, info):
                if canonical in found:
                    raise BadCheckpoint(
                        f"{self.path}: tensors {found[canonical].tensor!r} and {name!r} are both {canonical}; "
                        "convert the model again"
                    )
                found[canonical] = source
        return found

    def _parts(self, name: str, info: TensorInfo) -> list[tuple[str, _Source]]:
        rows = info.shape[0]
        stem, _, kind = name.rpartition(".")
        if stem in _TOP and kind in ("weight", "bias"):
            return [(f"{_TOP[stem]}.{kind}", _Source(name, 0, rows))]
        if (alone := _EXPERT_NAME.fullmatch(name)) is not None:
            layer, part, expert = alone.groups()
            return [(f"model.layers.{int(layer)}.mlp.experts.{int(expert)}.{part}_proj.weight", _Source(name, 0, rows))]
        match = _LAYER_NAME.fullmatch(name)
        if match is None or name in _IN_CONFIG:
            return [] if name in _IN_CONFIG else [(name, _Source(name, 0, rows))]
        layer, part, kind = match.groups()
        prefix, config = f"model.layers.{int(layer)}", self.config
        q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        if part == "attn_qkv":
            return self._split(name, rows, f"{prefix}.self_attn.%s_proj.{kind}", {"q": q, "k": kv, "v": kv})
        if part == "ffn_up" and rows == 2 * config.intermediate_size:
            half = config.intermediate_size
            return self._split(name, rows, f"{prefix}.mlp.%s_proj.{kind}", {"gate": half, "up": half})
        if part in _STACKED and len(info.shape) == 3 and kind == "weight":
            return self._experts(name, info.shape, f"{prefix}.mlp.experts", _STACKED[part])
        if part == "ffn_gate_inp_shexp" and len(info.shape) == 1:
            return [(f"{prefix}.{_LAYER[part]}.{kind}", _Source(name, 0, 1, is_flat=True))]
        if part not in _LAYER:
            return [(f"{prefix}.{part}.{kind}", _Source(name, 0, rows))]
        canonical = _LAYER[part]
        if part == "ffn_norm" and config.norm_placement == "sandwich":
            canonical = "pre_feedforward_layernorm"
        heads = 0
        if part in ("attn_q", "attn_k") and config.architecture in PERMUTED_FAMILIES:
            heads = config.num_heads if part == "attn_q" else config.num_kv_heads
            heads = heads if rows == heads * config.head_dim else 0  # check_shapes tells what is wrong
        return [(f"{prefix}.{canonical}.{kind}", _Source(name, 0, rows, heads))]

    def _experts(
        self, name: str, shape: tuple[int, ...], prefix: str, parts: tuple[str, ...]
    ) -> list[tuple[str, _Source]]:
        count, rows = shape[0] * len(parts), shape[1] // len(parts)
        return [
            (
                f"{prefix}.{i // len(parts)}.{parts[i % len(parts)]}.weight",
                _Source(name, i * rows, (i + 1) * rows, is_flat=True),
            )
            for i in range(count)
        ]

    def _split(self, name: str, rows: int, names: str, sizes: dict[str, int]) -> list[tuple[str, _Source]]:
        if sum(sizes.values()) != rows:
            raise BadCheckpoint(
                f"{self.path}: tensor {name!r} has {rows} rows, not {'+'.join(map(str, sizes.values()))}"
            )
        parts, first = [], 0
        for key, size in sizes.items():
            parts.append((names % key, _Source(name, first, first + size)))
            first += size
        return parts


def _unpermuted(rows: NDArray[np.uint8], heads: int) -> NDArray[np.uint8]:
    """Rows of each head from (0, half), (1, half + 1), … back to 0, 1, …, half, …: pairs were made neighbours."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)
