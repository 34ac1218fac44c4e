"""The scheduler end to end on a shadow executor: equal to a sequential reference, whatever the schedule."""

from __future__ import annotations

import random
import threading

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Abort, AbortAll, Control, LogprobRequest, Release


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
@pytest.mark.parametrize("no_cache", [False, True])
def test_outputs_equal_a_sequential_reference(make_harness, page_size, chunk, no_cache) -> None:
    harness = make_harness(page_size=page_size, chunked_prefill_size=chunk, disable_radix_cache=no_cache)
    draw = random.Random(1)
    stem = [draw.randrange(61) for _ in range(40)]
    prompts = {}
    for i in range(20):
        prompts[f"r{i}"] = stem[: draw.randrange(1, 40)] + [draw.randrange(3) for _ in range(draw.randrange(9))]
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=10, echo_steps=bool(draw.randrange(2)))
        if draw.random() < 0.5:
            harness.step()
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 10), rid
        assert harness.finish[rid].type == "length"
        assert harness.finish[rid].length == 10
    assert harness.stats["num_used_tokens"] == 0
    assert harness.executor.max_tokens <= chunk


def test_memory_pressure_retracts_and_changes_nothing(make_harness) -> None:
    harness = make_harness(num_slots=100, max_context=100)
    for i in range(12):  # short outputs first, so that admission expects short ones
        harness.submit(f"w{i}", [i, 1], max_new_tokens=2)
    harness.run()
    prompts = {f"r{i}": [i, i + 1, i + 2] for i in range(8)}
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=60)
    harness.run()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 60), rid
    assert harness.stats["num_retracted_reqs"] > 0


def test_siblings_compute_their_prompt_once_and_draw_apart(make_harness) -> None:
    harness = make_harness()
    prompt = list(range(20))
    for i in range(4):
        rid = "x" if i == 0 else f"x#{i}"
        harness.submit(rid, prompt, max_new_tokens=1, n=4, sampling_seed=9, temperature=1.0, group="g")
    harness.run()
    assert harness.executor.num_computed == 20
    assert harness.executor.num_steps == 1
    for i in range(4):
        rid = "x" if i == 0 else f"x#{i}"
        assert harness.token_ids[rid] == harness.expected(prompt, 1, seed=9 + i, temperature=1.0)
        assert harness.outputs[rid][0].cached_len == (20 if i else 0)


def test_requests_of_one_step_share_what_it_computes(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1] * 30 + [2], max_new_tokens=2)
    harness.submit("b", [1] * 30 + [3], max_new_tokens=2)
    harness.run()
    assert harness.executor.num_computed == 31 + 1 + 2
    assert harness.outputs["b"][0].cached_len == 30


def test_a_finished_answer_is_cached_with_its_prompt(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=5)
    harness.run()
    follow_up = [1, 2, 3, *harness.token_ids["a"], 7]
    harness.submit("b", follow_up, max_new_tokens=1)
    harness.run()
    assert harness.outputs["b"][0].cached_len == 7  # the last token of an answer is never computed


def test_namespaces_and_no_cache_share_nothing(make_harness) -> None:
    harness = make_harness()
    for rid, namespace in [("a", "x"), ("b", "y"), ("c", "x")]:
        harness.submit(rid, [1, 2, 3, 4], max_new_tokens=1, namespace=namespace)
        harness.run()
    assert [harness.outputs[rid][0].cached_len for rid in "abc"] == [0, 0, 3]


def test_a_prompt_that_fits_nowhere_is_refused_with_numbers(make_harness) -> None:
    harness = make_harness(num_slots=32, max_context=64)
    harness.submit("a", [1] * 33, max_new_tokens=5)
    harness.step()
    finish = harness.finish["a"]
    assert (finish.type, finish.status, finish.code) == ("error", 400, "context_length_exceeded")
    assert "38" in finish.message
    assert "32" in finish.message


def test_max_new_tokens_is_capped_at_the_room_that_is_left(make_harness) -> None:
    harness = make_harness(num_slots=32, max_context=64)
    harness.submit("a", [1] * 20, max_new_tokens=1000)
    harness.run()
    assert len(harness.token_ids["a"]) == 12
    assert harness.finish["a"].type == "length"


