"""What adapters cost a token: random LoRAs on all seven linears of the default model, beside the model itself.

    python examples/bench/adapters.py [RANK …]

Processor time of this process (all threads) a step, the best of the rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from command import run_main
from safetensors.numpy import save_file

import radixlang as sgl

HIDDEN, WIDE, KEYS, LAYERS = 576, 1536, 192, 30
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KEYS, HIDDEN), "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}  # fmt: skip
STEPS, ROUNDS = 48, 3


def write(folder: Path, rank: int) -> None:
    random = np.random.default_rng(rank)
    tensors = {}
    for layer in range(LAYERS):
        for module, (rows, columns) in SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = random.standard_normal((rank, columns)).astype(np.float32) / columns**0.5
            tensors[f"{name}.lora_B.weight"] = random.standard_normal((rows, rank)).astype(np.float32) / 50
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank}))


def step_ms(engine: sgl.Engine, adapter: str | None, batch: int) -> float:
    begun = time.process_time()
    sampling = {"max_new_tokens": STEPS, "temperature": 0, "ignore_eos": True}
    engine.generate([f"The capital of country {i} is" for i in range(batch)], sampling, lora_path=adapter)
    return 1e3 * (time.process_time() - begun) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ranks", metavar="RANK", type=int, nargs="*", default=[8, 16, 64])
    ranks = parser.parse_args().ranks
    with tempfile.TemporaryDirectory() as folder:
        for rank in ranks:
            write(Path(folder) / f"rank-{rank}", rank)
        paths = [f"rank {rank}={folder}/rank-{rank}" for rank in ranks]
        with sgl.Engine(lora_paths=paths, max_total_tokens=4096, speculative_algorithm="none") as engine:
            who = [None, *(f"rank {rank}" for rank in ranks)]
            print(f"{'ms of processor time a step':30}" + "".join(f"{name or 'none':>14}" for name in who))
            for batch in (1, 8):
                best = {name: float("inf") for name in who}
                for _ in range(ROUNDS + 1):  # the first warms up, and what it finds is worse
                    for name in who:
                        best[name] = min(best[name], step_ms(engine, name, batch))
                line = "".join(f"{ms:7.1f} {ms / best[None]:5.2f}x" for ms in best.values())
                print(f"{f'batch {batch}':30}{line}")


if __name__ == "__main__":
    run_main(main)
