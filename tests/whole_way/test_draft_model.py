"""A real pair: the default model, and the same without two of its layers to draft for it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import radixlang as sgl
from radixlang.runtime.store.resolve import resolve_model

MODEL = "smollm2-135m-instruct"
SCRIPT = Path(__file__).parents[2] / "examples" / "bench" / "drop_layers.py"
PROMPTS = [
    "<|im_start|>user\nHow does a lock on a canal lift a boat?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nExplain why the sky is blue.<|im_end|>\n<|im_start|>assistant\n",
]
WAYS = {
    "greedy": {"temperature": 0, "max_new_tokens": 32, "ignore_eos": True},
    "sampled": {"temperature": 0.9, "top_p": 0.95, "sampling_seed": 5, "max_new_tokens": 32, "ignore_eos": True},
}


class Eager:
    """Costs by which every draft pays."""

    def curve(self, context):
        return 1.0 / np.arange(1, 1025)

    def add(self, num_rows, context, seconds):
        pass


@pytest.fixture(scope="module")
def draft_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("draft") / "draft.gguf"
    command = [sys.executable, SCRIPT, path, "--model", resolve_model(MODEL), "--keep", "0-13,15-28"]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def expected():
    with sgl.Engine(model_path=MODEL, speculative_algorithm="none", max_total_tokens=2048) as engine:
        return {way: [answer["text"] for answer in engine.generate(PROMPTS, WAYS[way])] for way in WAYS}


def test_what_it_drafts_is_right_at_times_and_never_heard(draft_path, expected) -> None:
    options = {"speculative_algorithm": "draft", "speculative_draft_model_path": str(draft_path)}
    with sgl.Engine(model_path=MODEL, max_total_tokens=2048, **options) as engine:
        engine._assembled.scheduler._state.speculator.costs = Eager()
        for way, sampling in WAYS.items():
            answers = engine.generate(PROMPTS, sampling)
            assert [answer["text"] for answer in answers] == expected[way]
            told = [answer["meta_info"] for answer in answers]
            assert all(0 < meta["spec_num_correct_drafts"] < meta["spec_num_proposed_drafts"] for meta in told)


def test_a_server_with_it_says_the_same_and_tries_it_only_where_it_pays(draft_path, expected, tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    command = [sys.executable, "-m", "radixlang.launch_server", "--model-path", MODEL, "--port", str(port)]
    drafts = ["--speculative-algorithm", "draft", "--speculative-draft-model-path", str(draft_path)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, *drafts, "--max-total-tokens", "2048"], stdout=out, stderr=out, cwd=os.path.dirname(log)
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            wait_ready(client, process, log)
            for way, sampling in WAYS.items():
                answers = client.post("/generate", json={"text": PROMPTS, "sampling_params": sampling}).json()
                assert [answer["text"] for answer in answers] == expected[way]
            info = client.get("/get_server_info").json()
            assert info["speculative_algorithm"] == "draft"
            assert info["internal_states"][0]["spec_verify_total"] <= 8  # a draft costs nearly what a token does
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, log.read_text()


def wait_ready(client, process, log) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
