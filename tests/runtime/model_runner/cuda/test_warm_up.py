"""No kernel is compiled while requests are served: the warm-up asked for every variant that steps launch.

Runs in a process of its own, without triton's interpreter: what is asked of the compiler is seen by its hook, and
nothing is compiled or launched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

from radixlang.runtime.model_runner.cuda.warm_up import doublings, plans

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
    "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = LLAMA | {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 16, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
}  # fmt: skip


@pytest.mark.parametrize(("model", "option"), [(LLAMA, "adapters"), (EXPERTS, "")], ids=["adapters", "experts"])
def test_nothing_is_compiled_later(model: dict[str, Any], option: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(model))
    command = [sys.executable, str(Path(__file__).with_name("variants.py")), str(tmp_path), *filter(None, [option])]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "none later" in done.stdout


def test_doublings_meet_every_class() -> None:
    assert doublings(2, 9) == [2, 4, 8, 9]
    assert doublings(1, 8) == [1, 2, 4, 8]
    assert doublings(2, 1) == []


@pytest.mark.parametrize("takes_trees", [False, True])
def test_plans_keep_to_the_table_and_to_the_spare_slot(takes_trees: bool) -> None:
    seen = [0, 0]
    for plan in plans(num_rows=5, width=16, spare_slot=9, largest_chunk=40, vocab_size=50, takes_trees=takes_trees):
        counts = np.diff(plan.query_start_B1)
        assert len(counts) <= 5
        assert counts.max() <= 16
        assert (plan.positions_T < 16).all()
        assert set(plan.slots_T.tolist()) == set(plan.page_table.ravel().tolist()) == {9}
        seen[0] = max(seen[0], len(plan.token_ids_T))
        seen[1] += bool(plan.tree_T.size)
    assert seen == [40, 2 * takes_trees]  # the larger trees do not fit
