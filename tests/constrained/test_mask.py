from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained import mask


@given(st.sets(st.integers(0, 319)))
def test_ids_and_bits_are_the_same_thing(token_ids: set[int]) -> None:
    row = mask.from_ids(token_ids, 10)
    assert mask.to_ids(row) == sorted(token_ids)
    assert all(mask.allows(row, t) == (t in token_ids) for t in range(320))
    assert all(bool(int(row[t // 32]) >> (t % 32) & 1) for t in token_ids)
    assert mask.first_id(row) == min(token_ids, default=None)
    assert mask.is_empty(row) == (not token_ids)


SPREAD = list(range(7, 3200, 31))  # too many words to look at one by one


@given(st.sets(st.integers(0, 3199)), st.lists(st.integers(0, 3199), unique=True, max_size=40) | st.just(SPREAD))
def test_a_few_ids_are_looked_up_in_a_row(token_ids: set[int], few: list[int]) -> None:
    row = mask.from_ids(token_ids | set(few[::3]), 100)
    assert len(mask.Few(few)) == len(few)
    assert sorted(mask.Few(few).in_row(row)) == sorted(t for t in few if t in token_ids or t in few[::3])
