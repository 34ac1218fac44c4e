"""Backends without a model: one of SGLang's kind that says what a test tells it, and a native one over characters."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import radixlang as sgl
from radixlang.lang.backend.base_backend import BaseBackend, NativeBackend
from radixlang.lang.choices import ChoicesDecision
from radixlang.lang.loop import run
from radixlang.runtime.programs.host import ProgramHost
from radixlang.runtime.programs.request import read_body

DEADLINE_S = 30.0


class Scripted(BaseBackend):
    """`reply(text, params)` answers; what it raises is raised. `calls`: the texts it was called with."""

    def __init__(self, reply: Callable | None = None, delay: float = 0.0) -> None:
        super().__init__()
        self.reply = reply or (lambda text, params: f"<{len(text)}>")
        self.delay = delay
        self.calls: list[str] = []
        self.params: list[object] = []
        self.peak = self.live = 0
        self._lock = threading.Lock()

    def _answer(self, s, params):
        with self._lock:
            self.calls.append(s.text_)
            self.params.append(params)
            self.live += 1
            self.peak = max(self.peak, self.live)
        try:
            if self.delay:
                time.sleep(self.delay)
            return self.reply(s.text_, params)
        finally:
            with self._lock:
                self.live -= 1

    def generate(self, s, sampling_params):
        return self._answer(s, sampling_params), {"prompt_tokens": len(s.text_), "completion_tokens": 1}

    def generate_stream(self, s, sampling_params):
        for char in self._answer(s, sampling_params):
            yield char, {"completion_tokens": 1}

    def select(self, s, choices, temperature, choices_method=None):
        self._answer(s, None)
        return ChoicesDecision(
            choices[0], {"input_token_logprobs": [[[-float(i), i, c]] for i, c in enumerate(choices)]}
        )


class CharModel(NativeBackend):
    """A token is a character: its id is the code point, 0 ends. `reply(prompt)` is what the model goes on with."""

    END = 0
    joins_gens = True
    counts_programs = True

    def __init__(self, reply: Callable[[str], str] | None = None, template: str | None = None) -> None:
        super().__init__()
        self.reply = reply or (lambda prompt: f"[{len(prompt)}]")
        self.requests: list[dict] = []
        self.closed: list[str] = []
        self.hold: asyncio.Event | None = None
        self.hold_after = 0  # pieces of a stream that come before it waits for `hold`
        self.info = {"model_path": "char-model", "chat_template": template, "eos_token_ids": [self.END]}

    def hold_back(self, after: int = 0) -> None:
        """From here on, answers wait; those of streams after `after` pieces."""

        async def make() -> None:
            self.hold, self.hold_after = asyncio.Event(), after

        run(make())

    @staticmethod
    def text_of(parts) -> str:
        return "".join(p if isinstance(p, str) else "".join(map(chr, p)) for p in parts)

    async def native_generate(self, request):
        self.requests.append(request)
        sampling = request["sampling_params"]
        prompt = self.text_of(request["prompt_parts"])
        finished = False
        try:
            for index in range(sampling.get("n") or 1):
                async for chunk in self._one(request, prompt, index):
                    yield chunk
            finished = True
        finally:
            if not finished:
                self.closed.append(request["rid"])

    def _sequence(self, request, prompt):
        """As an engine: each part on its own, as far as every part has an end and a token."""
        text, parts = "", []
        for part in request["constraint"]["parts"]:
            whole = self.reply(prompt + text + part["before"])
            made = whole[: part["max_tokens"]]
            hits = [made.index(s) for s in part["stop"] if s and s in made]
            made = made[: min(hits)] if hits else made
            if not made:
                break
            text += part["before"]
            parts.append(
                [len(text), len(text + made), "length" if made == whole[: part["max_tokens"]] else "stop", made]
            )
            text += made
        meta = {"id": request["rid"], "prompt_tokens": len(prompt), "cached_tokens": 0, "parts": parts}
        meta |= {"completion_tokens": len(text), "finish_reason": {"type": "stop", "matched": None}}
        return {"index": 0, "text": text, "output_ids": [ord(c) for c in text], "meta_info": meta}

    async def _one(self, request, prompt, index):
        sampling = request["sampling_params"]
        if (request.get("constraint") or {}).get("type") == "sequence":
            yield self._sequence(request, prompt)
            return
        whole = self.reply(prompt)
        limit = sampling["max_new_tokens"]
        text, finish = whole[:limit], {"type": "length", "length": limit}
        ids = [ord(c) for c in text]
        if len(whole) < limit:
            finish, ids = {"type": "stop", "matched": self.END}, [*ids, self.END]
        hits = [(text.index(s), s) for s in sampling.get("stop") or () if s and s in text]
        if hits:
            at, stop = min(hits)
            ids, text, finish = ids[: at + len(stop)], text[:at], {"type": "stop", "matched": stop}
        meta = {"id": request["rid"], "prompt_tokens": len(prompt), "cached_tokens": 0}
        if request["stream"]:
            for i, char in enumerate(text[:-1]):
                if self.hold is not None and i >= self.hold_after:
                    await self.hold.wait()
                await asyncio.sleep(0)
                yield {
                    "index": index,
                    "text": char,
                    "output_ids": [ids[i]],
                    "meta_info": {**meta, "completion_tokens": i + 1, "finish_reason": None},
                }
            text, ids, num = text[-1:], ids[max(len(text) - 1, 0) :], len(ids)
        else:
            if self.hold is not None:
                await self.hold.wait()
            num = len(ids)
        yield {
            "index": index,
            "text": text,
            "output_ids": ids,
            "meta_info": {**meta, "completion_tokens": num, "finish_reason": finish},
        }

    async def native_score(self, prompt_parts, choices, *, unconditional, lora_path=None, program_id=None):
        told = {"program_id": program_id, **({} if lora_path is None else {"lora_path": lora_path})}
        self.requests.append({"score": self.text_of(prompt_parts), "choices": list(choices), **told})
        scored = [
            {
                "token_logprobs": [[-(ord(c) % 7) / 10, ord(c), c] for c in choice],
                "unconditional": [[None, ord(c), c] for c in choice] if unconditional else None,
                "token_ids": [ord(c) for c in choice],
                "healed": 0,
            }
            for choice in choices
        ]
        return {"choices": scored, "prompt_tokens": 1, "cached_tokens": 0}

    async def native_abort(self, rid):
        self.closed.append(rid)

    async def native_model_info(self):
        return self.info


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    """Makes a Scripted and sets it as default."""

    def make(reply: Callable | None = None, delay: float = 0.0) -> Scripted:
        backend = Scripted(reply, delay)
        sgl.set_default_backend(backend)
        return backend

    return make


@pytest.fixture
def native() -> Callable[..., CharModel]:
    """Makes a CharModel and sets it as default."""

    def make(reply: Callable[[str], str] | None = None, template: str | None = None) -> CharModel:
        backend = CharModel(reply, template)
        sgl.set_default_backend(backend)
        return backend

    return make


@pytest.fixture(autouse=True)
def _default_backend() -> Iterator[None]:
    before = sgl.global_config.default_backend
    yield
    sgl.global_config.default_backend = before


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition; fails at the deadline."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition never came"
            pause.wait(0.005)

    return wait


@pytest.fixture
def hosted(native):
    """hosted(reply): a CharModel that runs programs as an engine does."""

    def make(reply=None):
        backend = native(reply)
        host = ProgramHost()

        async def run_program(request):
            request = json.loads(json.dumps(request))
            backend.requests.append({"program": request})
            async for event in host.run(host.prepare(read_body(request)), backend):
                yield json.loads(json.dumps(event))

        async def register(name, graph):
            host.register(name, graph)

        backend.native_run_program, backend.native_register_program = run_program, register
        return backend

    return make
