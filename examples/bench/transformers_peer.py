"""Decode speed beside transformers' `generate`: same weights, same prompts as ids, same threads, rounds in turn.

    python examples/bench/transformers_peer.py --model PATH.gguf --executor torch --json out.json

On a machine that does other work as well, the ratio of CPU seconds says more than that of the clock.

Ours is the executor with a loop of a few lines (no scheduler, no server). The peer is a Llama of transformers that
holds the very tensors we dequantised. Prompts have one length, so the peer pads nothing. Counted is decode only: from
the first token of all sequences to their last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
from command import run_main

DEFAULT = Path.home() / ".cache/radixlang/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
NONE = np.zeros(0, np.int32)


def greedy(row):
    from radixlang.runtime.model_runner.plan import SamplePlan

    return SamplePlan(
        row=row, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, counter=0, mask_row=-1, bias_ids=NONE,
        bias_values=np.zeros(0, np.float32), penalty_ids=NONE, penalty_counts=NONE, frequency_penalty=0.0,
        presence_penalty=0.0, repetition_penalty=1.0, num_top=-1, logprob_ids=NONE,
    )  # fmt: skip


def now():
    """Seconds of the clock, and of this process's CPUs."""
    return np.array([time.perf_counter(), time.process_time()])


def step(executor, table, ids_BN, first_position):
    """One step of equally long sequences; returns the drawn ids [B]."""
    from radixlang.runtime.model_runner.plan import StepPlan

    size, length = ids_BN.shape
    positions = np.arange(first_position, first_position + length, dtype=np.int32)
    starts = np.arange(0, size * length + 1, length, dtype=np.int32)
    plan = StepPlan(
        step=0,
        token_ids_T=np.ascontiguousarray(ids_BN, np.int32).ravel(),
        positions_T=np.tile(positions, size),
        slots_T=np.ascontiguousarray(table[:size, positions]).ravel(),
        query_start_B1=starts,
        kv_lens_B=np.full(size, first_position + length, np.int32),
        table_rows_B=np.arange(size, dtype=np.int32),
        page_table=table,
        samples=[greedy(int(end) - 1) for end in starts[1:]],
    )
    return executor.execute(plan).token_ids_S


def run_ours(executor, prompts, num_tokens):
    size, length = prompts.shape
    table = np.random.default_rng(0).permutation(executor.num_slots).astype(np.int32)
    table = table[: size * (length + num_tokens)].reshape(size, -1)
    tokens = [step(executor, table, prompts, 0)]
    started = now()
    for i in range(num_tokens - 1):
        tokens.append(step(executor, table, tokens[-1][:, None], length + i))
    return np.stack(tokens, 1), now() - started


def make_peer(checkpoint, dtype):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    facts = checkpoint.config
    if facts.architecture != "llama":
        raise SystemExit(f"the peer is built for llama checkpoints, not {facts.architecture}")
    config = LlamaConfig(
        vocab_size=facts.vocab_size, hidden_size=facts.hidden_size, intermediate_size=facts.intermediate_size,
        num_hidden_layers=facts.num_layers, num_attention_heads=facts.num_heads, num_key_value_heads=facts.num_kv_heads,
        head_dim=facts.head_dim, max_position_embeddings=facts.max_context, rms_norm_eps=facts.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": facts.rope.theta},
        tie_word_embeddings=facts.tie_embeddings, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    kind = getattr(torch, dtype)
    tensors = {name: torch.from_numpy(np.array(checkpoint.dense(name))).to(kind) for name in checkpoint.names()}
    if facts.tie_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, strict=True, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def run_peer(model, prompts, num_tokens):
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Clock(StoppingCriteria):
        def __init__(self):
            self.times = []

        def __call__(self, input_ids, scores, **options):
            self.times.append(now())
            return torch.zeros(len(input_ids), dtype=torch.bool)

    clock = Clock()
    ids = torch.from_numpy(prompts.astype(np.int64))
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=num_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        stopping_criteria=StoppingCriteriaList([clock]),
    )
    return out[:, prompts.shape[1] :].numpy(), clock.times[-1] - clock.times[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--executor", choices=["torch", "native", "auto"], default="torch")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of ours, in torch")
    parser.add_argument("--peer-dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=33)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))

    import torch

    from radixlang.runtime.config import EngineConfig
    from radixlang.runtime.model_runner.load import load_executor
    from radixlang.runtime.weights.open import open_checkpoint

    torch.set_num_threads(options.threads)
    checkpoint = open_checkpoint(options.model)
    slots = max(options.batch) * (options.prompt_tokens + options.tokens)
    executor = load_executor(
        EngineConfig(
            model_path=str(options.model), executor=options.executor, dtype=options.dtype, max_total_tokens=slots,
            num_threads=options.threads,
        ),
        checkpoint,
    )  # fmt: skip
    peer = make_peer(checkpoint, options.peer_dtype)
    prompts = np.random.default_rng(1).integers(17, executor.vocab_size, (max(options.batch), options.prompt_tokens))
    results = []
    for size in options.batch:
        run_ours(executor, prompts[:size], 3), run_peer(peer, prompts[:size], 3)  # first touches
        ours, peers, same = [], [], 0.0
        for _ in range(options.rounds):
            our_tokens, seconds = run_ours(executor, prompts[:size], options.tokens)
            ours.append(seconds)
            peer_tokens, seconds = run_peer(peer, prompts[:size], options.tokens)
            peers.append(seconds)
            same = float((our_tokens == peer_tokens).mean())
        ratios, cpu_ratios = (np.array(peers) / np.array(ours)).T
        count = size * (options.tokens - 1)
        results.append(
            {
                "batch": size,
                "ours_tok_s": round(count / statistics.median(s[0] for s in ours), 1),
                "peer_tok_s": round(count / statistics.median(s[0] for s in peers), 1),
                "ratio": round(float(np.median(ratios)), 2),
                "ratio_spread": [round(float(r), 2) for r in (ratios.min(), ratios.max())],
                "cpu_ratio": round(float(np.median(cpu_ratios)), 2),
                "equal_tokens": round(same, 3),
            }
        )
    report = {
        "model": options.model.name,
        "ours": executor.device,
        "peer": f"transformers generate, {options.peer_dtype}, {options.threads} threads",
        "prompt_tokens": options.prompt_tokens,
        "tokens": options.tokens,
        "rounds": options.rounds,
        "load_average": round(os.getloadavg()[0], 1),
        "results": results,
    }
    print(f"{report['model']}: {report['ours']} beside {report['peer']}; load {report['load_average']}")
    names = ("ours tok/s", "peer tok/s", "ratio", "min..max", "CPU ratio", "same tokens")
    print(f"{'batch':>6}" + "".join(f"{name:>13}" for name in names))
    for r in results:
        spread = "{}..{}".format(*r["ratio_spread"])
        row = (r["ours_tok_s"], r["peer_tok_s"], r["ratio"], spread, r["cpu_ratio"], r["equal_tokens"])
        print(f"{r['batch']:>6}" + "".join(f"{value:>13}" for value in row))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
