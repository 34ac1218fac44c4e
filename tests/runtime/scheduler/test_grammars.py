"""Requests with a constraint: compiled beside the others, masked, forced ahead."""

from __future__ import annotations

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Abort, LogprobRequest


@pytest.mark.parametrize("pattern", ["1,1,3:10", "2:6", "1:5", "3,1,1,1:40"])
def test_forced_tokens_change_no_text_and_save_steps(make_harness, make_grammars, pattern) -> None:
    told = {}
    for jump in (True, False):
        harness = make_harness(grammars=make_grammars(), eos={5}, disable_jump_forward=not jump)
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


@pytest.mark.parametrize("prompt", [[1], [1] * 40])
def test_the_wait_for_a_grammar_is_not_the_prompts(make_harness, make_grammars, prompt) -> None:
    grammars = make_grammars(held=True)
    harness = make_harness(grammars=grammars)
    harness.submit("a", prompt, constraint=Regex("2:3"))
    harness.run()
    harness.clock.now += 5.0
    grammars.release()
    harness.run()
    told = harness.outputs["a"][0]
    assert told.grammar_s == 5.0
    assert told.prefill_s < 1.0
    assert told.queue_s < 1.0


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


def test_what_is_forced_first_is_computed_with_the_prompt_and_counts_as_output(make_harness, make_grammars) -> None:
    harness = make_harness(grammars=make_grammars(), eos={5})
    for rid in ("a", "b"):  # the second finds in the cache what the first computed
        harness.submit(rid, [1, 2, 3], max_new_tokens=30, temperature=0.0, constraint=Regex("1:6"))
        harness.run()
    first, *_ = harness.outputs["a"]
    assert harness.token_ids["a"] == harness.token_ids["b"]
    assert len(harness.token_ids["a"]) == 6
    assert sum(output.forced_len for output in harness.outputs["a"]) == 6
    assert harness.executor.num_steps == 2  # one each: the last token is drawn where the others were computed
    assert first.prompt_len == 3
    assert harness.outputs["b"][-1].cached_len <= 3
