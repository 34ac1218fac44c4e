"""A checkpoint as the native step wants it: its matrices named for packing, its norms and facts as plain structs.

The step is driven by data (csrc/model.h): a null norm is left out, a window of 0 is full attention, and so on. A family
that these ops do not cover raises UnsupportedModel here, before any weight is read, and runs on torch instead.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedModel, WeightMismatch
from . import rope, structs
from .pack import MatrixSpec, PackedModel

if TYPE_CHECKING:
    Checkpoint = (
        Any  # runtime/weights/checkpoint.py and runtime/model/config.py: the layer above; their attributes are used
    )
    ModelConfig = Any

MAX_HEAD_DIM = 512  # kMaxHeadDim of csrc/attention_panels.h

_DERIVED = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "rope_freqs.weight")
"""Tensors of old checkpoints that hold what the config says as well."""


class ModelDescription:
    """The structs of one model. Owns the arrays that they point to: keep it as long as the step."""

    def __init__(self, checkpoint: Checkpoint, served_context: int) -> None:
        """served_context: the longest sequence that will be served; some rotary scalings depend on it.

        Raises UnsupportedModel for what the step has no op for, WeightMismatch for a tensor missing or misshapen.
        """
        self._checkpoint = checkpoint
        self._config = config = checkpoint.config
        self._unread = set(checkpoint.names())
        self._kept: list[Any] = []
        _check(config)
        self.specs = [spec for i in range(config.num_layers) for spec in self._layer_specs(i)]
        embedding = self._matrix("embedding", ("model.embed_tokens",), config.hidden_size, config.vocab_size)
        self.specs.append(embedding)
        self._head = "embedding"
        if "lm_head.weight" in self._unread:
            self.specs.append(self._matrix("head", ("lm_head",), config.hidden_size, config.vocab_size))
            self._head = "head"
        self._norms = [self._layer_norms(i) for i in range(config.num_layers)]
        self._final_norm = self._norm("model.norm", config.hidden_size)
        self._ropes = rope.of_model(config, served_context)
        unused = sorted(name for name in self._unread if not name.endswith(_DERIVED))
        if unused:
            raise UnsupportedModel(
                f"the native step has no place for {len(unused)} tensors of {checkpoint.path.name}, "
                f"the first is {unused[0]}"
            )

    def model(self, packed: PackedModel) -> structs.Model:
        """The finished struct; `packed` holds the matrices of `specs` and must outlive it."""
        config = self._config
        layers = (structs.Layer * config.num_layers)()
        for i, layer in enumerate(layers):
            for field, norm in self._norms[i].items():
                setattr(layer, field, norm)
            for field in ("qkv", "output", "gate_up", "down"):
                setattr(layer, field, packed.weight(f"{i}.{field}"))
            layer.window = config.window(i)
            local = config.local_rope is not None and config.window(i)
            layer.rope = -1 if not config.rotates(i) else 1 if local else 0
        embedding, head = packed.weight("embedding"), packed.weight(self._head)
        model = structs.Model(
            layers=ctypes.addressof(layers),
            embedding=ctypes.addressof(embedding),
            head=ctypes.addressof(head),
            final_norm=self._final_norm,
            num_layers=config.num_layers,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            vocab_size=config.vocab_size,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            norm_kind=structs.NORMS[config.norm_kind],
            qk_norm=structs.QK_NORMS[config.qk_norm],
            activation=structs.ACTIVATIONS[config.activation],
            norm_eps=config.norm_eps,
            attention_scale=config.softmax_scale,
            attention_softcap=config.attention_softcap,
            logit_scale=1.0 / config.logit_divisor,
            logit_softcap=config.logit_softcap,
            embedding_multiplier=config.embedding_multiplier,
            residual_multiplier=config.residual_multiplier,
            max_context=config.max_context,
        )
        for i, table in enumerate(self._ropes):
            self._kept.append(table.inverse_R)
            model.ropes[i] = structs.Rope(
                frequencies=table.inverse_R.ctypes.data,
                dim=2 * len(table.inverse_R),
                interleaved=table.interleaved,
                magnitude=table.magnitude,
            )
        self._kept += [layers, embedding, head]
        return model

    def _layer_specs(self, i: int) -> list[MatrixSpec]:
        config, prefix = self._config, f"model.layers.{i}"
        hidden, wide = config.hidden_size, config.intermediate_size
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        qkv = tuple(f"{prefix}.self_attn.{n}_proj" for n in "qkv")
        gated = f"{prefix}.mlp.gate_proj.weight" in self._unread
        inner = (f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj") if gated else (f"{prefix}.mlp.up_proj",)
        return [
            self._matrix(f"{i}.qkv", qkv, hidden, queries, keys, keys),
            self._matrix(f"{i}.output", (f"{prefix}.self_attn.o_proj",), queries, hidden),
            self._matrix(f"{i}.gate_up", inner, hidden, *[wide] * len(inner), gate_up=gated),
            self._matrix(f"{i}.down", (f"{prefix}.mlp.down_proj",), wide, hidden),
        ]

    def _matrix(self, name: str, parts: tuple[str, ...], depth: int, *rows: int, gate_up: bool = False) -> MatrixSpec:
        for part, n in zip(parts, rows, strict=True):
            self._take(f"{part}.weight", n, depth)
            if f"{part}.bias" in self._unread:
                self._take(f"{part}.bias", n)
        return MatrixSpec(name, parts, gate_up=gate_up)

    def _take(self, name: str, *shape: int) -> None:
        where = self._checkpoint.path
        if name not in self._unread:
            raise WeightMismatch(f"{where}: tensor {name} {list(shape)} is missing")
        found = tuple(self._checkpoint.packed(name).shape)
        if found != shape:
            raise WeightMismatch(f"{where}: tensor {name} should be {list(shape)}, is {list(found)}")
        self._unread.discard(name)

    def _layer_norms(self, i: int) -> dict[str, structs.Norm]:
        config, prefix = self._config, f"model.layers.{i}"
        fields = ("attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm")
        norms = {
            field: self._norm(f"{prefix}.{name}", config.hidden_size)
            for field, name in zip(fields, config.norm_names, strict=True)
            if name
        }
        if config.qk_norm != "none":
            heads = (config.num_heads, config.num_kv_heads) if config.qk_norm == "full" else (1, 1)
            for field, name, n in zip(("query_norm", "key_norm"), ("q_norm", "k_norm"), heads, strict=True):
                norms[field] = self._norm(f"{prefix}.self_attn.{name}", n * config.head_dim)
        return norms

    def _norm(self, name: str, size: int) -> structs.Norm:
        self._take(f"{name}.weight", size)
        weight = self._keep(self._checkpoint.dense(f"{name}.weight") + np.float32(self._config.norm_offset))
        bias = None
        if f"{name}.bias" in self._unread:
            self._take(f"{name}.bias", size)
            bias = self._keep(self._checkpoint.dense(f"{name}.bias"))
        return structs.Norm(weight=weight, bias=bias)

    def _keep(self, array: NDArray[np.float32]) -> int:
        array = np.ascontiguousarray(array, np.float32)
        self._kept.append(array)
        return int(array.ctypes.data)


def _check(config: ModelConfig) -> None:
    """What the C side relies on and no tensor's shape says."""
    if config.experts is not None:
        raise UnsupportedModel(f"the native step has no layers of experts, which {config.architecture} has")
    if config.num_heads % config.num_kv_heads:
        raise UnsupportedModel(
            f"{config.num_heads} query heads do not divide among {config.num_kv_heads} kv heads", param="model"
        )
    if config.head_dim > MAX_HEAD_DIM or config.head_dim % 2:
        raise UnsupportedModel(f"the native step takes even head sizes up to {MAX_HEAD_DIM}, not {config.head_dim}")
