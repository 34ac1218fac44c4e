"""Adapters in the scheduler: every request is computed with its own, on prefixes of its own, a few at once."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.runtime.lora.adapter import Adapter
from radixlang.runtime.messages import Control
from radixlang.runtime.scheduler.adapters import Adapters

DIGESTS = {"a": "a1", "b": "b2", "c": "c3"}


class Names:
    """AdapterNames without a model; a path that starts with "bad" cannot be read."""

    def __init__(self, path):
        self.named = {name: Adapter(path / name, 4, {}, digest) for name, digest in DIGESTS.items()}

    def get(self, name):
        return self.named.get(name)

    def add(self, name, adapter):
        self.named[name] = adapter

    def remove(self, name):
        del self.named[name]

    def paths(self):
        return {name: str(adapter.path) for name, adapter in self.named.items()}

    def read(self, path):
        if path.name.startswith("bad"):
            raise ValueError("a bug of ours")
        return Adapter(path, 4, {}, "d4")


@pytest.fixture
def make_adapted(make_harness, tmp_path):
    """A harness with three adapters, of which `most` compute at once; `seen`: those of each step."""

    def make(most=8, **config):
        harness = make_harness(**config)
        harness.scheduler._state.adapters = Adapters(
            Names(tmp_path), max_in_step=most, wake=harness.scheduler._wake.set
        )
        harness.seen = []
        execute = harness.executor.execute

        def watched(plan):
            assert len(set(plan.adapters)) == len(plan.adapters) <= most
            harness.seen.append([a.digest for a in plan.adapters])
            return execute(plan)

        harness.executor.execute = watched
        return harness

    return make


def expected(token_ids, num_tokens, adapter):
    from_hash = 0 if not adapter else int(DIGESTS[adapter], 16)
    ids = []
    for token in token_ids:
        from_hash = mix(from_hash, token)
    for _ in range(num_tokens):
        ids.append((from_hash >> 20) % 61)
        from_hash = mix(from_hash, ids[-1])
    return ids


def mix(prefix_hash, token):
    return (prefix_hash * 6364136223846793005 + token * 1442695040888963407 + 1) & ((1 << 61) - 1)


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(1, 3), st.integers(1, 12), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    ),
    most=st.integers(1, 3),
    overlap=st.booleans(),
    page_size=st.sampled_from([1, 4]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_request_is_computed_with_its_own_adapter(make_adapted, requests, most, overlap, page_size):
    """Prompts share prefixes, adapters do not: a slot of another's would show as a wrong token."""
    harness = make_adapted(
        most, disable_overlap_schedule=not overlap, page_size=page_size, max_running_requests=8, num_slots=512
    )
    for i, (adapter, kind, length, wait) in enumerate(requests):
        harness.submit(f"r{i}", [kind] * length + [7], max_new_tokens=5, adapter=adapter)
        for _ in range(wait):
            harness.step()
    harness.run()
    for i, (adapter, kind, length, _) in enumerate(requests):
        assert harness.token_ids[f"r{i}"] == expected([kind] * length + [7], 5, adapter)


def test_requests_of_further_adapters_wait_and_the_others_go_on(make_adapted):
    harness = make_adapted(most=2)
    for i, adapter in enumerate(["a", "b", "c", "a", ""]):
        harness.submit(f"r{i}", [i + 1, 9], adapter=adapter)
    harness.run()
    assert sorted(harness.seen[0]) == ["a1", "b2"]
    assert harness.seen[-1] == ["c3"]
    assert all(finish.type == "length" for finish in harness.finish.values())
    assert harness.outputs["r4"][-1].finish is not None


def test_equal_prompts_share_within_an_adapter_alone(make_adapted):
    harness = make_adapted()
    for i, adapter in enumerate(["a", "a", "b", ""]):
        harness.submit(f"r{i}", [3, 4, 5, 6], adapter=adapter)
        harness.run()
    assert [harness.outputs[f"r{i}"][-1].cached_len for i in range(4)] == [0, 3, 0, 0]


def test_a_path_kept_with_another_adapter_is_unknown(make_adapted):
    harness = make_adapted()
    harness.submit("r0", [3, 4, 5], keep="path", adapter="a")
    harness.run()
    for rid, adapter in (("same", "a"), ("other", "b"), ("none", "")):
        harness.submit(rid, [6], parent="path", parent_len=3, adapter=adapter)
    harness.run()
    assert harness.finish["same"].type == "length"
    assert [harness.finish[rid].code for rid in ("other", "none")] == ["unknown_stream"] * 2


def test_an_unknown_adapter_is_a_404(make_adapted, make_harness):
    for harness in (make_adapted(), make_harness()):
        harness.submit("r0", [3, 4], adapter="zz")
        harness.run()
        assert (harness.finish["r0"].status, harness.finish["r0"].param) == (404, "lora_path")


def ask(harness, action, **data):
    """Its reply; loading takes a thread."""
    harness.replies.clear()
    harness.scheduler.post(Control(id="1", action=action, data=data))
    for _ in range(10_000):
        harness.step()
        if harness.replies:
            return harness.replies[0].data
        harness.scheduler._wake.wait(0.01)
    raise AssertionError("no reply")


def test_loading_and_unloading_while_requests_run(make_adapted):
    harness = make_adapted()
    harness.submit("r0", [3, 4], max_new_tokens=400, adapter="a")
    harness.step()
    assert harness.stats["lora_pool_utilization"] == 1 / 8
    loaded = ask(harness, "load_adapter", name="d", path="/somewhere/d")
    assert loaded["success"]
    assert loaded["adapters"]["d"] == "/somewhere/d"
    refused = ask(harness, "unload_adapter", name="a")
    assert (refused["success"], refused["code"]) == (False, "adapter_in_use")
    assert ask(harness, "unload_adapter", name="b")["success"]
    harness.submit("r1", [3, 4], adapter="b")
    harness.submit("r2", [3, 4], adapter="d")
    harness.run()
    assert harness.finish["r1"].status == 404
    assert harness.finish["r2"].type == "length"
    assert ask(harness, "unload_adapter", name="a")["success"]
    assert not ask(harness, "unload_adapter", name="a")["success"]


def test_what_cannot_be_loaded_is_answered(make_adapted, make_harness):
    failed = ask(make_adapted(), "load_adapter", name="d", path="/bad")
    assert (failed["success"], failed["code"]) == (False, "internal_error")
    off = ask(make_harness(), "load_adapter", name="d", path="/d")
    assert "--enable-lora" in off["error"]
