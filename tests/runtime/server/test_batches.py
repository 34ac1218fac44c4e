"""Files and batches: a file of requests in, a file of answers out, as OpenAI's client sends and reads them."""

import asyncio
import json

import httpx
import pytest

from radixlang.errors import RequestError
from radixlang.runtime.messages import Finish
from radixlang.runtime.server import batches
from radixlang.runtime.server.multipart import parts_of
from radixlang.runtime.server.service import BATCH_WIDTH
from radixlang.runtime.server.shelf import Shelf

CHAT = "/v1/chat/completions"


def line(custom_id, url=CHAT, **body):
    body = {"messages": [{"role": "user", "content": custom_id}], "max_tokens": 2, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def run(client, work):
    async def call():
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await work(http)

    return asyncio.run(call())


async def upload(http, text, **options):
    files = {"file": ("in.jsonl", text.encode())}
    return (await http.post("/v1/files", files=files, data={"purpose": "batch"}, **options)).json()


async def ended(http, batch):
    while batch["status"] in ("in_progress", "cancelling", "finalizing"):
        await asyncio.sleep(0)
        batch = (await http.get(f"/v1/batches/{batch['id']}")).json()
    return batch


def test_each_line_has_its_answer_and_bad_ones_their_error(serve):
    client = serve(reply=b"hello")
    lines = [line("b"), line("a"), line("bad", temperature=-1), line("c", max_tokens=4)]

    async def work(http):
        file = await upload(http, "\n".join(lines) + "\n")
        assert (file["object"], file["filename"], file["purpose"]) == ("file", "in.jsonl", "batch")
        asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", "metadata": {"k": "v"}}
        batch = await ended(http, (await http.post("/v1/batches", json=asked)).json())
        assert (batch["status"], batch["metadata"]) == ("completed", {"k": "v"})
        assert batch["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
        told = {}
        for name in ("output_file_id", "error_file_id"):
            content = (await http.get(f"/v1/files/{batch[name]}/content")).text
            told[name] = [json.loads(one) for one in content.splitlines()]
        assert [one["custom_id"] for one in told["output_file_id"]] == ["b", "a", "c"], "in the order of the file"
        answers = [one["response"]["body"]["choices"][0]["message"]["content"] for one in told["output_file_id"]]
        assert answers == ["he", "he", "hell"]
        (bad,) = told["error_file_id"]
        assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 400)
        assert bad["response"]["body"]["error"]["param"] == "temperature"
        listed = (await http.get("/v1/batches")).json()["data"]
        assert [one["id"] for one in listed] == [batch["id"]]

    run(client, work)
    assert {s.priority for s in client.submits} == {-100}


def test_a_cancelled_batch_frees_the_engine_and_keeps_what_it_has(serve):
    client = serve(reply=b"ok", stall=True)

    async def work(http):
        file = await upload(http, "\n".join(line(f"r{i}") for i in range(50)))
        batch = (await http.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": CHAT})).json()
        while len(client.submits) < 32:
            await asyncio.sleep(0)
        assert client.service.num_active == 1, "a server that ends waits for it"
        path = f"/v1/batches/{batch['id']}/cancel"
        for told in await asyncio.gather(http.post(path), http.post(path)):  # twice is once
            assert told.json()["status"] == "cancelling"
        batch = await ended(http, batch)
        assert (batch["status"], batch["output_file_id"]) == ("cancelled", None)

    run(client, work)
    assert client.service.num_active == 0
    assert len(client.submits) == 32, "no more than that are under way"
    assert client.engine.front.num_open == 0


def test_all_batches_together_leave_the_queue_open(serve):
    client = serve(reply=b"ok", stall=True)

    async def work(http):
        file = await upload(http, "\n".join(line(f"r{i}") for i in range(20)))
        asked = {"input_file_id": file["id"], "endpoint": CHAT}
        begun = [(await http.post("/v1/batches", json=asked)).json() for _ in range(4)]
        while len(client.submits) < BATCH_WIDTH:
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(client.submits) == BATCH_WIDTH
        for batch in begun:
            await http.post(f"/v1/batches/{batch['id']}/cancel")
            assert (await ended(http, batch))["status"] == "cancelled"
        client.engine.stall = False
        assert (await ended(http, (await http.post("/v1/batches", json=asked)).json()))["status"] == "completed"

    run(client, work)
    assert client.engine.front.num_open == 0


def test_after_an_engines_death_lines_are_tried_one_by_one_until_the_batch_expires(serve, monkeypatch):
    client = serve(finish=Finish(type="error", message="gone", status=503, code="engine_dead"))
    monkeypatch.setattr(batches, "RETRY_S", 0)
    most, plain = [], client.engine.send

    def send(message):
        plain(message)
        most.append(client.engine.front.num_open)

    client.engine.send = send

    async def work(http):
        file = await upload(http, "\n".join(line(f"r{i}") for i in range(8)))
        batch = (await http.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": CHAT})).json()
        while len(client.submits) < 24:
            await asyncio.sleep(0)
        assert max(most[:8]) == 8
        assert max(most[8:]) == 1
        client.service.batches.get(batch["id"]).told["expires_at"] = 0
        batch = await ended(http, batch)
        assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 8)

    run(client, work)


def test_batches_that_are_asked_for_at_once_are_bounded_too(serve):
    client = serve(reply=b"ok", stall=True)

    async def work(http):
        file = await upload(http, line("a"))
        asked = {"input_file_id": file["id"], "endpoint": CHAT}
        many = [http.post("/v1/batches", json=asked) for _ in range(batches.MAX_RUNNING + 4)]
        told = sorted((answer.status_code for answer in await asyncio.gather(*many)), reverse=True)
        assert told == [429] * 4 + [200] * batches.MAX_RUNNING
        for batch in (await http.get("/v1/batches")).json()["data"]:
            await http.post(f"/v1/batches/{batch['id']}/cancel")
            await ended(http, batch)

    run(client, work)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"completion_window": "1 year"}, "completion_window"),
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"input_file_id": "../file"}, "input_file_id"),
    ],
)
def test_what_a_batch_is_told_is_bounded(serve, asked, param):
    client = serve(reply=b"ok")

    async def work(http):
        file = await upload(http, line("a"))
        answer = await http.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": CHAT, **asked})
        assert (answer.status_code, answer.json()["error"]["param"]) == (404 if "input" in param else 400, param)

    run(client, work)


