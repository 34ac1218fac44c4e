"""A scheduler in miniature, and tiny random models of every family made by transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.errors import UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.plan import Executor, SamplePlan, ScorePlan, StepPlan

NONE = np.zeros(0, np.int32)


def sample_plan(row: int, **changes: Any) -> SamplePlan:
    greedy = SamplePlan(
        row=row, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, counter=0, mask_row=-1,
        bias_ids=NONE, bias_values=np.zeros(0, np.float32), penalty_ids=NONE, penalty_counts=NONE,
        frequency_penalty=0.0, presence_penalty=0.0, repetition_penalty=1.0, num_top=-1, logprob_ids=NONE,
    )  # fmt: skip
    return greedy._replace(**changes)


@dataclass
class Sequence:
    row: int
    ids: list[int] = field(default_factory=list)


class Driver:
    """Gives every token a slot (in a shuffled order) and runs the steps it is told to."""

    def __init__(self, executor: Executor, *, max_context: int = 128, rows: int = 32) -> None:
        self.executor = executor
        self.table = np.full((rows, max_context), -1, np.int32)
        self.free = np.random.default_rng(7).permutation(executor.num_slots).tolist()
        self.rows = list(range(rows))
        self.steps = 0

    def new(self, *, share: Sequence | None = None, length: int = 0) -> Sequence:
        """A sequence; `length` tokens of its prefix are `share`'s, in the same slots."""
        sequence = Sequence(self.rows.pop())
        if share is not None:
            self.table[sequence.row, :length] = self.table[share.row, :length]
            sequence.ids = share.ids[:length]
        return sequence

    def plan(self, work: list[tuple[Sequence, list[int]]]) -> StepPlan:
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        starts = [0]
        for sequence, new in work:
            for token in new:
                position = len(sequence.ids)
                if self.table[sequence.row, position] < 0:
                    self.table[sequence.row, position] = self.free.pop()
                ids.append(token)
                positions.append(position)
                slots.append(int(self.table[sequence.row, position]))
                sequence.ids.append(token)
            starts.append(len(ids))
        self.steps += 1
        return StepPlan(
            step=self.steps,
            token_ids_T=np.array(ids, np.int32),
            positions_T=np.array(positions, np.int32),
            slots_T=np.array(slots, np.int32),
            query_start_B1=np.array(starts, np.int32),
            kv_lens_B=np.array([len(s.ids) for s, _ in work], np.int32),
            table_rows_B=np.array([s.row for s, _ in work], np.int32),
            page_table=self.table,
        )

    def logprobs(self, work: list[tuple[Sequence, list[int]]]) -> list[np.ndarray]:
        """One step; log-probabilities of every row, [rows, V] for each sequence."""
        plan = self.plan(work)
        every = np.arange(self.executor.vocab_size, dtype=np.int32)
        plan.scores = [ScorePlan(row, -1, 0, every) for row in range(len(plan.token_ids_T))]
        rows = np.array([s.id_logprobs for s in self.executor.execute(plan).scores_N], np.float32)
        return np.split(rows, plan.query_start_B1[1:-1].tolist())

    def greedy(self, prompts: list[list[int]], num_tokens: int, *, chunk: int | None = None) -> list[list[int]]:
        """Greedy continuations, all prompts in one running batch; `chunk` prompt tokens a step."""
        sequences = [self.new() for _ in prompts]
        left = [list(p) for p in prompts]
        out: list[list[int]] = [[] for _ in prompts]
        while any(len(o) < num_tokens for o in out):
            busy = [i for i, o in enumerate(out) if len(o) < num_tokens]
            work = []
            for i in busy:
                size = chunk or len(left[i])
                work.append((sequences[i], left[i][:size]))
                left[i] = left[i][size:]
            plan = self.plan(work)
            drawing = [(k, i) for k, i in enumerate(busy) if not left[i]]
            plan.samples = [sample_plan(int(plan.query_start_B1[k + 1]) - 1) for k, _ in drawing]
            drawn = self.executor.execute(plan).token_ids_S.tolist()
            for (_, i), token in zip(drawing, drawn, strict=True):
                out[i].append(token)
                left[i] = [token]
        return out


@pytest.fixture(scope="session")
def driver() -> type[Driver]:
    return Driver


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., SamplePlan]:
    return sample_plan


