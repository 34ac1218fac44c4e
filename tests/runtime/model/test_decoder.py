"""A checkpoint that does not fit the decoder is refused by name; nothing in it is overlooked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.errors import UnsupportedModel, WeightMismatch
from radixlang.runtime.weights.checkpoint import PackedTensor
from radixlang.runtime.weights.open import open_checkpoint

torch = pytest.importorskip("torch")

from radixlang.runtime.model.decoder import Decoder  # noqa: E402
from radixlang.runtime.model.kv_pool import KvPool  # noqa: E402


class Changed:
    """The tiny checkpoint with some tensors replaced, added or (None) taken away."""

    def __init__(self, folder: Path, changes: dict[str, np.ndarray | None]) -> None:
        opened = open_checkpoint(folder)
        self.path, self.config, self.digest = opened.path, opened.config, opened.digest
        self.tensors = {name: opened.dense(name) for name in opened.names()}
        opened.close()
        for name, array in changes.items():
            self.tensors.pop(name, None)
            if array is not None:
                self.tensors[name] = array

    def names(self) -> list[str]:
        return list(self.tensors)

    def packed(self, name: str) -> PackedTensor:
        array = np.ascontiguousarray(self.tensors[name], np.float32)
        return PackedTensor(name, "F32", array.shape, array.view(np.uint8))

    def dense(self, name: str) -> np.ndarray:
        return self.tensors[name]


@pytest.fixture
def load(tiny_model_dir: Path) -> Callable[..., Decoder]:
    def load(**changes: Any) -> Decoder:
        named = {name.replace("__", "."): array for name, array in changes.items()}
        return Decoder(Changed(tiny_model_dir, named), dtype=torch.float32, device=torch.device("cpu"))

    return load


def test_a_missing_tensor_is_named(load: Callable[..., Decoder]) -> None:
    with pytest.raises(WeightMismatch, match=r"model\.layers\.1\.mlp\.down_proj\.weight \[64, 128\] is missing"):
        load(model__layers__1__mlp__down_proj__weight=None)


def test_a_misshapen_tensor_is_named_with_both_shapes(load: Callable[..., Decoder]) -> None:
    with pytest.raises(WeightMismatch, match=r"model\.norm\.weight should be \[64\], is \[63\]"):
        load(model__norm__weight=np.ones(63, np.float32))


def test_a_tensor_without_a_place_is_refused(load: Callable[..., Decoder]) -> None:
    extra = np.ones((4, 64), np.float32)
    with pytest.raises(UnsupportedModel, match=r"no place for 1 tensors.*model\.layers\.0\.mlp\.router\.weight"):
        load(model__layers__0__mlp__router__weight=extra)
    load(
        model__layers__0__self_attn__rotary_emb__inv_freq=np.ones(8, np.float32)
    )  # old files hold it; the config says it


def test_a_head_of_its_own_is_taken_over_the_embedding(load: Callable[..., Decoder]) -> None:
    hidden = torch.ones(1, 64)
    tied = load().logits(hidden)
    assert tied.shape == (1, 320)
    assert not load(lm_head__weight=np.zeros((320, 64), np.float32)).logits(hidden).any()
    assert tied.any()


def test_the_pool_counts_its_bytes(load: Callable[..., Decoder]) -> None:
    config = load().config
    for dtype, a_head in ((torch.float32, 64), (torch.bfloat16, 32), (torch.int8, 20)):
        pool = KvPool(config, 10, dtype, torch.device("cpu"))
        held = [*pool.layers, *(s for s in pool.scales if s is not None)]
        assert pool.bytes_per_token == 2 * 2 * 2 * a_head
        assert sum(t.numel() * t.itemsize for t in held) == 10 * pool.bytes_per_token
