from __future__ import annotations

import pytest

import radixlang as sgl


def test_text_merges_and_generated_ids_stay_ids(native):
    backend = native(lambda prompt: "xyz")

    @sgl.function
    def p(s):
        s += "one" + "two"
        s += sgl.gen("a", max_tokens=3) + "three"
        s += "four" + sgl.gen("b", max_tokens=2)

    state = p.run()
    assert state.text() == "onetwoxyzthreefourxy"
    assert backend.requests[0]["prompt_parts"] == ["onetwo"]
    assert backend.requests[1]["prompt_parts"] == ["onetwo", [120, 121, 122], "threefour"]


def test_the_end_token_is_not_part_of_the_path(native):
    backend = native(lambda prompt: "hi")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=9) + "." + sgl.gen("b", max_tokens=9)

    assert p.run().text() == "qhi.hi"
    assert backend.requests[1]["prompt_parts"] == ["q", [104, 105], "."]


@pytest.mark.parametrize("stream", [False, True])
def test_the_path_spells_the_text_after_a_stop_string(native, stream):
    backend = native(lambda prompt: "abcSTOPdef")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", stop="STOP") + "|" + sgl.gen("b", max_tokens=1)

    state = p.run(stream=stream)
    state.sync()
    assert state["a"] == "abc"
    assert backend.text_of(backend.requests[1]["prompt_parts"]) == "qabc|"


def test_n_gives_a_list_and_the_path_follows_the_first(native):
    backend = native(lambda prompt: "vw")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", n=3, max_tokens=2) + "." + sgl.gen("b", max_tokens=1)

    state = p.run(stream=True)
    assert "".join(state.text_iter()) == "qvw.v"
    assert state["a"] == ["vw"] * 3
    assert len(state.get_meta_info("a")["completions"]) == 3
    assert backend.text_of(backend.requests[1]["prompt_parts"]) == "qvw."


def test_a_fork_computes_the_pending_text_once(native):
    backend = native(lambda prompt: "v")

    @sgl.function
    def p(s):
        s += "a long prefix"
        g = s.fork(3)
        g += lambda i: f" {i}"
        g += sgl.gen("v", max_tokens=1)
        g.join()

    assert p.run()["v"] == ["v"] * 3
    first, *rest = backend.requests
    assert (first["prompt_parts"], first["sampling_params"]["max_new_tokens"]) == (["a long prefix"], 0)
    assert sorted(r["prompt_parts"][0] for r in rest) == [f"a long prefix {i}" for i in range(3)]
    assert {r["group"] for r in backend.requests} == {first["group"]}, "the engine takes them in as one unit"


def test_branches_do_not_wait_for_the_text_that_they_share(native, until):
    backend = native(lambda prompt: "v")

    @sgl.function
    def p(s):
        s += "a long prefix"
        g = s.fork(2)
        g += sgl.gen("v", max_tokens=1) + sgl.gen("w", max_tokens=1)
        g.join()

    backend.hold_back()
    compiled = p.compile(mode="graph")
    state = compiled.run()
    until(lambda: len(backend.requests) == 3)
    state.cancel()
    until(lambda: len(backend.closed) == 3)


def test_the_last_call_of_a_stream_is_not_kept(native):
    backend = native(lambda prompt: "v")
    backend.keeps_paths = True

    async def release(paths):
        backend.released.extend(paths)

    backend.released, backend.native_release = [], release

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a", max_tokens=1) + "y" + sgl.gen("b", max_tokens=1)
        g = s.fork(2)
        g += "z" + sgl.gen("v", max_tokens=1)
        g.join()

    assert p.compile(mode="graph").run()["v"] == ["v", "v"]
    kept = ["keep" in r for r in backend.requests]
    assert kept == [True, True, False, False]


def test_a_fork_right_after_a_gen_has_nothing_to_compute(native):
    backend = native(lambda prompt: "v")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=1)
        g = s.fork(2)
        g += sgl.gen("b", max_tokens=1)
        g.join()

    assert p.run()["b"] == ["v", "v"]
    assert [r["sampling_params"]["max_new_tokens"] for r in backend.requests] == [1, 1, 1]


def test_select_scores_the_options_and_extends_the_text(native):
    backend = native()

    @sgl.function
    def p(s):
        s += "q:" + sgl.select("c", ["b", "c"]) + "!" + sgl.gen("x", max_tokens=1)

    state = p.run()
    assert state["c"] == "b"  # ord("b") % 7 == 0: logprob 0
    assert state.text().startswith("q:b!")
    assert backend.requests[0]["score"] == "q:"
    assert sum(state.probs("c").values()) == pytest.approx(1)
    assert max(state.probs("c"), key=state.probs("c").get) == "b"


def test_select_with_temperature_draws_from_the_options(native):
    native()

    @sgl.function
    def p(s):
        s += sgl.select("c", ["a", "b", "c", "d"], temperature=9.0)

    assert len({p.run(seed=1)["c"] for _ in range(40)}) > 1


