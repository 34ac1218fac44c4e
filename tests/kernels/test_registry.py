"""The best that fits is found; what fits nowhere says so."""

from __future__ import annotations

import pytest

from radixlang.errors import InternalError
from radixlang.kernels import registry


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_table", {})


def test_the_highest_rank_that_fits_wins() -> None:
    registry.register("twice", lambda x: 2 * x, name="reference")
    registry.register("twice", lambda x: x << 1, name="shift", rank=2, fits=lambda x: isinstance(x, int))
    registry.register("twice", lambda x: None, name="gpu", device="cuda", rank=9)
    assert [i.name for i in registry.implementations("twice")] == ["gpu", "shift", "reference"]
    assert registry.find("twice", "cpu", 3) is registry.implementations("twice")[1].kernel
    assert registry.find("twice", "cpu", 1.5)(1.5) == 3.0
    assert registry.find("twice", "cuda", 3) is registry.implementations("twice")[0].kernel


def test_a_name_registered_again_is_replaced() -> None:
    registry.register("op", lambda: 1, name="a")
    registry.register("op", lambda: 2, name="a")
    assert [i.kernel() for i in registry.implementations("op")] == [2]


def test_an_op_without_implementation_is_our_bug() -> None:
    with pytest.raises(InternalError, match="no implementation of op runs on tpu"):
        registry.find("op", "tpu")
