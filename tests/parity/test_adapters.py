"""Adapters in one packed batch against the same numbers merged into the weights, and against peft where it is there."""

import numpy as np
import pytest

from radixlang.errors import UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.lora.adapter import linears_of, read_adapter
from radixlang.runtime.lora.names import SlotSize
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.open import open_checkpoint

PROMPTS = [[5, 9, 31, 7], [40, 41], [5, 9, 31, 7, 90, 91, 92], [100, 7, 7], [5, 9, 31, 7]]
WHO = [0, -1, 1, 2, 1]
"""The adapter of each prompt; -1: the model itself. Equal prompts have different ones."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_model_dir, make_adapter):
    """Few linears of a small rank; all of them with the stabilised scale and patterns; the MLP and the head."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        make_adapter(folder / "a", tiny_model_dir, rank=4, targets=("q_proj", "v_proj"), seed=1),
        make_adapter(
            folder / "b", tiny_model_dir, rank=8, seed=2, use_rslora=True,
            rank_pattern={"down_proj": 3}, alpha_pattern={"k_proj": 3.0},
        ),
        make_adapter(folder / "c", tiny_model_dir, rank=2, targets=("down_proj", "lm_head"), seed=3),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def adapters(folders, tiny_model_dir):
    linears = linears_of(open_checkpoint(tiny_model_dir))
    return [read_adapter(folder, linears) for folder in folders]


def torch_executor(path, lora=None):
    return TorchExecutor(open_checkpoint(path), num_slots=256, dtype="float32", lora=lora)


def native_executor(path, lora=None):
    config = EngineConfig(model_path=str(path), executor="native", kv_cache_dtype="float32", weight_cache=False)
    try:
        return NativeExecutor(open_checkpoint(path), config, 256, lora)
    except UnsupportedModel as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[torch_executor, native_executor], ids=["torch", "native"])
def executor_of(request):
    return request.param


def adapted(plan, adapters, who):
    """The plan with sequence b on adapters[who[b]]."""
    used = sorted({place for place in who if place >= 0})
    plan.adapters = [adapters[place] for place in used]
    plan.adapters_B = np.array([used.index(place) if place >= 0 else -1 for place in who], np.int32)
    return plan


class AdaptedExecutor:
    """Runs every plan of a driver with these adapters."""

    def __init__(self, inner, adapters, who):
        self._inner, self._adapters, self._who = inner, adapters, who
        self.vocab_size, self.num_slots = inner.vocab_size, inner.num_slots

    def execute(self, plan):
        return self._inner.execute(adapted(plan, self._adapters, self._who))


def rows_of(driver, executor, prompts):
    run = driver(executor)
    return run.logprobs([(run.new(), list(prompt)) for prompt in prompts])


@pytest.fixture(scope="module")
def merged(folders, tiny_model_dir, make_merged, driver, tmp_path_factory):
    """What each prompt must give: the rows of the merged model, each prompt alone."""
    paths = [make_merged(tmp_path_factory.mktemp("merged") / str(i), tiny_model_dir, f) for i, f in enumerate(folders)]
    executors = {place: torch_executor(tiny_model_dir if place < 0 else paths[place]) for place in set(WHO)}
    return [rows_of(driver, executors[who], [prompt])[0] for who, prompt in zip(WHO, PROMPTS, strict=True)]


def far(found, wanted):
    return max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))


def test_one_packed_batch_equals_the_merged_weights(driver, executor_of, tiny_model_dir, adapters, merged):
    executor = executor_of(tiny_model_dir, SlotSize(3, 8))
    found = rows_of(driver, AdaptedExecutor(executor, adapters, WHO), PROMPTS)
    assert far(found, merged) < 2e-5
    assert far(found[:1], found[4:]) > 0.1  # the same prompt, and the adapter makes a difference


def test_an_adapter_on_the_gguf_of_its_model(driver, executor_of, tiny_gguf_path, adapters, merged):
    """Its rows of q and k lie in another order in the file."""
    found = rows_of(driver, AdaptedExecutor(executor_of(tiny_gguf_path, SlotSize(3, 8)), adapters, WHO), PROMPTS)
    assert far(found, merged) < 2e-5


def test_a_row_has_the_same_bits_alone_and_in_a_batch(driver, tiny_model_dir, adapters):
    """Also in a step so small that every thread prepares all rows, and among rows of other adapters."""
    executor = native_executor(tiny_model_dir, SlotSize(3, 8))
    together = rows_of(driver, AdaptedExecutor(executor, adapters, WHO), PROMPTS)
    for who, prompt, rows in zip(WHO, PROMPTS, together, strict=True):
        (alone,) = rows_of(driver, AdaptedExecutor(executor, adapters, [who]), [prompt])
        assert np.array_equal(alone, rows)
        run = driver(AdaptedExecutor(executor, adapters, [who]))
        sequence = run.new()
        by_one = [run.logprobs([(sequence, [token])])[0] for token in prompt]
        assert np.array_equal(np.concatenate(by_one), rows)


def test_many_rows_have_the_bits_of_few(driver, tiny_model_dir, adapters):
    """Where there are many, threads take rows of their own, of any adapter."""
    executor = native_executor(tiny_model_dir, SlotSize(3, 8))
    prompts = [[(11 * i + 7 * j) % 61 + 1 for j in range(40 + i)] for i in range(len(WHO))]
    together = rows_of(driver, AdaptedExecutor(executor, adapters, WHO), prompts)
    for who, prompt, rows in zip(WHO, prompts, together, strict=True):
        run = driver(AdaptedExecutor(executor, adapters, [who]))
        sequence = run.new()
        by_few = [run.logprobs([(sequence, prompt[at : at + 9])])[0] for at in range(0, len(prompt), 9)]
        assert np.array_equal(np.concatenate(by_few), rows)


