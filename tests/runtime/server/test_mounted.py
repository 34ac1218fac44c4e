"""radixlang's routes inside somebody's own FastAPI application: `app.mount("/llm", …)`."""

import asyncio

import httpx
from fastapi import FastAPI


def test_the_routes_answer_under_the_path_where_they_are_mounted(serve):
    outer = FastAPI()

    @outer.get("/mine")
    def mine():
        return {"mine": True}

    outer.mount("/llm", serve(reply=b"hello").app)

    async def both():
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            body = {"text": "x", "sampling_params": {"max_new_tokens": 5}}
            return await client.get("/mine"), await client.post("/llm/generate", json=body)

    own, generated = asyncio.run(both())
    assert own.json() == {"mine": True}
    assert generated.status_code == 200
    assert generated.json()["text"] == "hello"
