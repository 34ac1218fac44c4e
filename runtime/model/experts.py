"""A layer's experts: a router picks a few of them for each token, all tokens' experts run as grouped products.

T tokens, E hidden size, X experts, K experts of a token, I an expert's intermediate size, N = 2I.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels import ops
from .config import ExpertsConfig, ModelConfig
from .layers import AnyLinear, Mlp, Weights, load_linear


class Experts(NamedTuple):
    """In the place of a layer's MLP."""

    config: ExpertsConfig
    activation: str
    router: AnyLinear
    gate_up_XNE: Tensor
    down_XEI: Tensor
    shared: Mlp | None
    shared_gate: AnyLinear | None

    def __call__(self, x_TE: Tensor) -> Tensor:
        scores_TX = torch.softmax(self.router(x_TE).float(), dim=-1)
        weights_TK, experts_TK = torch.topk(scores_TX, self.config.chosen, dim=-1)
        if self.config.renormalises:
            weights_TK = weights_TK / weights_TK.sum(-1, keepdim=True)
        out_TE = ops.moe(x_TE, self.gate_up_XNE, self.down_XEI, experts_TK, weights_TK, self.activation)
        if self.shared is not None and self.shared_gate is not None:
            out_TE += torch.sigmoid(self.shared_gate(x_TE)) * self.shared(x_TE)
        return out_TE

    @classmethod
    def load(cls, weights: Weights, prefix: str, config: ModelConfig, experts: ExpertsConfig) -> Experts:
        hidden, size = config.hidden_size, experts.size
        dtype, device = weights.dtype, weights.device
        gate_up_XNE = torch.empty(experts.count, 2 * size, hidden, dtype=dtype, device=device)
        down_XEI = torch.empty(experts.count, hidden, size, dtype=dtype, device=device)
        for i in range(experts.count):
            name = f"{prefix}.experts.{i}"
            gate_up_XNE[i, :size] = weights.take(f"{name}.gate_proj.weight", size, hidden)
            gate_up_XNE[i, size:] = weights.take(f"{name}.up_proj.weight", size, hidden)
            down_XEI[i] = weights.take(f"{name}.down_proj.weight", hidden, size)
        shared = shared_gate = None
        if experts.shared_size:
            shared = Mlp.load(weights, f"{prefix}.shared_expert", config, experts.shared_size)
            shared_gate = load_linear(weights, [f"{prefix}.shared_expert_gate"], [1], hidden)
        router = load_linear(weights, [f"{prefix}.gate"], [experts.count], hidden)
        return cls(experts, config.activation, router, gate_up_XNE, down_XEI, shared, shared_gate)
