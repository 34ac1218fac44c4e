"""Decode and extend attention over the page table, against float64 and the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels import paged
from radixlang.kernels.reference import attention as reference
from radixlang.kernels.reference.batch import Extend, PackedBatch
from radixlang.kernels.triton import attention, attention_decode, attention_extend

Error = Callable[[torch.Tensor, torch.Tensor], float]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


class Case:
    """Sequences as (rows, cached slots) over scattered slots of one pool."""

    def __init__(
        self, shape: list[tuple[int, int]], *, heads: int, kv_heads: int, dim: int, dtype: torch.dtype = torch.float32
    ) -> None:
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        total = sum(rows + cached for rows, cached in shape)
        slots = rng.permutation(total + 7).astype(np.int32)
        self.kv = torch.randn(total + 7, 2 * kv_heads, dim).to(dtype)
        self.scale: torch.Tensor | None = None
        lengths = np.array([rows + cached for rows, cached in shape], np.int32)
        table = np.zeros((len(shape) + 2, int(lengths.max()) + 3), np.int32)
        self.table_rows = rng.permutation(len(shape) + 2)[: len(shape)].astype(np.int32)
        starts = np.concatenate(([0], np.cumsum([rows for rows, _ in shape]))).astype(np.int32)
        sequences, positions, used = [], [], 0
        for b, (rows, cached) in enumerate(shape):
            mine = slots[used : used + rows + cached]
            used += rows + cached
            table[self.table_rows[b], : len(mine)] = mine
            sequences.append(Extend(int(starts[b]), int(starts[b + 1]), torch.tensor(mine.astype(np.int64))))
            positions += range(cached, cached + rows)
        self.q = torch.randn(len(positions), heads, dim).to(dtype)
        pages = paged.describe(
            starts, lengths, self.table_rows, torch.tensor(table), group=heads // kv_heads, head_dim=dim
        )
        self.batch = PackedBatch(sequences, torch.tensor(positions), pages)

    def exact(self, **options: float) -> torch.Tensor:
        kv = self.kv.double() if self.scale is None else self.kv.double() * self.scale.double().unsqueeze(-1)
        return reference.attention(self.q.double(), kv, None, self.batch, **{"scale": 0.2, **options})

    def got(self, **options: float) -> torch.Tensor:
        assert attention.fits(self.q, self.kv, self.scale, self.batch)
        return attention.attention(self.q, self.kv, self.scale, self.batch, **{"scale": 0.2, **options})


SHAPES = [
    [(1, 0)],
    [(1, 63), (1, 64), (1, 150), (1, 5)],
    [(3, 0)],
    [(5, 70), (1, 9), (40, 30)],
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 4, 16), (6, 2, 16), (9, 3, 24), (8, 1, 32)])
def test_equals_float64(shape: list[tuple[int, int]], heads: int, kv_heads: int, dim: int, error: Error) -> None:
    case = Case(shape, heads=heads, kv_heads=kv_heads, dim=dim)
    assert error(case.got(), case.exact()) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types(dtype: torch.dtype, error: Error) -> None:
    case = Case(SHAPES[3], heads=6, kv_heads=2, dim=16, dtype=dtype)
    if dtype == torch.bfloat16 and not case.q.is_cuda:
        pytest.skip("triton's interpreter multiplies the bit patterns of bfloat16")
    assert error(case.got(), case.exact()) < TOLERANCE[dtype]


@pytest.mark.parametrize("options", [{"window": 7}, {"window": 64}, {"window": 100}, {"softcap": 3.0}], ids=str)
@pytest.mark.parametrize("shape", [SHAPES[1], [(90, 50)], SHAPES[3]], ids=str)
def test_windows_and_soft_caps(shape: list[tuple[int, int]], options: dict[str, float], error: Error) -> None:
    case = Case(shape, heads=6, kv_heads=2, dim=16)
    assert error(case.got(**options), case.exact(**options)) < 2 * TOLERANCE[torch.float32]


def test_an_int8_pool(error: Error) -> None:
    case = Case(SHAPES[3], heads=6, kv_heads=2, dim=16)
    case.scale = torch.rand(case.kv.shape[:2]) * 0.05 + 0.01
    case.kv = torch.randint(-127, 128, case.kv.shape, dtype=torch.int8)
    assert error(case.got(), case.exact()) < TOLERANCE[torch.float32]


def test_an_fp8_pool(error: Error) -> None:
    case = Case(SHAPES[3], heads=6, kv_heads=2, dim=16)
    case.kv = case.kv.to(torch.float8_e4m3fn)
    assert error(case.got(), case.exact()) < TOLERANCE[torch.float32]


def test_a_split_gives_what_the_whole_gives(error: Error) -> None:
    case = Case([(1, 300), (1, 2)], heads=4, kv_heads=2, dim=16)
    pages = case.batch.paged
    assert pages is not None
    for splits in (1, 2, 8):  # of eight splits, most of the short sequence's are empty
        out = torch.empty_like(case.q)
        attention_decode.attend(
            out, case.q, case.kv, None, rows_B=pages.rows_B, lengths_B=pages.lengths_B,
            table_rows_B=pages.table_rows_B, page_table=pages.page_table, splits=splits, scale=0.2,
        )  # fmt: skip
        assert error(out, case.exact()) < TOLERANCE[torch.float32]


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """So many programs share a tile, however short its sequence."""
    monkeypatch.setattr(attention_extend, "num_splits", lambda *_: request.param)


@pytest.mark.parametrize("splits", [5], indirect=True)
@pytest.mark.parametrize("options", [{}, {"window": 7}, {"window": 100}, {"softcap": 3.0}], ids=str)
@pytest.mark.usefixtures("splits")
def test_programs_that_share_a_tile(options: dict[str, float], error: Error) -> None:
    case = Case([(50, 70), (1, 9), (3, 200), (2, 0)], heads=6, kv_heads=2, dim=16)
    assert error(case.got(**options), case.exact(**options)) < 2 * TOLERANCE[torch.float32]


def test_few_tiles_behind_a_long_prefix_are_shared(error: Error, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case([(3, 1100), (4, 20)], heads=4, kv_heads=2, dim=16)
    told = []
    choose = attention_extend.num_splits
    monkeypatch.setattr(attention_extend, "num_splits", lambda *a: told.append(choose(*a)) or told[-1])
    assert error(case.got(), case.exact()) < TOLERANCE[torch.float32]
    assert told == [2]


@pytest.mark.parametrize(
    ("heads", "splits"), [((4, 2), 1), ((32, 1), 1), ((4, 2), 3)], ids=str, indirect=["splits"]
)  # one tile, two rows a tile, and one that programs share
@pytest.mark.parametrize("options", [{}, {"window": 40}, {"softcap": 3.0}], ids=str)
@pytest.mark.usefixtures("splits")
def test_drafts_that_branch_see_their_ancestors_only(
    heads: tuple[int, int], options: dict[str, float], error: Error
) -> None:
    """A tree between a prompt's chunk, a chain and a row that is decoded; each row beside its own path alone."""
    case = Case([(40, 30), (5, 70), (1, 9), (3, 20)], heads=heads[0], kv_heads=heads[1], dim=16)
    # Own rows 0 -> 1 -> 3 and 0 -> 2 -> 4.
    ancestors = [[0], [0, 1], [0, 2], [0, 1, 3], [0, 2, 4]]
    words = np.zeros(49, np.uint32)
    words[40:45] = [sum(1 << j for j in seen) for seen in ancestors]
    positions = case.batch.positions_T.to("cpu", torch.int32).numpy()
    positions[40:45] = [70 + len(seen) - 1 for seen in ancestors]
    assert case.batch.paged is not None
    case.batch.paged = paged.describe(
        np.array([0, 40, 45, 46, 49], np.int32), np.array([70, 75, 10, 23], np.int32), case.table_rows,
        case.batch.paged.page_table, group=heads[0] // heads[1], head_dim=16, tree=(words, positions),
    )  # fmt: skip
    got = case.got(**options)
    for sequence in (case.batch.sequences[0], *case.batch.sequences[2:]):
        rows = slice(sequence.first, sequence.end)
        alone = PackedBatch(
            [Extend(0, sequence.end - sequence.first, sequence.slots_L)], case.batch.positions_T[rows]
        )  # fmt: skip
        exact = reference.attention(case.q[rows].double(), case.kv.double(), None, alone, scale=0.2, **options)
        assert error(got[rows], exact) < 2 * TOLERANCE[torch.float32]
    slots = case.batch.sequences[1].slots_L
    tree = torch.tensor([[j in seen for j in range(5)] for seen in ancestors])
    branching = Extend(0, 5, slots, tree, 70)
    together = PackedBatch([branching], torch.tensor(positions[40:45].astype(np.int64)))
    whole = reference.attention(case.q[40:45].double(), case.kv.double(), None, together, scale=0.2, **options)
    for row, seen in enumerate(ancestors):
        mine = slots[[*range(70), *(70 + j for j in seen)]]
        alone = PackedBatch([Extend(0, 1, mine)], torch.tensor([len(mine) - 1]))
        exact = reference.attention(
            case.q[40 + row : 41 + row].double(), case.kv.double(), None, alone, scale=0.2, **options
        )
        assert error(got[40 + row : 41 + row], exact) < 2 * TOLERANCE[torch.float32]
        assert error(whole[row : row + 1], exact) < 1e-12


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 90)), min_size=1, max_size=4),
    st.sampled_from([(2, 2), (6, 2), (5, 1)]),
    st.integers(0, 80),
)
def test_random_batches(shape: list[tuple[int, int]], heads: tuple[int, int], window: int) -> None:
    case = Case(shape, heads=heads[0], kv_heads=heads[1], dim=16)
    exact = case.exact(window=window)
    assert float((case.got(window=window).double() - exact).abs().max()) < 1e-5


def test_splits_fill_the_processors_and_no_more() -> None:
    assert attention_decode.num_splits(8192, 1, 8, 132) == 32
    assert attention_decode.num_splits(8192, 64, 8, 132) == 1
    assert attention_decode.num_splits(100, 1, 8, 132) == 1
    assert attention_extend.num_splits(16384, 16, 132) == 8
    assert attention_extend.num_splits(16384, 256, 132) == 1
    assert attention_extend.num_splits(16384, 1, 132) == attention_extend.MAX_SPLITS
    assert attention_extend.num_splits(512, 16, 132) == 2