def tiny(architecture: str, **changes: Any) -> Any:
    """A transformers config of a family, small: 4 layers, 4 heads of 16, 131 words. None: not given."""
    import transformers

    common = {
        "vocab_size": 131, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    given = {name: value for name, value in {**common, **changes}.items() if value is not None}
    return getattr(transformers, f"{architecture}Config")(**given)


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama2": lambda: tiny("Llama", num_key_value_heads=4, head_dim=12),
    "llama3": lambda: tiny(
        "Llama",
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
        },
    ),
    "llama-tied-biased": lambda: tiny("Llama", tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama-odd-sizes": lambda: tiny(
        "Llama", num_attention_heads=16, num_key_value_heads=1, head_dim=10, intermediate_size=33, num_hidden_layers=1
    ),
    "llama-linear": lambda: tiny(
        "Llama", rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}
    ),
    "llama-yarn": lambda: tiny(
        "Llama",
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        },
    ),
    "llama-yarn-fractional": lambda: tiny(
        "Llama",
        head_dim=34,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
            "truncate": False,
        },
    ),
    "mistral": lambda: tiny("Mistral", sliding_window=9),
    "qwen2": lambda: tiny("Qwen2", tie_word_embeddings=True),
    "qwen2-windows": lambda: tiny("Qwen2", use_sliding_window=True, sliding_window=7, max_window_layers=2),
    "qwen3": lambda: tiny("Qwen3", head_dim=24),
    "smollm3": lambda: tiny("SmolLM3", no_rope_layer_interval=2, use_sliding_window=False),
    "gemma": lambda: tiny("Gemma", head_dim=24, tie_word_embeddings=True),
    "gemma2": lambda: tiny("Gemma2", sliding_window=9, query_pre_attn_scalar=31, tie_word_embeddings=True,
        attn_logit_softcapping=0.4, final_logit_softcapping=2.0),
    "gemma3": lambda: tiny("Gemma3Text", sliding_window=9, query_pre_attn_scalar=31, tie_word_embeddings=True,
        layer_types=["sliding_attention", "full_attention"] * 2,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        }),
    "phi3": lambda: tiny("Phi3", sliding_window=None),
    "phi3-partial": lambda: tiny(
        "Phi3", rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    ),
    "phi3-longrope": lambda: tiny(
        "Phi3",
        head_dim=12,
        original_max_position_embeddings=8,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 8,
            "short_factor": [1.0] * 6, "long_factor": [1.0, 1.5, 2.0, 3.0, 5.0, 9.0],
        },
    ),
    "olmo2": lambda: tiny("Olmo2"),
    "granite": lambda: tiny(
        "Granite", attention_multiplier=0.3, embedding_multiplier=5.0, residual_multiplier=0.4, logits_scaling=3.0,
        tie_word_embeddings=True,
    ),
    "mixtral": lambda: tiny("Mixtral", num_local_experts=4, num_hidden_layers=2, sliding_window=9),
    "qwen2_moe": lambda: tiny("Qwen2Moe", num_experts=5, moe_intermediate_size=32, num_experts_per_tok=2,
        shared_expert_intermediate_size=24, head_dim=None, num_hidden_layers=3, mlp_only_layers=[1]),
    "qwen3_moe": lambda: tiny("Qwen3Moe", num_experts=6, moe_intermediate_size=32, num_experts_per_tok=3,
        norm_topk_prob=True, decoder_sparse_step=2),
    "olmoe": lambda: tiny("Olmoe", num_experts=4, num_experts_per_tok=2, head_dim=None, num_hidden_layers=2),
}  # fmt: skip


FOREIGN: dict[str, Callable[[], Any]] = {  # families that we do not read ourselves
    "gpt2": lambda: foreign("GPT2", n_embd=48, n_head=4, n_layer=3, n_positions=128),
    "gptj": lambda: foreign("GPTJ", n_embd=48, n_head=4, n_layer=2, n_positions=128, rotary_dim=8),
    "bloom": lambda: foreign("Bloom", hidden_size=48, n_head=4, n_layer=2),
    "mpt": lambda: foreign("Mpt", d_model=64, n_heads=4, n_layers=2, max_seq_len=128),
    "diffllama": lambda: tiny("DiffLlama", head_dim=None),
    "falcon": lambda: foreign("Falcon", hidden_size=48, num_attention_heads=4, num_hidden_layers=2),
    "gpt_neox": lambda: tiny("GPTNeoX", head_dim=None),
    "stablelm": lambda: tiny("StableLm", head_dim=None, hidden_size=64, use_qkv_bias=True),
    "cohere": lambda: tiny("Cohere", head_dim=None, logit_scale=0.4),
    "cohere2": lambda: tiny("Cohere2", sliding_window=9, logit_scale=0.4),
    "starcoder2": lambda: tiny("Starcoder2", head_dim=None, sliding_window=7),
    "olmo": lambda: tiny("Olmo", head_dim=None, clip_qkv=0.4),
    "nemotron": lambda: tiny("Nemotron"),
    "glm4": lambda: tiny("Glm4"),
    "gpt_oss": lambda: tiny("GptOss", num_local_experts=4, sliding_window=9, num_hidden_layers=2),
    "llama4": lambda: tiny("Llama4Text", attention_chunk_size=16, intermediate_size_mlp=64, num_local_experts=2,
        no_rope_layers=[1, 1, 1, 0]),
    "deepseek_v3": lambda: tiny("DeepseekV3", head_dim=None, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=24,
        qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, n_routed_experts=4, num_experts_per_tok=2, n_group=2,
        topk_group=1, moe_intermediate_size=16, first_k_dense_replace=1, num_hidden_layers=2),
}  # fmt: skip