def test_fewer_slots_than_adapters_change_nothing(driver, executor_of, tiny_model_dir, adapters, merged):
    executor = executor_of(tiny_model_dir, SlotSize(1, 8))
    for _ in range(2):  # what another adapter left in the slot must be gone
        for i, who in enumerate(WHO):
            assert (
                far(rows_of(driver, AdaptedExecutor(executor, adapters, [who]), [PROMPTS[i]]), merged[i : i + 1]) < 2e-5
            )


def test_the_adapter_used_longest_ago_gives_up_its_slot(driver, tiny_model_dir, adapters, monkeypatch):
    from radixlang.runtime.model import adapted as module

    executor = torch_executor(tiny_model_dir, SlotSize(2, 8))
    loaded, rounded = [], []
    stage, put = module._Part.stage, module._Part.put

    def staging(part, adapter):
        rounded.append((part, adapter))
        return stage(part, adapter)

    def putting(part, slot, staged):
        for place, adapter in enumerate(adapters):
            if staged is not None and any(staged is own for own in executor._adapters._staged.get(adapter, ())):
                loaded.append(place)
        put(part, slot, staged)

    monkeypatch.setattr(module._Part, "stage", staging)
    monkeypatch.setattr(module._Part, "put", putting)
    for who in (0, 1, 0, 2, 0, 1):
        rows_of(driver, AdaptedExecutor(executor, adapters, [who]), [[1, 2]])
    changes = [a for a, b in zip(loaded, [None, *loaded], strict=False) if a != b]
    assert changes == [0, 1, 2, 1]
    assert len(set(rounded)) == len(rounded)  # each matrix once, however often its adapter comes back


def test_a_prompt_in_chunks_and_its_decoding_keep_their_adapter(
    driver, executor_of, tiny_model_dir, adapters, folders, make_merged, tmp_path
):
    executor = executor_of(tiny_model_dir, SlotSize(1, 8))
    found = driver(AdaptedExecutor(executor, adapters, [1])).greedy([PROMPTS[2]], 6, chunk=3)
    merged = executor_of(make_merged(tmp_path / "m", tiny_model_dir, folders[1]))
    assert found == driver(merged).greedy([PROMPTS[2]], 6)


@pytest.mark.filterwarnings("ignore")  # peft's own
def test_peft_gives_the_same(driver, executor_of, tiny_model_dir, folders, adapters):
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    executor = executor_of(tiny_model_dir, SlotSize(3, 8))
    found = rows_of(driver, AdaptedExecutor(executor, adapters, WHO), PROMPTS)
    for place, folder in enumerate(folders):
        base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
        peer = peft.PeftModel.from_pretrained(base, folder).eval()
        for rows, prompt, who in zip(found, PROMPTS, WHO, strict=True):
            if who == place:
                with torch.inference_mode():
                    wanted = torch.log_softmax(peer(torch.tensor([prompt])).logits[0].float(), -1).numpy()
                assert np.abs(rows - wanted).max() < 2e-5


@pytest.mark.parametrize("name", ["llama-tied-biased", "gemma2", "qwen3", "phi3", "olmo2", "mixtral"])
def test_families(driver, executor_of, make_family, make_adapter, make_merged, tmp_path, name):
    """Norms behind a block, biases, fused projections, experts beside adapted attention."""
    path = make_family(name).path
    targets = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj") if name == "phi3" else None
    if name == "mixtral":
        targets = ("q_proj", "k_proj", "v_proj", "o_proj")
    folder = make_adapter(tmp_path / "a", path, rank=3, seed=5, **({} if targets is None else {"targets": targets}))
    checkpoint = open_checkpoint(path)
    adapter = read_adapter(folder, linears_of(checkpoint))
    found = rows_of(driver, AdaptedExecutor(executor_of(path, SlotSize(1, 4)), [adapter], [0, -1]), [PROMPTS[2]] * 2)
    merged = torch_executor(make_merged(tmp_path / "m", path, folder))
    assert far(found[:1], rows_of(driver, merged, [PROMPTS[2]])) < 1e-4
    assert far(found[1:], rows_of(driver, torch_executor(path), [PROMPTS[2]])) < 1e-4


def test_an_adapted_head_under_a_mask(
    driver, executor_of, make_sample, tiny_model_dir, adapters, folders, make_merged, tmp_path
):
    """Few allowed tokens: only their columns of the head are computed."""
    merged = torch_executor(make_merged(tmp_path / "m", tiny_model_dir, folders[2]))
    wanted = rows_of(driver, merged, [PROMPTS[0]])[0][-1]
    executor = executor_of(tiny_model_dir, SlotSize(3, 8))
    random = np.random.default_rng(3)
    for _ in range(8):
        allowed = random.choice(executor.vocab_size, 3, replace=False)
        run = driver(executor)
        plan = adapted(run.plan([(run.new(), list(PROMPTS[0]))]), adapters, [2])
        plan.masks_MW = np.zeros((1, -(-executor.vocab_size // 32)), np.uint32)
        for token in allowed.tolist():
            plan.masks_MW[0, token // 32] |= np.uint32(1 << token % 32)
        plan.samples = [make_sample(len(PROMPTS[0]) - 1, mask_row=0)]
        assert executor.execute(plan).token_ids_S.tolist() == [allowed[np.argmax(wanted[allowed])]]
