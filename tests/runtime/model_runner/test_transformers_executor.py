"""What transformers' code cannot carry over slots is refused when it is loaded, and says so."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.errors import BadCheckpoint, ConfigError, UnsupportedModel, WeightMismatch
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.load import load_executor
from radixlang.runtime.model_runner.plan import StepPlan
from radixlang.runtime.weights.open import open_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NONE = np.zeros(0, np.int32)


def config(**changes: Any) -> EngineConfig:
    return EngineConfig(**{"max_total_tokens": 64, "num_threads": 1, **changes})


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny random model of a family."""

    def make(architecture: str, **fields: Any) -> Path:
        torch.manual_seed(0)
        ids = {"vocab_size": 131, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        made = getattr(transformers, f"{architecture}Config")(**{**ids, **fields})
        model = transformers.AutoModelForCausalLM.from_config(made).float()
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.fixture
def neox(save: Callable[..., Path]) -> Path:
    return save(
        "GPTNeoX", hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128,
    )  # fmt: skip


def test_a_family_that_is_not_ours_is_run_and_one_line_says_how(neox: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = open_checkpoint(neox)
    facts = checkpoint.config
    assert (facts.architecture, facts.vocab_size, facts.max_context) == ("transformers:gpt_neox", 131, 128)
    assert facts.eos_token_ids == (2,)
    executor = load_executor(config(page_size=8, max_total_tokens=60), checkpoint)
    assert executor.device.startswith("cpu (transformers, float32")
    assert (executor.vocab_size, executor.hidden_size, executor.num_slots) == (131, 48, 56)
    assert executor.kv_bytes_per_token == 2 * 2 * 48 * 4
    assert [r.getMessage() for r in caplog.records if r.name.endswith(".load")] == [
        f"{neox.name}: gpt_neox is no family of ours; transformers' modelling code runs it"
    ]
    executor.close()


@pytest.mark.parametrize(("kv", "a_token"), [("bfloat16", 2 * 2 * 48 * 2), ("int8", 2 * 2 * (48 + 4 * 4))])
def test_the_cache_is_kept_in_the_type_that_was_asked_for(neox: Path, kv: str, a_token: int) -> None:
    executor = load_executor(config(kv_cache_dtype=kv), open_checkpoint(neox))
    assert executor.kv_bytes_per_token == a_token


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_pass_the_check(neox: Path, dtype: str) -> None:
    executor = load_executor(config(dtype=dtype), open_checkpoint(neox))
    assert executor.device.startswith(f"cpu (transformers, {dtype}")
    assert executor.kv_bytes_per_token == 2 * 2 * 48 * 2


def test_hidden_states_are_what_the_head_reads(neox: Path) -> None:
    executor = load_executor(config(), open_checkpoint(neox))
    slots = np.arange(10, 16, dtype=np.int32)
    output = executor.execute(
        StepPlan(
            step=0,
            token_ids_T=np.arange(3, 9, dtype=np.int32),
            positions_T=np.arange(6, dtype=np.int32),
            slots_T=slots,
            query_start_B1=np.array([0, 6], np.int32),
            kv_lens_B=np.array([6], np.int32),
            table_rows_B=np.zeros(1, np.int32),
            page_table=slots[None],
            hidden_rows=np.array([5, 2], np.int32),
        )
    )
    peer = transformers.AutoModel.from_pretrained(neox, attn_implementation="eager")
    with torch.no_grad():
        wanted = peer(torch.arange(3, 9)[None]).last_hidden_state[0, [5, 2]].numpy()
    np.testing.assert_allclose(output.hidden_RE, wanted, atol=1e-4)
    assert output.token_ids_S.tolist() == []


def test_dynamic_rotation_does_not_depend_on_the_neighbours(save: Callable[..., Path]) -> None:
    path = save(
        "GPTNeoX", hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=16, rotary_pct=1.0,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 100.0, "factor": 4.0, "partial_rotary_factor": 1.0},
    )  # fmt: skip
    executor = load_executor(config(context_length=16), open_checkpoint(path))
    short, long = np.arange(3, 9, dtype=np.int32), np.arange(3, 33, dtype=np.int32)

    def hidden(parts: list[np.ndarray]) -> np.ndarray:
        starts = np.cumsum([0, *map(len, parts)]).astype(np.int32)
        table = np.zeros((len(parts), 40), np.int32)
        for row, part in enumerate(parts):
            table[row, : len(part)] = np.arange(starts[row], starts[row + 1])
        return executor.execute(
            StepPlan(
                step=0,
                token_ids_T=np.concatenate(parts),
                positions_T=np.concatenate([np.arange(len(p), dtype=np.int32) for p in parts]),
                slots_T=np.arange(starts[-1], dtype=np.int32),
                query_start_B1=starts,
                kv_lens_B=np.array([len(p) for p in parts], np.int32),
                table_rows_B=np.arange(len(parts), dtype=np.int32),
                page_table=table,
                hidden_rows=np.arange(len(short), dtype=np.int32),
            )
        ).hidden_RE

    np.testing.assert_allclose(hidden([short, long]), hidden([short]), atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
        (
            "Lfm2",
            {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "layer_types": ["conv", "full_attention"],
            },
        ),
        (
            "RecurrentGemma",
            {
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "lru_width": 32,
                "attention_window_size": 8,
                "head_dim": 16,
            },
        ),
    ],
)
def test_a_model_with_other_state_or_attention_is_refused(
    architecture: str, fields: dict[str, Any], save: Callable[..., Path]
) -> None:
    checkpoint = open_checkpoint(save(architecture, **fields))
    with pytest.raises(UnsupportedModel, match="cannot be served through transformers here"):
        load_executor(config(), checkpoint)


