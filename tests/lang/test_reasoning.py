from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.lang.reasoning import REASONING_TAGS, ReasoningSplitter, split_reasoning


@pytest.mark.parametrize(
    ("model", "text", "thought", "said"),
    [
        ("deepseek-r1", "<think>a</think>b", "a", "b"),
        ("deepseek-r1", "a</think>b", "a", "b"),
        ("deepseek-r1", "never ends", "never ends", ""),
        ("qwen3", "no thought", "", "no thought"),
        ("qwen3", "\n<think>\na\n</think>\n\nb < c", "a", "b < c"),
        ("kimi", "◁think▷a◁/think▷b", "a", "b"),
        (None, "<think>a</think>b", "a", "b"),
    ],
)
def test_thought_and_answer_are_told_apart(model, text, thought, said):
    assert split_reasoning(text, model) == (thought, said)


@given(
    st.sampled_from(sorted(REASONING_TAGS)),
    st.text(alphabet="<>/think a", max_size=12),
    st.text(alphabet="<>/think a", max_size=12),
    st.integers(1, 5),
)
def test_pieces_give_what_the_whole_gives(model, before, after, size):
    tags = REASONING_TAGS[model]
    text = tags.start + before + tags.end + after
    splitter = ReasoningSplitter(model)
    pieces = [splitter.push(text[i : i + size]) for i in range(0, len(text), size)] + [splitter.flush()]
    whole = ReasoningSplitter(model)
    at_once = [whole.push(text), whole.flush()]
    for i in range(2):
        assert "".join(p[i] for p in pieces) == "".join(p[i] for p in at_once)


def test_an_unknown_model_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="deepseek-r1"):
        ReasoningSplitter("nonsense")
