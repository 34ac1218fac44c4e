"""Paths kept under a name are continued with what is new."""

from __future__ import annotations

from radixlang.runtime.messages import Release


def test_a_kept_path_is_extended_with_what_is_new(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=4, keep="s")
    harness.run()
    whole = [1, 2, 3, *harness.token_ids["a"]]
    for fork in range(2):
        harness.submit(f"f{fork}", [50 + fork], max_new_tokens=2, parent="s", parent_len=6, group="g")
    harness.run()
    for fork in range(2):
        assert harness.token_ids[f"f{fork}"] == harness.expected([*whole[:6], 50 + fork], 2)
        assert harness.outputs[f"f{fork}"][0].cached_len == 6
        assert harness.outputs[f"f{fork}"][0].prompt_len == 7
    harness.scheduler.post(Release(streams=["s", "unheard of"]))
    harness.submit("late", [1], max_new_tokens=1, parent="s", parent_len=6)
    harness.run()
    assert (harness.finish["late"].status, harness.finish["late"].code) == (404, "unknown_stream")


def test_a_kept_path_outlives_its_eviction(make_harness) -> None:
    harness = make_harness(num_slots=40, max_context=40)
    harness.submit("a", [1, 2, 3], max_new_tokens=4, keep="s")
    harness.run()
    harness.submit("big", [9] * 39, max_new_tokens=1)
    harness.run()
    harness.submit("b", [5], max_new_tokens=2, parent="s", parent_len=7)
    harness.run()
    assert harness.token_ids["b"] == harness.expected([1, 2, 3, *harness.token_ids["a"], 5], 2)


def test_a_kept_path_of_another_tenant_is_unknown(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=1, keep="s", namespace="tenant")
    harness.run()
    harness.submit("b", [1], max_new_tokens=1, parent="s", parent_len=3)
    harness.run()
    assert harness.finish["b"].code == "unknown_stream"