def test_a_file_of_many_values_takes_the_room_of_a_body_that_has_them(serve):
    client = serve(reply=b"ok")

    async def work(http):
        file = await upload(http, line("a", stop=[[]] * 20_000))
        client.app._bodies.limit = 1 << 20  # the file has 80,000 bytes
        answer = await http.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": CHAT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")

    run(client, work)


def test_batches_and_their_answers_are_bounded(serve, monkeypatch):
    client = serve(reply=b"ok", stall=True)

    async def work(http):
        file = await upload(http, line("a") + "\n" + line("b"))
        asked = {"input_file_id": file["id"], "endpoint": CHAT}
        begun = [(await http.post("/v1/batches", json=asked)).json() for _ in range(batches.MAX_RUNNING)]
        full = await http.post("/v1/batches", json=asked)
        assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many_batches")
        for batch in begun:
            await http.post(f"/v1/batches/{batch['id']}/cancel")
            assert (await ended(http, batch))["status"] == "cancelled"
        client.engine.stall = False
        monkeypatch.setattr(batches, "MAX_ANSWER_BYTES", 100)
        batch = await ended(http, (await http.post("/v1/batches", json=asked)).json())
        assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "answers_too_large")

    run(client, work)
    assert client.engine.front.num_open == 0


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1]", line("a") + "\n" + line("a"), line("a", "/v1/completions"), line("a", stream=True),
        json.dumps({"method": "POST", "url": CHAT, "body": {}}),
        json.dumps({"custom_id": "a", "url": CHAT, "body": {}}),
        json.dumps({"custom_id": "a", "method": "POST", "url": CHAT, "body": []}),
    ],
)  # fmt: skip
def test_a_file_that_is_no_batch_is_refused_before_anything_runs(serve, text):
    client = serve()

    async def work(http):
        file = await upload(http, text)
        return await http.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": CHAT})

    answer = run(client, work)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")
    assert not client.submits


def test_clients_see_their_own_files_alone(serve):
    client = serve(reply=b"ok", server={"api_key": "user", "admin_api_key": "admin"})
    mine, other = ({"authorization": f"Bearer {key}"} for key in ("user", "admin"))

    async def work(http):
        file = await upload(http, line("a"), headers=mine)
        path = f"/v1/files/{file['id']}"
        for suffix in ("", "/content"):
            assert (await http.get(path + suffix, headers=mine)).status_code == 200
            assert (await http.get(path + suffix, headers=other)).status_code == 404
        asked = {"input_file_id": file["id"], "endpoint": CHAT}
        stolen = await http.post("/v1/batches", json=asked, headers=other)
        assert (stolen.status_code, stolen.json()["error"]["param"]) == (404, "input_file_id")
        assert (await http.get("/v1/files", headers=other)).json()["data"] == []
        assert (await http.delete(path, headers=mine)).json()["deleted"] is True
        assert (await http.get(path, headers=mine)).status_code == 404

    run(client, work)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x', "multipart/form-data; boundary=x"),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\nb\r\n--x--", "multipart/form-data; boundary=x"),
        (b"--x\r\n" * 100, "multipart/form-data; boundary=x"),
    ],
)
def test_what_is_no_form_is_refused(body, kind):
    with pytest.raises(RequestError):
        parts_of(body, kind)


def test_a_form_holds_bytes_as_they_are():
    body = b'--x y\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\na\r\n--x\r\n\r\n--x y--\r\n'
    (part,) = parts_of(body, 'multipart/form-data; boundary="x y"').values()
    assert part == (b"a\r\n--x\r\n", "n")


def test_a_shelf_takes_what_fits():
    shelf = Shelf(max_items=2, max_bytes=10)
    assert shelf.put("a", 1, 6)
    assert not shelf.put("b", 2, 5)
    assert shelf.put("b", 2, 4)
    assert not shelf.put("c", 3, 0)
    shelf.drop("a")
    assert shelf.put("c", 3, 6)
    assert list(shelf.values()) == [2, 3]
