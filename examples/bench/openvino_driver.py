"""Runs in OpenVINO's own environment: a wave of [[ids, max_tokens], …] a line in, the outputs' ids a line out."""

import json
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai


def main() -> None:
    model, threads, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 4
    scheduler.max_num_seqs = slots
    scheduler.max_num_batched_tokens = 512
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads})
    print("ready", flush=True)
    for line in sys.stdin:
        wave = json.loads(line)
        prompts = [ov.Tensor(np.array([ids], dtype=np.int64)) for ids, _ in wave]
        configs = []
        for _, max_tokens in wave:
            config = genai.GenerationConfig()
            config.max_new_tokens = max_tokens
            config.ignore_eos = True
            config.do_sample = False
            configs.append(config)
        results = pipeline.generate(prompts, configs)
        print(json.dumps([list(map(int, r.m_generation_ids[0])) for r in results]), flush=True)


if __name__ == "__main__":
    main()
