"""Healing of prompts by the front; with the default model: that the text never changes and the tokens merge."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import radixlang as sgl
from radixlang.constrained.constraint import Healed, Regex
from radixlang.runtime.generate_request import GenerateRequest
from radixlang.runtime.healing import Healer
from radixlang.runtime.messages import Submit
from radixlang.runtime.sampling_params import SamplingParams

MERGED = 258  # "is", in the byte tokenizer


def answer(front, prompt, **more):
    async def call():
        request = GenerateRequest(
            prompt=prompt, sampling=SamplingParams(heal=True, max_new_tokens=8, **more.pop("sampling", {})), **more
        )
        return [chunk async for chunk in front.generate(request)]

    return asyncio.run(call())


def submitted(engine) -> Submit:
    return next(m for m in engine.sent if isinstance(m, Submit))


def test_a_token_that_others_begin_with_is_given_up_and_is_not_said_again(make_front) -> None:
    front, engine = make_front(reply=b"is it")
    chunks = answer(front, ["What i"], constraint=Regex("s.*"))
    assert bytes(submitted(engine).token_ids) == b"What "
    assert submitted(engine).constraint == Healed("i", Regex("s.*"))
    assert "".join(chunk.text for chunk in chunks) == "s it"
    assert {chunk.healed for chunk in chunks} == {(1, "i")}


def test_what_nothing_goes_on_from_stays(make_front) -> None:
    front, engine = make_front(reply=b"ok")
    chunks = answer(front, ["What?"])
    assert bytes(submitted(engine).token_ids) == b"What?"
    assert submitted(engine).constraint is None
    assert chunks[-1].healed == (0, "")


def test_the_only_token_of_a_prompt_stays(make_front) -> None:
    front, engine = make_front(reply=b"ok")
    answer(front, ["i"])
    assert submitted(engine).token_ids == [ord("i")]


@pytest.mark.parametrize("stop", ["i", "s i"])
def test_stops_are_looked_for_behind_the_healed_text(make_front, stop_at, stop: str) -> None:
    front, _ = make_front(reply=b"is i", finish=stop_at(stop))
    chunks = answer(front, ["What i"], sampling={"stop": (stop,)})
    assert "".join(chunk.text for chunk in chunks) == {"i": "s ", "s i": ""}[stop]
    ids = [token for chunk in chunks for token in chunk.token_ids]
    num_ids, num_chars = chunks[-1].kept
    assert bytes(ids[:num_ids]).decode() == ("i" + "s "[:num_chars] if num_ids else "")


@pytest.fixture
def stop_at():
    from radixlang.runtime.messages import Finish

    return lambda matched: Finish(type="stop", matched=matched)


PARTS = st.lists(st.text("is ?é", max_size=5) | st.lists(st.sampled_from([*b"is ?", MERGED, 256]), max_size=4))


def test_a_cut_prompt_and_what_was_cut_are_the_prompt(byte_tokenizer) -> None:
    healer, decode = Healer(byte_tokenizer), byte_tokenizer.decode
    spell = lambda some: "".join(p if isinstance(p, str) else decode(p) for p in some)  # noqa: E731

    @given(PARTS)
    def check(parts) -> None:
        cut = healer.cut(parts, lambda text, first: byte_tokenizer.encode(text))
        if cut is not None:
            assert spell(cut.parts) + cut.text == spell(parts)
            assert cut.text
            assert cut.num_tokens > 0

    check()


@pytest.fixture(scope="module")
def engine():
    with sgl.Engine(model_path="smollm2-135m-instruct") as made:
        yield made


def ask(engine, prompt, **sampling):
    return engine.generate(prompt, {"temperature": 0, "max_new_tokens": 6, **sampling})


@pytest.mark.model
def test_a_colon_goes_on_as_one_token(engine) -> None:
    plain, healed = (ask(engine, "The link is http:", heal=heal) for heal in (False, True))
    spell = engine.front.tokenizer.token_text
    assert spell(plain["output_ids"][0]) == "//"
    assert spell(healed["output_ids"][0]) == "://"
    assert healed["text"].startswith("//")
    meta = healed["meta_info"]
    assert (meta["healed_tokens"], meta["healed_text"]) == (1, ":")
    assert meta["prompt_tokens"] == plain["meta_info"]["prompt_tokens"] - 1
    assert meta["completion_tokens"] == len(healed["output_ids"]) == 6


@pytest.mark.model
@settings(max_examples=25)
@given(
    st.text("ab :/{\"'\n.é中1", min_size=2, max_size=12),
    st.sampled_from([{}, {"regex": "[a-z0-9 ]{3,8}"}, {"json_schema": '{"enum": ["a", "b c"]}'}, {"stop": [" "]}]),
)
def test_what_is_generated_spells_the_end_of_the_prompt_and_the_text(engine, prompt: str, options) -> None:
    made = ask(engine, prompt, heal=True, max_new_tokens=5, **options)
    meta, decode = made["meta_info"], engine.front.tokenizer.decode
    assert prompt.endswith(meta["healed_text"])
    if options.get("stop") is None and "\ufffd" not in decode(made["output_ids"]):
        written = decode(made["output_ids"], skip_special_tokens=True)
        assert (meta["healed_text"] + made["text"]).startswith(written) or written.startswith(meta["healed_text"])
        assert written == meta["healed_text"] + made["text"]
    if meta["finish_reason"]["type"] == "stop" and "regex" in options:
        import re

        assert re.fullmatch(options["regex"], made["text"])


@sgl.function
def program(s):
    s += "The link is http:" + sgl.gen("u", max_tokens=6, heal=True) + " and"
    s += sgl.gen("v", max_tokens=4, heal=True) + sgl.gen("w", regex="[a-z ]{4}", max_tokens=4, heal=True)


@pytest.mark.model
def test_a_program_is_the_same_however_it_runs(engine) -> None:
    runs = [program.run(backend=engine, temperature=0), program.run(backend=engine, temperature=0, stream=True)]
    compiled = program.compile()
    runs += [compiled.run(backend=engine, temperature=0), compiled.run(backend=engine, temperature=0, remote=True)]
    texts = {state.text() for state in runs}
    assert len(texts) == 1
    assert texts.pop().startswith("The link is http://")
    assert runs[0].get_meta_info("u")["healed_text"] == ":"
    # What the engine holds is what the program's path says: the next call finds it in the cache.
    meta = runs[0].get_meta_info("v")
    assert meta["cached_tokens"] >= meta["prompt_tokens"] - 2
