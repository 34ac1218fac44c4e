"""Architecture facts of a decoder, read once from config.json or a GGUF header; every executor is driven by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NormPlacement = Literal["pre", "post", "sandwich"]
QkNorm = Literal["none", "head", "full"]

FOREIGN = "transformers:"
"""Begins the architecture of a model that only transformers' modelling code runs; its model type follows."""


_NORM_NAMES: dict[NormPlacement, tuple[str, str, str, str]] = {
    "pre": ("input_layernorm", "", "post_attention_layernorm", ""),
    "post": ("", "post_attention_layernorm", "", "post_feedforward_layernorm"),
    "sandwich": (
        "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary positions (RoFormer, arXiv 2104.09864) and their scalings."""

    theta: float = 10000.0
    dim: int = 0
    """Rotated dimensions of a head, from the front; 0: all of them."""
    interleaved: bool = False
    """Pairs are (0,1), (2,3)…; false: (0, dim/2), (1, dim/2+1)…"""
    kind: Literal["default", "linear", "llama3", "yarn", "longrope", "dynamic"] = "default"
    factor: float = 1.0
    original_max_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    """YaRN: whether the pairs between which frequencies pass over are rounded to whole ones."""
    attention_factor: float | None = None
    """Multiplies cos and sin; None: what the kind's formula says."""
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    freq_factors: tuple[float, ...] = ()
    """Divisors of the inverse frequencies as stored in a checkpoint (GGUF rope_freqs.weight); wins over `kind`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsConfig:
    """Feed-forward layers of many experts, of which a router picks a few for each token (arXiv 1701.06538)."""

    count: int
    chosen: int
    """Experts of a token."""
    size: int
    """An expert's intermediate size."""
    renormalises: bool = True
    """Whether the weights of a token's experts are made to sum to one."""
    shared_size: int = 0
    """Intermediate size of an expert that every token takes, behind a gate of its own (Qwen2-MoE); 0: none."""
    dense_layers: tuple[int, ...] = ()
    """Layers that have an ordinary MLP instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """What a decoder needs to know. Biases, q/k norms and fused projections show in the tensor names as well."""

    architecture: str
    """The family: llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3, olmo2, granite, mixtral …"""
    vocab_size: int
    """Rows of the embedding (may exceed the tokenizer's vocabulary)."""
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_context: int
    """Tokens, prompt and output together."""
    norm_eps: float = 1e-5
    norm_kind: Literal["rms", "layer"] = "rms"
    norm_offset: float = 0.0
    """Added to every norm weight (Gemma: 1)."""
    norm_placement: NormPlacement = "pre"
    """pre: Llama. post: OLMo 2 (after attention and MLP only). sandwich: Gemma 2 and 3 (both)."""
    qk_norm: QkNorm = "none"
    """head: one weight of head_dim (Qwen 3, Gemma 3). full: over all heads together (OLMo 2)."""
    activation: Literal["silu", "gelu", "gelu_tanh", "relu2"] = "silu"
    tie_embeddings: bool = False
    rope: RopeConfig = field(default_factory=RopeConfig)
    local_rope: RopeConfig | None = None
    """Rope of the sliding layers where it differs (Gemma 3)."""
    windows: tuple[int, ...] = ()
    """Sliding window of each layer in tokens, 0 for full attention; empty: all full."""
    rope_layers: tuple[bool, ...] = ()
    """Which layers rotate at all (SmolLM3); empty: all."""
    attention_scale: float = 0.0
    """Multiplies q·k; 0: head_dim ** -0.5."""
    attention_softcap: float = 0.0
    """cap·tanh(x / cap) on attention scores (Gemma 2); 0: none."""
    logit_softcap: float = 0.0
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logit_divisor: float = 1.0
    """Logits are divided by this (Granite)."""
    experts: ExpertsConfig | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    name: str = ""
    """What the checkpoint calls itself."""

    @property
    def norm_names(self) -> tuple[str, str, str, str]:
        """Of a layer's norms before attention, after it, before the MLP and after it; empty where there is none."""
        return _NORM_NAMES[self.norm_placement]

    @property
    def softmax_scale(self) -> float:
        return self.attention_scale or self.head_dim**-0.5

    def window(self, layer: int) -> int:
        return self.windows[layer] if self.windows else 0

    def experts_of(self, layer: int) -> ExpertsConfig | None:
        """None: the layer's MLP is an ordinary one."""
        return None if self.experts is None or layer in self.experts.dense_layers else self.experts

    def rotates(self, layer: int) -> bool:
        return self.rope_layers[layer] if self.rope_layers else True

    def rope_of(self, layer: int) -> RopeConfig:
        return self.local_rope if self.local_rope is not None and self.window(layer) else self.rope
