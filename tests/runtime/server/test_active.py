"""Requests as objects: listed while they run, ended by their id."""

import asyncio

import httpx

from radixlang.runtime.messages import Abort


def test_a_running_request_is_listed_and_ended_by_its_id_alone(serve):
    client = serve(reply=b"hello", stall=True)

    async def call():
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            body = {"prompt": ["a", "b"], "max_tokens": 3}
            mine, other = (
                asyncio.ensure_future(http.post("/v1/completions", json=body, headers={"x-request-id": name}))
                for name in ("mine", "other")
            )
            while len(client.submits) < 4:
                await asyncio.sleep(0)
            told = (await http.get("/v1/requests")).json()["data"]
            assert [one["id"] for one in told] == ["mine", "other"]
            assert {one["route"] for one in told} == {"/v1/completions"}
            assert {rid for one in told for rid in one["rids"]} == {s.rid for s in client.submits}
            assert (await http.delete("/v1/requests/nobody")).status_code == 404
            assert (await http.delete("/v1/requests/mine")).json()["deleted"] is True
            aborted = {m.rid for m in client.engine.sent if isinstance(m, Abort)}
            assert aborted == set(told[0]["rids"])
            for task in (mine, other):
                task.cancel()
            await asyncio.gather(mine, other, return_exceptions=True)

    asyncio.run(call())
    assert client.service.active == set()
    assert client.get("/v1/requests").json()["data"] == []


def test_only_operators_see_them(serve):
    client = serve(server={"api_key": "user", "admin_api_key": "admin"})
    for key, status in (("user", 403), ("admin", 200)):
        assert client.get("/v1/requests", headers={"authorization": f"Bearer {key}"}).status_code == status