def test_missing_weights_are_not_made_up(neox: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(neox / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, neox / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightMismatch, match=r"1 tensors are missing.*dense_h_to_4h"):
        load_executor(config(), open_checkpoint(neox))


def test_other_executors_do_not_run_it(neox: Path) -> None:
    checkpoint = open_checkpoint(neox)
    for executor in ("native", "torch"):
        with pytest.raises(ConfigError, match=f"--executor {executor}: gpt_neox models run on transformers' code only"):
            load_executor(config(executor=executor), checkpoint)


def test_without_transformers_the_extras_are_named(neox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "transformers" else find(name, *a)
    )
    with pytest.raises(ConfigError, match=r"gpt_neox is no family of ours.*pip install 'radixlang\[torch,hf\]'"):
        load_executor(config(), open_checkpoint(neox))


def test_code_of_the_folder_is_never_run(neox: Path) -> None:
    values = json.loads((neox / "config.json").read_text())
    (neox / "config.json").write_text(json.dumps({**values, "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    (neox / "evil.py").write_text("raise SystemExit")
    with pytest.raises(BadCheckpoint, match="auto_map"):
        open_checkpoint(neox)
    (neox / "config.json").write_text(json.dumps({**values, "model_type": "evil"}))
    with pytest.raises(UnsupportedModel, match=r"transformers .* does not load it"):
        load_executor(config(), open_checkpoint(neox))


def test_quantised_weights_of_it_are_refused(neox: Path) -> None:
    values = json.loads((neox / "config.json").read_text())
    (neox / "config.json").write_text(json.dumps({**values, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UnsupportedModel, match="quantised weights of a gpt_neox model"):
        open_checkpoint(neox)


def test_a_family_of_ours_runs_on_it_when_asked_for(tiny_model_dir: Path, tiny_gguf_path: Path) -> None:
    executor = load_executor(config(executor="transformers"), open_checkpoint(tiny_model_dir))
    assert "transformers" in executor.device
    with pytest.raises(ConfigError, match="no Hugging Face directory"):
        load_executor(config(executor="transformers"), open_checkpoint(tiny_gguf_path))


@pytest.mark.parametrize("lie", [{"hidden_act": 3}, {"num_attention_heads": 5}, {"use_cache": "x"}])
def test_a_config_that_its_classes_refuse_is_refused_in_one_line(neox: Path, lie: dict[str, Any]) -> None:
    file = neox / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **lie}))
    with pytest.raises(UnsupportedModel, match=r"transformers .* does not load it") as caught:
        load_executor(config(), open_checkpoint(neox))
    assert "\n" not in str(caught.value)
    assert str(neox) in str(caught.value)