def foreign(architecture: str, **changes: Any) -> Any:
    """A config of a family whose fields have other names."""
    import transformers

    ids = {"vocab_size": 131, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return getattr(transformers, f"{architecture}Config")(**{**ids, **changes})


@pytest.fixture(params=list(FOREIGN))
def foreign_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(FAMILIES))
def family_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Family:
    """A tiny random model: transformers' own, and where it is saved."""

    name: str
    peer: Any
    path: Path

    def logprobs(self, ids: list[int]) -> np.ndarray:
        """[len(ids), V] log-probabilities by transformers."""
        import torch

        with torch.no_grad():
            logits = self.peer(torch.tensor([ids]), use_cache=False).logits[0]
        return np.asarray(logits.double().log_softmax(-1).float().numpy())


@pytest.fixture
def native_divergence(driver: type[Driver]) -> Callable[[Any, list[int]], np.ndarray]:
    """native_divergence(checkpoint, ids): of the native step from the torch one, nats for each row."""

    def measure(checkpoint: Any, ids: list[int]) -> np.ndarray:
        from radixlang.runtime.model_runner.torch_executor import TorchExecutor

        try:
            native = NativeExecutor(checkpoint, EngineConfig(num_threads=1, weight_cache=False), 256)
        except UnsupportedModel as error:
            pytest.skip(f"no native step here: {error}")
        found, wanted = (
            ours.logprobs([(ours.new(), ids)])[0]
            for ours in (driver(native), driver(TorchExecutor(checkpoint, num_slots=256)))
        )
        native.close()
        return (np.exp(wanted.astype(np.float64)) * (wanted - found)).sum(-1)

    return measure


@pytest.fixture(scope="session")
def make_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """Weights and norms are random: a norm left out or scaled wrongly shows."""
    made: dict[str, Family] = {}

    def make(name: str) -> Family:
        if name not in made:
            import torch
            import transformers

            transformers.logging.disable_progress_bar()
            torch.manual_seed(len(made) + 1)
            config = {**FAMILIES, **FOREIGN}[name]()
            config._attn_implementation = "eager"
            peer = transformers.AutoModelForCausalLM.from_config(config).float().eval()
            with torch.no_grad():
                for parameter in peer.parameters():
                    if parameter.dim() == 1:
                        parameter.add_(torch.randn_like(parameter) * 0.3)
                    else:
                        parameter.copy_(torch.randn_like(parameter) * 0.15)
            path = tmp_path_factory.mktemp(name)
            peer.save_pretrained(path)
            made[name] = Family(name, peer, path)
        return made[name]

    return make


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models gain nothing from threads, and waiting threads slow whatever else runs."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def triton_everywhere() -> Iterator[None]:
    """The kernels that are registered for CUDA, for the device that the tests have."""
    import torch

    from radixlang.kernels import registry
    from radixlang.kernels.load import load_kernels
    from radixlang.kernels.triton import table

    load_kernels()
    before = {op: list(found) for op, found in registry._table.items()}
    table.register_all()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for op, found in registry._table.items():
        for implementation in [i for i in found if i.name == "triton"]:
            registry.register(op, implementation.kernel, name="here", device=device, rank=9, fits=implementation.fits)
    yield
    registry._table.clear()
    registry._table.update(before)


@pytest.fixture(scope="session")
def build_cuda() -> Callable[..., Any]:
    """Makes a CudaExecutor of a checkpoint, in float32: 32 rows, contexts of 128 tokens, 256 slots."""
    import torch

    from radixlang.runtime.model.adapted import AdapterSlots
    from radixlang.runtime.model.decoder import Decoder
    from radixlang.runtime.model.kv_pool import KvPool
    from radixlang.runtime.model_runner.cuda.executor import CudaExecutor

    def build(checkpoint: Any, kv_dtype: Any = torch.float32, lora: Any = None, rows: int = 32) -> CudaExecutor:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with torch.inference_mode():
            decoder = Decoder(checkpoint, dtype=torch.float32, device=device)
            adapters = None if lora is None else AdapterSlots(decoder, lora)
            pool = KvPool(checkpoint.config, 256 + 1, kv_dtype, device)
        return CudaExecutor(
            decoder, pool, num_rows=rows, max_context=128, page_size=1, uses_graphs=True, adapters=adapters,
        )  # fmt: skip

    return build
