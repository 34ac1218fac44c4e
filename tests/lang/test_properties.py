"""Random programs: their text is the sum of its parts, and branches never see each other."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import radixlang as sgl

PARTS = st.lists(
    st.one_of(
        st.text(alphabet="ab<>", max_size=4).map(lambda t: ("text", t)),
        st.integers(0, 6).map(lambda n: ("gen", n)),
        st.lists(st.text(alphabet="xy", min_size=1, max_size=3), min_size=1, max_size=3).map(lambda c: ("select", c)),
        st.just(("scope", None)),
    ),
    max_size=7,
)
TREES = st.recursive(
    PARTS.map(lambda parts: (parts, [])),
    lambda inner: st.tuples(PARTS, st.lists(inner, max_size=3)),
    max_leaves=6,
)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def append(s, parts, tag, names):
    for i, (kind, value) in enumerate(parts):
        name = f"{tag}{i}"
        if kind == "text":
            s += value
            names.append(value)
        elif kind == "gen":
            s += sgl.gen(name, max_tokens=value, stop="]" if value % 2 else None)
            names.append((name,))
        elif kind == "select":
            s += sgl.select(name, value)
            names.append((name,))
        else:
            with s.var_scope(name):
                s += "(" + sgl.gen(name + "inner", max_tokens=2) + ")"
            names.append((name,))


def grow(s, tree, tag, names, seen):
    parts, branches = tree
    names = list(names)
    append(s, parts, tag, names)
    seen.append((s, names))
    group = s.fork(len(branches))
    for i, (branch, inner) in enumerate(zip(group, branches, strict=True)):
        grow(branch, inner, f"{tag}{i}_", names, seen)


@sgl.function
def program(s, tree, seen):
    grow(s, tree, "v", [], seen)


def check(seen):
    for state, names in seen:
        expected = "".join(n if isinstance(n, str) else state[n[0]] for n in names)
        assert state.text() == expected


@SETTINGS
@given(tree=TREES, stream=st.booleans())
def test_text_is_the_sum_of_its_parts_in_every_branch(native, tree, stream):
    backend = native(lambda prompt: f"<{len(prompt)}]{prompt[-2:]}")
    seen = []
    state = program.run(tree=tree, seen=seen, stream=stream)
    state.sync()
    check(seen)
    for request in backend.requests:
        if "prompt_parts" in request:  # what the model saw is what some branch says
            prompt = backend.text_of(request["prompt_parts"])
            assert any(branch.text().startswith(prompt) for branch, _ in seen)


@SETTINGS
@given(tree=TREES)
def test_both_kinds_of_backends_and_all_ways_to_run_give_the_same(native, scripted, tree):
    def reply(text):
        return f"<{len(text)}]"

    texts = []
    native(reply)
    for run in (program.run, lambda **k: program.run_batch([k])[0]):
        seen = []
        run(tree=tree, seen=seen)
        texts.append([state.text() for state, _ in seen])
    assert texts[0] == texts[1]
