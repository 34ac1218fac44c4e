"""One decoder that ModelConfig switches: Llama, Mistral, Qwen, SmolLM, Gemma, Phi-3, OLMo 2, Granite, and the families
of them that have experts (Mixtral, Qwen-MoE, OLMoE).

T packed rows, E hidden size, V vocabulary, R rows whose logits are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import UnsupportedModel
from ...kernels import ops
from ...kernels.load import load_kernels
from ...kernels.reference.batch import PackedBatch
from ..weights.checkpoint import Checkpoint
from .attention import Attention, Step
from .config import ModelConfig, RopeConfig
from .experts import Experts
from .kv_pool import KvPool
from .layers import AnyLinear, Linear, Mlp, Norm, Weights, load_linear
from .rope import Frequencies, frequencies

_DERIVED = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "rope_freqs.weight")
"""Tensors of old checkpoints that hold what the config says as well."""


@dataclass(slots=True)
class Layer:
    """Norms that the placement does not have are None."""

    before_attention: Norm | None
    attention: Attention
    after_attention: Norm | None
    before_mlp: Norm | None
    mlp: Mlp | Experts
    after_mlp: Norm | None
    residual: float

    def __call__(self, x_TE: Tensor, pending_TE: Tensor | None, step: Step, pool: KvPool) -> Tensor:
        """What the MLP adds to `x_TE`; adds `pending_TE`, of the layer before, and the attention's part in place."""
        h_TE = self.attention(self._enter(self.before_attention, x_TE, pending_TE), step, pool)
        h_TE = self.after_attention(h_TE) if self.after_attention else h_TE
        h_TE = self.mlp(self._enter(self.before_mlp, x_TE, h_TE))
        return self.after_mlp(h_TE) if self.after_mlp else h_TE

    def _enter(self, norm: Norm | None, x_TE: Tensor, added_TE: Tensor | None) -> Tensor:
        """A block's input: the residual stream with what is still to be added, normed if the placement says so."""
        if norm is not None:
            return norm.after(x_TE, added_TE, self.residual)
        return x_TE if added_TE is None else x_TE.add_(added_TE, alpha=self.residual)

    @classmethod
    def load(cls, weights: Weights, config: ModelConfig, index: int) -> Layer:
        prefix = f"model.layers.{index}"
        pre, post, before_mlp, after_mlp = config.norm_names

        def norm(name: str) -> Norm | None:
            return Norm.load(weights, f"{prefix}.{name}", config.hidden_size, config) if name else None

        experts = config.experts_of(index)
        mlp = (
            Mlp.load(weights, f"{prefix}.mlp", config, config.intermediate_size)
            if experts is None
            else Experts.load(weights, f"{prefix}.mlp", config, experts)
        )
        return cls(
            norm(pre),
            Attention.load(weights, f"{prefix}.self_attn", config, index),
            norm(post),
            norm(before_mlp),
            mlp,
            norm(after_mlp),
            config.residual_multiplier,
        )


class Decoder:
    """Weights on a device. Holds no sequence: what it remembers lies in the pool that it is given."""

    def __init__(
        self, checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device, served_context: int | None = None
    ) -> None:
        """Raises WeightMismatch for tensors missing or misshapen, UnsupportedModel for ones it has no place for."""
        load_kernels()
        config = checkpoint.config
        weights = Weights(checkpoint, dtype, device)
        self.config = config
        self.device = device
        self.embedding_VE = weights.take("model.embed_tokens.weight", config.vocab_size, config.hidden_size)
        # Rounded to the working type first, as the models were trained.
        self._embedding_multiplier = torch.tensor(config.embedding_multiplier, dtype=dtype, device=device)
        self.layers = [Layer.load(weights, config, i) for i in range(config.num_layers)]
        self.norm = Norm.load(weights, "model.norm", config.hidden_size, config)
        if "lm_head.weight" in weights:
            self.head: AnyLinear = load_linear(weights, ["lm_head"], [config.vocab_size], config.hidden_size)
        else:
            self.head = Linear(ops.pack_linear(self.embedding_VE), None)
        unused = sorted(n for n in weights.unread if not n.endswith(_DERIVED))
        if unused:
            raise UnsupportedModel(
                f"{checkpoint.path}: the {config.architecture} decoder has no place for {len(unused)} tensors, "
                f"the first is {unused[0]}"
            )
        served = served_context or config.max_context
        self._rope = self._frequencies(config.rope, served)
        self._local_rope = self._rope if config.local_rope is None else self._frequencies(config.local_rope, served)

    def _frequencies(self, rope: RopeConfig, served: int) -> Frequencies:
        found = frequencies(rope, self.config.head_dim, max_context=self.config.max_context, served_context=served)
        return Frequencies(found.inverse_R.to(self.device), found.magnitude)

    def forward(self, token_ids_T: Tensor, slots_T: Tensor, batch: PackedBatch, pool: KvPool) -> Tensor:
        """Residual stream after the last layer, [T, E]; writes the rows' K and V to their slots."""
        x_TE = functional.embedding(token_ids_T, self.embedding_VE)
        if self.config.embedding_multiplier != 1.0:
            x_TE = x_TE * self._embedding_multiplier
        rope_TR = self._rope.angles(batch.positions_T)
        local_TR = rope_TR if self._local_rope is self._rope else self._local_rope.angles(batch.positions_T)
        step = Step(batch, slots_T, rope_TR, local_TR)
        pending_TE = None
        for layer in self.layers:
            pending_TE = layer(x_TE, pending_TE, step, pool)
        return x_TE if pending_TE is None else x_TE.add_(pending_TE, alpha=self.config.residual_multiplier)

    def logits(self, hidden_RE: Tensor, out_RV: Tensor | None = None) -> Tensor:
        """float32 [R, V] of rows that passed `norm`; out_RV: where to put them."""
        logits_RV = self.head(hidden_RE).float() if out_RV is None else out_RV.copy_(self.head(hidden_RE))
        if self.config.logit_divisor != 1.0:
            logits_RV /= self.config.logit_divisor
        if self.config.logit_softcap:
            cap = self.config.logit_softcap
            logits_RV.div_(cap).tanh_().mul_(cap)
        return logits_RV