def test_an_image_is_refused_by_a_text_model_where_it_is_read(native, tmp_path):
    native()
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")

    @sgl.function
    def p(s):
        s += sgl.user(sgl.image(str(picture)) + "what?") + sgl.assistant(sgl.gen("a"))

    state = p.run()
    with pytest.raises(sgl.ProgramError, match="no images") as caught:
        state["a"]
    assert type(caught.value.__cause__).__name__ == "UnsupportedContent"


CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nDefault.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_the_models_own_template_makes_the_roles(native):
    backend = native(lambda prompt: "R", template=CHATML)

    @sgl.function
    def p(s):
        s += sgl.user("hi") + sgl.assistant(sgl.gen("a", stop="END"))

    state = p.run()
    assert state.text() == (
        "<|im_start|>system\nDefault.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nR<|im_end|>\n"
    )
    assert backend.requests[0]["sampling_params"]["stop"] == ["END", "<|im_end|>"]
    assert state.messages()[-1] == {"role": "assistant", "content": "R"}


def test_log_probabilities_of_streamed_pieces_add_up(native):
    from radixlang.lang.native_calls import _Result

    for chunks in (
        [[1], [2], [3]],  # what is new
        [[1], [1, 2], [1, 2, 3]],  # all so far
    ):
        result = _Result()
        for i, values in enumerate(chunks):
            logprobs = [[-float(v), v, None] for v in values]
            result.add({"text": "x", "meta_info": {"completion_tokens": i + 1, "output_token_logprobs": logprobs}})
        assert [entry[1] for entry in result.meta["output_token_logprobs"]] == [1, 2, 3]


def test_the_best_of_several_answers_is_the_value_and_what_follows_goes_on_from_it(native):
    backend = native()
    answers = iter(["bb", "dd", "cc"] * 2)
    backend.reply = lambda prompt: next(answers) if prompt == "q" else "."

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=2, best_of=3, best_by=lambda text: ord(text[0]))
        s += "!" + sgl.gen("b", max_tokens=1)

    for stream in (False, True):
        state = p.run(stream=stream)
        assert (state["a"], state.text()) == ("dd", "qdd!.")
        assert len(state.get_meta_info("a")["completions"]) == 3
        assert state.usage.completion_tokens == 7 + 0 * len(backend.requests)
    assert backend.text_of(backend.requests[1]["prompt_parts"]) == "qdd!"
    with pytest.raises(ValueError, match="place of n"):
        sgl.gen(best_of=2, n=2)


def test_without_a_rule_the_likeliest_answer_is_the_best(scripted):
    scripted(lambda text, params: "x")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", best_of=2)

    with pytest.raises(sgl.ProgramError, match="best_by"):
        p.run()["a"]


def test_the_adapter_of_a_run_and_of_a_gen_reach_the_backend(native):
    backend = native(lambda prompt: "xy")

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=1) + sgl.gen("b", max_tokens=1, lora_path="own")
        s += sgl.select("c", ["x", "yz"]) + "."
        branches = s.fork(2)
        branches += sgl.gen("d", max_tokens=1)
        branches.join()

    p.run(lora_path="all").sync()
    assert [request.get("lora_path") for request in backend.requests] == ["all", "own", *["all"] * 4]
    backend.requests.clear()
    p.run().sync()
    assert [request.get("lora_path") for request in backend.requests] == [None, "own", *[None] * 4]


def test_all_calls_of_a_run_have_one_program_id_and_those_of_another_run_another(native):
    backend = native(lambda prompt: "v")

    @sgl.function
    def p(s):
        s += "a prefix" + sgl.select("c", ["x", "y"]) + "and"
        g = s.fork(2)
        g += lambda i: f" {i}" + sgl.gen("v", max_tokens=1)
        h = g[0].fork(2)
        h += lambda i: f" {i}" + sgl.gen("w", max_tokens=1)
        s["all"] = [b["v"] for b in g] + [b["w"] for b in h]

    def ids_of(run):
        backend.requests.clear()
        assert run(temperature=1)["all"]
        assert len(backend.requests) >= 5
        return {request["program_id"] for request in backend.requests}

    found = [ids_of(run) for run in (p.run, p.run, p.compile().run, p.compile().run)]
    assert [len(ids) for ids in found] == [1] * 4
    assert len(set.union(*found)) == 4


def test_a_backend_that_counts_no_programs_is_told_none(native):
    backend = native(lambda prompt: "v")
    backend.counts_programs = False

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=1)

    assert p.run()["a"] == "v"
    assert "program_id" not in backend.requests[0]


def test_several_answers_behind_a_kept_path_are_asked_for_with_all_text(native):
    backend = native(lambda prompt: "v")
    backend.keeps_paths = True

    async def release(paths):
        pass

    backend.native_release = release

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=1) + "r" + sgl.gen("b", n=2, max_tokens=1) + "t"
        s += sgl.gen("c", max_tokens=1, best_of=2, best_by=len) + "u" + sgl.gen("d", max_tokens=1)

    state = p.run()
    assert (state.text(), state["b"]) == ("qvrvtvuv", ["v", "v"])
    alone = [r for r in backend.requests if r["sampling_params"]["n"] > 1]
    assert ["parent" in r or "keep" in r for r in alone] == [False, False]
    assert [backend.text_of(r["prompt_parts"]) for r in alone] == ["qvr", "qvrvt"]
