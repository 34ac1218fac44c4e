"""What holds for every route: ids, errors, limits, hosts."""

import asyncio
import json

import pytest

from radixlang.runtime.server import http

MESSAGES = [{"role": "user", "content": "hi"}]


def error_of(answer):
    told = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return told


def test_an_unknown_route_is_404_and_a_wrong_method_405_in_json(serve):
    client = serve()
    missing, wrong = client.get("/nope"), client.get("/generate")
    assert (missing.status_code, error_of(missing)["type"]) == (404, "invalid_request_error")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST, PUT")


def test_every_answer_has_a_request_id_and_keeps_a_sane_one(serve):
    client = serve()
    assert client.get("/health").headers["x-request-id"] != client.get("/health").headers["x-request-id"]
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/health", headers={"x-request-id": "a b<"}).headers["x-request-id"] != "a b<"


def test_unknown_fields_are_named_and_refused_when_strict(serve):
    body = {"messages": MESSAGES, "num_ctx": 4096, "think": None, "frobnicate": 1}
    answer = serve().post("/v1/chat/completions", body)
    assert answer.status_code == 200
    assert answer.headers["x-radixlang-ignored"] == "frobnicate,num_ctx"
    strict = serve().post("/v1/chat/completions", body, headers={"x-radixlang-strict": "1"})
    assert (strict.status_code, error_of(strict)["param"]) == (400, "frobnicate")
    assert serve(server={"strict_fields": True}).post("/v1/chat/completions", body).status_code == 400


def test_names_of_unknown_fields_cannot_forge_headers(serve):
    answer = serve().post("/v1/chat/completions", {"messages": MESSAGES, "a\r\nset-cookie: x": 1, "é\u2028\x01\x7f": 2})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-radixlang-ignored"].isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'"x"', b"NaN", b'{"a": NaN}', b'{"a": 1e999}', b'{"a":' + b"9" * 5000 + b"}", b"[" * 100_000,
     b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a": "\xff"}', b'{"a": "\\ud800"}'],
)  # fmt: skip
def test_what_is_not_strict_json_is_a_400(serve, content):
    answer = serve().request("POST", "/v1/chat/completions", content=content)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_json")


def test_a_long_flat_list_is_not_deep(serve):
    answer = serve().post("/tokenize", {"prompt": ["a"] * 200, "x": [[1]] * 100})
    assert answer.status_code == 200


def test_a_body_over_the_limit_is_413_before_it_is_read(serve):
    client = serve(server={"max_body_mb": 0.001})
    assert client.post("/generate", {"text": "x" * 2000}).status_code == 413

    async def drip():
        for _ in range(3):
            yield b"x" * 1000

    answer = client.request("POST", "/generate", content=drip())
    assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")


def test_a_compressed_body_is_415(serve):
    answer = serve().request("POST", "/generate", content=b"x", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415


def test_while_loading_only_health_and_errors_answer(serve):
    client = serve(is_loaded=False)
    health = client.get("/health")
    assert (health.status_code, "loading" in health.text) == (503, True)
    answer = client.post("/generate", {"text": "a"})
    assert (answer.status_code, error_of(answer)["code"]) == (503, "loading")
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/metrics").status_code == 200


def test_while_draining_new_work_is_refused_and_ready_says_so(serve):
    client = serve()
    client.service.is_leaving = True
    assert client.get("/ready").status_code == 503
    assert client.post("/generate", {"text": "a"}).status_code == 200
    client.service.is_draining = True
    answer = client.post("/generate", {"text": "a"})
    assert (answer.status_code, error_of(answer)["code"]) == (503, "shutting_down")
    assert client.get("/health").status_code == 200


def test_a_fault_of_ours_tells_nothing_but_an_id(serve, monkeypatch, caplog):
    client = serve()

    def broken():
        raise ZeroDivisionError("secret at /home/me/x.py")

    monkeypatch.setattr(client.service.front, "flush_cache", broken)
    answer = client.post("/flush_cache")
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "/home" not in answer.text


def test_a_server_on_loopback_refuses_other_host_names(serve):
    client = serve()
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/health", headers={"host": "localhost:30000"}).status_code == 200
    assert serve(server={"host": "0.0.0.0"}).get("/health", headers={"host": "my.name"}).status_code == 200


def test_cors_is_off_unless_an_origin_is_allowed(serve):
    origin = {"origin": "https://a.example"}
    assert "access-control-allow-origin" not in serve().get("/health", headers=origin).headers
    open_to = serve(server={"cors_origins": ("https://a.example",)})
    assert open_to.get("/health", headers=origin).headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in open_to.get("/health", headers={"origin": "https://b"}).headers
    assert open_to.request("OPTIONS", "/generate", headers=origin).status_code == 204


def test_routes_that_are_not_loaded_yet_answer_all_the_same(serve):
    client = serve()
    assert client.get("/health").status_code == 200
    assert client.post("/generate", {"text": "a"}).status_code == 200
    first = len(client.app.router.routes)
    assert client.get("/v1/models").status_code == 200
    assert len(client.app.router.routes) > 2 * first
    assert client.get("/no/such/route").status_code == 404


def test_head_has_no_body(serve):
    answer = serve().request("HEAD", "/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_openapi_names_every_route_and_its_body(serve):
    client = serve()
    told = client.get("/openapi.json").json()
    for route in client.app.router.routes:
        if not route.is_listed:
            assert client.post(route.path, {}).json()["error"]["code"] == "not_implemented"
            continue
        operation = told["paths"][route.path.replace(":path}", "}")][route.methods[0].lower()]
        if route.body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert schema == {"type": "object"} or schema["$ref"].rsplit("/", 1)[-1] in told["components"]["schemas"]
        elif route.methods == ("POST",):
            assert route.path.endswith(("/cancel", "/v1/files"))  # what takes no body, or no JSON
    json.dumps(told)


def test_a_wrong_type_names_its_field(serve):
    answer = serve().post("/v1/chat/completions", {"messages": MESSAGES, "stop": [1]})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "stop.0")


def test_a_body_that_does_not_come_is_408_and_the_door(serve, monkeypatch):
    monkeypatch.setattr(http, "BODY_STALL_S", 0.01)

    client = serve()
    sent = []

    async def run():
        messages = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(3600)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [], "query_string": b""}
        await client.app(scope, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