def test_a_full_queue_answers_429(make_harness) -> None:
    harness = make_harness(max_running_requests=1, max_queued_requests=2)
    harness.submit("a", [1], max_new_tokens=50)
    harness.step()
    for rid in "bcd":
        harness.submit(rid, [1], max_new_tokens=1)
    harness.step()
    assert (harness.finish["d"].status, harness.finish["d"].code) == (429, "queue_full")
    harness.run()
    assert harness.finish["c"].type == "length"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"token_ids": []}, "input_ids", "empty_prompt"),
        ({"token_ids": [61]}, "input_ids", None),
        ({"token_ids": [-1]}, "input_ids", None),
        ({"token_ids": [1], "stop_regex": ("(",)}, "stop_regex", None),
        ({"token_ids": [1], "constraint": Regex("bad")}, None, "constraints_disabled"),
    ],
)
def test_bad_requests_end_alone_with_400(make_harness, fields, param, code) -> None:
    harness = make_harness()
    harness.submit("good", [1, 2], max_new_tokens=3)
    harness.submit("bad", **fields)
    harness.run()
    finish = harness.finish["bad"]
    assert (finish.type, finish.status, finish.param, finish.code) == ("error", 400, param, code)
    assert harness.token_ids["good"] == harness.expected([1, 2], 3)


def test_a_second_request_of_one_id_is_refused_and_the_first_goes_on(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2], max_new_tokens=3, echo_steps=False)
    harness.scheduler._drain()
    first = harness.scheduler._state.requests["a"]
    harness.submit("a", [5], max_new_tokens=1)
    harness.scheduler._drain()
    (refused,) = harness.scheduler._state.outputs
    assert (refused.finish.status, refused.finish.code) == (400, "duplicate_request_id")
    harness.scheduler._state.outputs.clear()
    assert harness.scheduler._state.requests["a"] is first
    harness.run()
    assert harness.token_ids["a"] == harness.expected([1, 2], 3)


def test_an_abort_hits_its_request_only_and_frees_its_slots(make_harness) -> None:
    harness = make_harness()
    for rid in ("a", "ab", "abc"):
        harness.submit(rid, [1, 2, len(rid)], max_new_tokens=100)
    for _ in range(3):
        harness.step()
    for _ in range(2):
        harness.scheduler.post(Abort(rid="ab", reason="gone"))
    for rid in ("", "nobody"):
        harness.scheduler.post(Abort(rid=rid))
    harness.step()
    assert list(harness.finish) == ["ab"]
    assert (harness.finish["ab"].type, harness.finish["ab"].message) == ("abort", "gone")
    harness.scheduler.post(AbortAll())
    harness.step()
    assert harness.stats["num_used_tokens"] == 0
    assert harness.finish["abc"].type == "abort"


def test_an_abort_that_overtakes_its_request_still_wins_for_30_seconds(make_harness) -> None:
    harness = make_harness()
    harness.scheduler.post(Abort(rid="a"))
    harness.scheduler.post(Abort(rid="b"))
    harness.step()
    harness.submit("a", [1], max_new_tokens=2)
    harness.run()
    assert harness.finish["a"].type == "abort"
    harness.clock.now += 31
    harness.submit("b", [1], max_new_tokens=2)
    harness.run()
    assert harness.finish["b"].type == "length"


