"""Which variants of the kernels are compiled, without compiling any: see test_warm_up.py.

    python variants.py FOLDER [adapters]

Prints those that steps ask for behind the warm-up and that the warm-up did not. FOLDER: a config.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget

from radixlang.kernels import registry
from radixlang.kernels.load import load_kernels
from radixlang.kernels.triton import table
from radixlang.runtime.lora.names import SlotSize
from radixlang.runtime.model.adapted import AdapterSlots
from radixlang.runtime.model.decoder import Decoder
from radixlang.runtime.model.kv_pool import KvPool
from radixlang.runtime.model_runner.cuda import executor as cuda_executor
from radixlang.runtime.model_runner.cuda import warm_up
from radixlang.runtime.model_runner.plan import StepPlan
from radixlang.runtime.weights.open import open_checkpoint

NUM_ROWS, WIDTH, SLOTS, CHUNK = 48, 2048, 4096, 512


class Elsewhere:
    """A driver whose device is not here."""

    target = GPUTarget("cuda", 90, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


asked: dict[str, str] = {}


def remember(*, key: str, repr: str, **_: object) -> bool:
    """Triton's hook before it compiles; True: it does not, and launches nothing."""
    asked[repr + str(key)] = repr
    return True


def random_plan(rng: np.random.Generator, executor: cuda_executor.CudaExecutor) -> StepPlan:
    """Prompts and decoded sequences of any number, in any order."""
    table_ = np.full((NUM_ROWS, WIDTH), 7, np.int32)
    kind = rng.integers(0, 4)
    count = int(rng.integers(1, NUM_ROWS))
    if kind == 0:
        counts = [1] * count
    elif kind == 1:
        counts = [*[1] * count, int(rng.integers(2, CHUNK - count))]
    elif kind == 2:
        counts = [int(rng.integers(1, 12)) for _ in range(count)]
    else:
        counts = [int(rng.integers(2, 33)) for _ in range(min(count, 8))]
    plan = warm_up.step_of(table_, 7, counts, executor.vocab_size, tree=kind == 3)
    cached = rng.integers(0, WIDTH - CHUNK, len(counts)).astype(np.int32)
    plan.kv_lens_B += cached
    plan.positions_T += np.repeat(cached, counts)
    if rng.integers(0, 2):
        plan.samples = [s._replace(temperature=0.0, mask_row=-1, num_top=5) for s in plan.samples[:1]]
        plan.masks_MW = np.zeros((0, 0), np.uint32)
    return plan


def main() -> int:
    folder, *options = sys.argv[1:]
    load_kernels()
    table.register_all()
    for op, found in list(registry._table.items()):
        for one in [one for one in found if one.name == "triton"]:
            registry.register(op, one.kernel, name="here", device="cpu", rank=9, fits=one.fits)
    triton.runtime.driver.set_active(Elsewhere())
    triton.knobs.runtime.jit_cache_hook = remember
    checkpoint = open_checkpoint(Path(folder), dummy=True)
    with torch.inference_mode():
        decoder = Decoder(checkpoint, dtype=torch.bfloat16, device=torch.device("cpu"))
        adapters = AdapterSlots(decoder, SlotSize(2, 8)) if "adapters" in options else None
        pool = KvPool(checkpoint.config, SLOTS + 1, torch.bfloat16, torch.device("cpu"))
    executor = cuda_executor.CudaExecutor(
        decoder, pool, num_rows=NUM_ROWS, max_context=WIDTH, page_size=1, uses_graphs=False, adapters=adapters
    )
    executor.warm_up(CHUNK)
    known = set(asked)
    print(len(known), "variants after the warm-up")
    rng = np.random.default_rng(0)
    for _ in range(60):
        plan = random_plan(rng, executor)
        if adapters is not None and rng.integers(0, 2):
            plan.adapters = [adapters.blank()]
            plan.adapters_B = rng.integers(-1, 1, len(plan.kv_lens_B)).astype(np.int32)
        executor.execute(plan)
    late = sorted({asked[one] for one in set(asked) - known})
    print("\n".join(["late:", *late]) if late else "none later")
    return 1 if late or not known else 0


if __name__ == "__main__":
    sys.exit(main())
