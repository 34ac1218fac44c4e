"""The whole ASGI application over a scripted engine: no model, no socket."""

import asyncio
import json

import httpx
import pytest

from radixlang.runtime.config import EngineConfig, ServerConfig
from radixlang.runtime.messages import Finish, Output, Submit, TokenLogprobs
from radixlang.runtime.server.metered import MeteredFront
from radixlang.runtime.server.service import Service
from radixlang.runtime.server.table import make_app

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Client:
    """Blocking calls of the application; every call has an event loop of its own."""

    def __init__(self, app, service, engine):
        self.app, self.service, self.engine = app, service, engine

    def request(self, method, path, **options):
        async def call():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, json=body, **options)

    def events(self, path, body, **options):
        """The JSON of each event; [DONE] must be the last and is left out."""
        answer = self.post(path, {**body, "stream": True}, **options)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        lines = [line for line in answer.text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    @property
    def submits(self):
        return [m for m in self.engine.sent if isinstance(m, Submit)]


@pytest.fixture
def serve(make_front, byte_tokenizer):
    """serve(reply=b"…", server={…}, …) -> Client. Other arguments script the engine (tests/runtime/conftest.py)."""

    def make(*, server=None, info=None, is_loaded=True, logprobs=True, hidden=(), **script):
        _, engine = make_front(**script)
        plain = engine.outputs

        def outputs(submit):
            found = plain(submit)
            for output in found if logprobs else []:
                wanted = submit.logprobs
                unasked = [7] if submit.sampling.max_new_tokens == 0 else []  # scored, though not generated
                if wanted is not None and wanted.output:
                    output.logprobs = [
                        TokenLogprobs(
                            -0.5,
                            i,
                            [(-0.5 - k, k) for k in range(wanted.num_top)],
                            [-1.0 - k for k in range(len(wanted.token_ids))],
                        )
                        for i in output.token_ids or unasked
                    ]
            if submit.want_hidden:
                found[-1].hidden = list(hidden)
            return found

        engine.outputs = outputs
        service = Service(EngineConfig(model_path="tiny"), ServerConfig(**(server or {})))
        front = MeteredFront(
            engine,
            byte_tokenizer,
            {"vocab_size": 259, "chat_template": TEMPLATE, "max_context": 512, "model_path": "tiny", **(info or {})},
            service.metrics,
            service.tenants,
        )
        engine.front = front
        if is_loaded:
            service.serve(front)
        return Client(make_app(service), service, engine)

    return make


@pytest.fixture
def stop_with():
    """A finish: stop_with("x") as if the stop string "x" had matched."""
    return lambda matched=None: Finish(type="stop", matched=matched)


@pytest.fixture
def output_of():
    return lambda submit, **fields: Output(rid=submit.rid, **fields)