def test_a_late_abort_does_not_hit_the_next_request_of_that_id(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    harness.scheduler.post(Abort(rid="a"))
    harness.step()
    harness.finish.clear()
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    assert harness.finish["a"].type == "length"


def test_deadlines_hold_in_the_queue_and_while_running(make_harness) -> None:
    harness = make_harness(max_running_requests=1)
    harness.submit("running", [1], max_new_tokens=100, timeout_s=5)
    harness.submit("waiting", [1], max_new_tokens=1, timeout_s=5)
    harness.submit("patient", [1], max_new_tokens=1, timeout_s=50)
    harness.step()
    harness.clock.now += 6
    harness.step()
    assert [harness.finish[rid].code for rid in ("running", "waiting")] == ["timeout", "timeout"]
    harness.run()
    assert harness.finish["patient"].type == "length"


def test_requests_aborted_in_the_queue_leave_nothing_in_the_tree(make_harness) -> None:
    harness = make_harness(max_running_requests=1)
    harness.submit("running", [1] * 9, max_new_tokens=50)
    for i in range(20):
        harness.submit(f"w{i}", [1, 2, i, 4], max_new_tokens=1)
    harness.step()
    for i in range(20):
        harness.scheduler.post(Abort(rid=f"w{i}"))
    harness.step()
    tree = harness.scheduler._state.cache
    nodes = list(tree.roots.values())
    for node in nodes:
        nodes.extend(node.children.values())
        assert not any((node.waiters or {}).values()), node


@pytest.mark.parametrize("sync", [True, False])
def test_a_step_that_fails_once_fails_nobody(make_harness, sync) -> None:
    harness = make_harness(max_running_requests=2, disable_overlap_schedule=sync)
    for rid in ("a", "b", "later"):
        harness.submit(rid, [1, 2, 3], max_new_tokens=4)
    harness.executor.fail_at = 2
    harness.run()
    for rid in ("a", "b", "later"):
        assert harness.token_ids[rid] == harness.expected([1, 2, 3], 4)
    assert harness.stats["num_failed_steps"] == 1


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("chunk", [512, 16])
def test_a_request_that_no_step_survives_ends_alone(make_harness, sync, chunk) -> None:
    harness = make_harness(disable_overlap_schedule=sync, chunked_prefill_size=chunk)
    harness.executor.poison = {13, 17}
    prompts = {seed: [1] * 20 + [seed // 2] * 5 for seed in range(20)}
    for seed, prompt in prompts.items():
        harness.submit(f"r{seed}", prompt, max_new_tokens=4, sampling_seed=seed)
    harness.run()
    for seed, prompt in prompts.items():
        if seed in harness.executor.poison:
            finish = harness.finish[f"r{seed}"]
            assert (finish.type, finish.status, finish.code) == ("error", 500, "internal_error")
            assert "poisoned" not in finish.message
        else:
            assert harness.token_ids[f"r{seed}"] == harness.expected(prompt, 4)
    assert harness.stats["num_used_tokens"] == 0


def test_an_executor_that_always_fails_fails_the_step_in_few_runs(make_harness) -> None:
    harness = make_harness()
    for seed in range(200):
        harness.submit(f"r{seed}", [seed % 50] * 2, max_new_tokens=4, sampling_seed=seed)
    harness.executor.poison = set(range(200))
    harness.step()
    assert harness.executor.num_steps < 60
    harness.run()
    assert {finish.type for finish in harness.finish.values()} == {"error"}
    assert len(harness.finish) == 200
    assert harness.stats["num_used_tokens"] == 0


def test_a_stop_string_may_span_tokens(make_harness) -> None:
    harness = make_harness()
    text = "".join(chr(65 + token) for token in harness.expected([3, 4], 20))
    harness.submit("a", [3, 4], max_new_tokens=20, stop=("~~", text[4:7]))
    harness.submit("b", [3, 4], max_new_tokens=20, stop_regex=(f"{text[5]}.",) if text[5].isalnum() else (".{7}",))
    harness.run()
    assert (harness.finish["a"].type, harness.finish["a"].matched) == ("stop", text[4:7])
    assert len(harness.token_ids["a"]) == 7
    assert harness.finish["b"].type == "stop"


def test_end_of_sequence_ends_and_is_told(make_harness) -> None:
    eos = {t for t in range(0, 61, 3)}
    harness = make_harness(eos=eos)
    harness.submit("a", [8], max_new_tokens=40)
    harness.submit("ignoring", [8], max_new_tokens=9, ignore_eos=True)
    harness.run()
    expected = harness.expected([8], 40, eos=eos)
    assert harness.token_ids["a"] == expected
    assert (harness.finish["a"].type, harness.finish["a"].matched) == ("stop", expected[-1])
    assert len(harness.token_ids["ignoring"]) == 9


def test_no_token_asked_computes_and_caches_the_prompt(make_harness) -> None:
    harness = make_harness()
    harness.submit("warm", [1, 2, 3], max_new_tokens=0)
    harness.run()
    assert harness.token_ids["warm"] == []
    assert harness.finish["warm"].type == "length"
    steps = harness.executor.num_steps
    harness.submit("again", [1, 2, 3], max_new_tokens=0)
    harness.run()
    assert harness.executor.num_steps == steps
    assert harness.outputs["again"][0].cached_len == 3


def test_no_token_asked_but_the_next_distribution(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=0, logprobs=LogprobRequest(True, -1, 2, (7,)))
    harness.run()
    (told,) = harness.outputs["a"][0].logprobs
    assert told.logprob == told.top[0][0] == max(harness.executor.score_after([1, 2, 3], t) for t in range(61))
    assert told.token_id == told.top[0][1]
    assert told.asked == [harness.executor.score_after([1, 2, 3], 7)]
    assert harness.token_ids["a"] == []


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


@pytest.mark.parametrize("pattern", ["1,1,3:10", "2:6", "1:5", "3,1,1,1:40"])
def test_forced_tokens_change_no_text_and_save_steps(make_harness, make_grammars, pattern) -> None:
    told = {}
    for jump in (True, False):
        harness = make_harness(grammars=make_grammars(), eos={5})
        harness.scheduler._committer.jump_forward = jump
        harness.submit("a", [1, 2], max_new_tokens=30, temperature=1.0, sampling_seed=4, constraint=Regex(pattern))
        harness.run()
        forced_len = sum(output.forced_len for output in harness.outputs["a"])
        told[jump] = (harness.token_ids["a"], harness.finish["a"])
        if jump:
            steps, has_forced = harness.executor.num_steps, forced_len > 0
        else:
            assert forced_len == 0
            assert has_forced == (harness.executor.num_steps > steps)
    assert told[True] == told[False]
    assert has_forced == ("1" in pattern.split(":")[0])


@pytest.mark.parametrize("pattern", ["1,1,3:10", "2:6", "1:5", "3,1,1,1:40"])
def test_with_log_probabilities_the_same_tokens_are_forced_and_each_has_one(make_harness, make_grammars, pattern):
    told = []
    for logprobs in (None, LogprobRequest(output=True)):
        harness = make_harness(grammars=make_grammars(), eos={5})
        constraint = Regex(pattern)
        harness.submit("a", [1, 2], max_new_tokens=30, temperature=0.0, constraint=constraint, logprobs=logprobs)
        harness.run()
        outputs = harness.outputs["a"]
        told.append((harness.token_ids["a"], sum(output.forced_len for output in outputs)))
        if logprobs is not None:
            scored = [entry.token_id for output in outputs for entry in output.logprobs]
            assert scored[: len(told[0][0])] == told[0][0]
    assert told[0] == told[1]


def test_a_grammar_that_breaks_ends_its_own_request_only(
    make_harness, make_grammars, make_matcher, monkeypatch
) -> None:
    def broken(self, *ids):
        raise ValueError("broken")

    for method in ("accept", "forced", "fill"):
        harness = make_harness(grammars=make_grammars())
        monkeypatch.setattr(make_matcher, method, broken)
        harness.submit("a", [1, 2], constraint=Regex("1,3:9"))
        harness.submit("b", [1, 2], max_new_tokens=5)
        harness.run()
        monkeypatch.undo()
        assert (harness.finish["a"].type, harness.finish["a"].status) == ("error", 500)
        assert "broken" not in harness.finish["a"].message
        assert harness.token_ids["b"] == harness.expected([1, 2], 5)
        assert harness.stats["num_used_tokens"] == 0


def test_an_executor_that_answers_nonsense_ends_its_step_only(make_harness) -> None:
    harness = make_harness()
    execute = harness.executor.execute

    def nonsense(plan):
        output = execute(plan)
        output.token_ids_S[:] = 10**6
        return output

    harness.executor.execute = nonsense
    harness.submit("a", [1, 2], max_new_tokens=3, echo_steps=False)
    harness.step()
    harness.step()
    harness.executor.execute = execute
    harness.submit("b", [1, 2], max_new_tokens=3)
    harness.run()
    assert harness.finish["a"].status == 500
    assert harness.token_ids["b"] == harness.expected([1, 2], 3)
    assert harness.stats["num_used_tokens"] == 0


def test_a_grammar_compiles_while_others_run(make_harness, make_grammars) -> None:
    grammars = make_grammars(held=True)
    harness = make_harness(grammars=grammars)
    harness.submit("slow", [1], constraint=Regex("2:3"))
    harness.submit("bad", [1], constraint=Regex("bad"))
    harness.submit("free", [1], max_new_tokens=2)
    harness.run()
    assert list(harness.finish) == ["free"]
    assert harness.stats["num_grammar_queue_reqs"] == 2
    harness.clock.now += 1.5
    grammars.release()
    harness.run()
    assert harness.finish["slow"].type == "stop"
    assert harness.finish["slow"].matched is None
    assert harness.outputs["slow"][0].grammar_s == 1.5
    assert harness.outputs["slow"][0].cached_len == 0
    assert (harness.finish["bad"].status, harness.finish["bad"].code) == (400, "grammar_too_large")
    assert harness.finish["bad"].param == "regex"


def test_a_prompt_is_computed_while_its_grammar_compiles(make_harness, make_grammars) -> None:
    grammars = make_grammars(held=True)
    harness = make_harness(grammars=grammars)
    harness.submit("a", [1] * 40, constraint=Regex("2:3"))
    harness.run()
    assert harness.executor.num_computed == 39
    grammars.release()
    harness.step()
    assert harness.executor.num_computed == 40
    assert len(harness.token_ids["a"]) == 1


def test_an_abort_while_the_grammar_compiles(make_harness, make_grammars) -> None:
    grammars = make_grammars(held=True)
    harness = make_harness(grammars=grammars)
    harness.submit("a", [1], constraint=Regex("2:3"))
    harness.step()
    harness.scheduler.post(Abort(rid="a"))
    harness.step()
    grammars.release()
    harness.run()
    assert harness.finish["a"].type == "abort"
    assert not harness.scheduler._state.requests


def test_a_request_that_streams_nothing_gets_one_output(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1], max_new_tokens=5, echo_steps=False)
    harness.submit("b", [1], max_new_tokens=5)
    harness.run()
    assert [len(harness.outputs[rid]) for rid in "ab"] == [1, 5]
    assert harness.token_ids["a"] == harness.token_ids["b"]


def test_without_a_seed_the_server_s_seed_decides(make_harness) -> None:
    def run(random_seed):
        harness = make_harness(random_seed=random_seed)
        for rid in "ab":
            harness.submit(rid, [1, 2], max_new_tokens=8, temperature=1.0)
        harness.run()
        return [harness.token_ids[rid] for rid in "ab"]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1)[0] != run(1)[1]
    assert run(None) != run(None)


def test_controls_are_answered(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=1)
    harness.run()
    for action in ("ping", "stats", "flush", "dance"):
        harness.scheduler.post(Control(id=action, action=action))
    harness.run()
    replies = {reply.id: reply.data for reply in harness.replies}
    assert replies["ping"] == {"success": True}
    assert replies["stats"]["kv_evictable_tokens"] == 3
    assert replies["dance"]["success"] is False
    assert harness.stats["kv_evictable_tokens"] == 0


def test_a_paused_scheduler_takes_no_steps(make_harness) -> None:
    harness = make_harness()
    harness.scheduler.post(Control(id="p", action="pause"))
    harness.submit("a", [1], max_new_tokens=1)
    harness.run()
    assert not harness.finish
    harness.scheduler.post(Control(id="r", action="resume"))
    harness.run()
    assert harness.finish["a"].type == "length"


@pytest.mark.parametrize("sync", [True, False])
def test_the_loop_runs_until_it_is_told_to_stop(make_harness, sync) -> None:
    harness = make_harness(disable_overlap_schedule=sync)
    prompts = {f"r{i}": [i, 2, 3] for i in range(20)}
    for rid, prompt in prompts.items():
        harness.submit(rid, prompt, max_new_tokens=6)
    done = threading.Event()
    receive = harness.receive

    def note(message) -> None:
        receive(message)
        if len(harness.finish) == 20:
            done.set()

    harness.scheduler._send = note
    loop = threading.Thread(target=harness.scheduler.run)
    loop.start()
    assert done.wait(30)
    harness.submit("open", [1], max_new_tokens=10**6)
    harness.scheduler.post(Control(id="s", action="shutdown"))
    loop.join(30)
    assert not loop.is_alive()
    for rid, prompt in prompts.items():
        assert harness.token_ids[rid] == harness.expected(prompt, 6)
    assert harness.finish["open"].type in ("abort", "length")
    assert harness.stats["num_used_tokens"] == 0
