from __future__ import annotations

import pytest

import radixlang as sgl


@sgl.function(num_api_spec_tokens=64)
def facts(s):
    s += "Fill in.\n"
    s += "Name:" + sgl.gen("name", stop="\n") + "\nJob:" + sgl.gen("job", stop="\n") + "\n"


@sgl.function(num_api_spec_tokens=64)
def chat(s):
    s += sgl.user("Who?")
    s += sgl.assistant("Name:" + sgl.gen("name", stop="\n") + "\nJob:" + sgl.gen("job", stop="\n"))


def test_a_completion_model_answers_several_gens_in_one_call(scripted):
    backend = scripted(lambda text, params: " Ann\nJob: smith\nMore")
    state = facts.run()
    assert (state["name"], state["job"]) == (" Ann", " smith")
    assert state.text() == "Fill in.\nName: Ann\nJob: smith\n"
    assert len(backend.calls) == 1
    assert (backend.params[0].stop, backend.params[0].max_new_tokens) == ([], 128)


def test_a_wrong_guess_is_asked_again(scripted):
    backend = scripted(lambda text, params: " Ann\nAge: 3\n" if text.endswith("Name:") else " smith\n")
    state = facts.run()
    assert (state["name"], state["job"]) == (" Ann", " smith")
    assert len(backend.calls) == 2


def test_a_chat_model_answers_a_whole_block_in_one_call(scripted):
    backend = scripted(lambda text, params: "Name: Ann\nJob: smith\n")
    backend.is_chat_model = True
    state = chat.run()
    assert (state["name"], state["job"]) == (" Ann", " smith")
    assert state.messages()[-1]["content"] == "Name: Ann\nJob: smith"
    assert len(backend.calls) == 1


def test_answers_that_never_fit_are_an_error_and_nothing_hangs(scripted):
    backend = scripted(lambda text, params: "no")
    backend.is_chat_model = True
    state = chat.run()
    for read in (lambda: state["name"], lambda: state["job"], state.text):
        with pytest.raises(sgl.ProgramError, match="no answer of 3"):
            read()


def test_an_unfinished_block_does_not_hang(scripted):
    scripted().is_chat_model = True

    @sgl.function(num_api_spec_tokens=8)
    def p(s):
        s += sgl.assistant_begin() + sgl.gen("a")

    with pytest.raises(sgl.ProgramError, match="ended before"):
        p.run()["a"]


def test_batches_do_not_mix(scripted):
    backend = scripted(lambda text, params: f"Name: {len(text)}\nJob: x\n")
    backend.is_chat_model = True

    @sgl.function(num_api_spec_tokens=64)
    def p(s, q):
        s += sgl.user(q)
        s += sgl.assistant("Name:" + sgl.gen("name", stop="\n") + "\nJob:" + sgl.gen("job", stop="\n"))

    states = p.run_batch([{"q": "x" * i} for i in range(20)])
    lengths = [int(s["name"]) for s in states]
    assert lengths == list(range(lengths[0], lengths[0] + 20))
