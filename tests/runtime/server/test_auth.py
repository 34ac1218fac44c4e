"""Every route of the table is walked without a key and with a wrong one: a new route is covered by itself."""

import pytest

from radixlang.runtime.server.table import all_routes

PAIRS = [(m, r) for r in all_routes() for m in r.methods]


def call(client, method, route, headers):
    path = route.path.replace("{id:path}", "tiny").replace("{id}", "tiny")
    return client.request(method, path, json={} if method != "GET" else None, headers=headers)


@pytest.mark.parametrize(("method", "route"), PAIRS, ids=[f"{m} {r.path}" for m, r in PAIRS])
def test_only_open_routes_answer_without_the_key(serve, method, route):
    client = serve(server={"api_key": "s3cret"})
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}, {"x-api-key": "s3cre"}):
        answer = call(client, method, route, headers)
        if route.is_open:
            assert answer.status_code != 401
        else:
            assert answer.status_code == 401
            assert "s3cre" not in answer.text
            if route.style == "openai":
                assert answer.json()["error"]["code"] == "invalid_api_key"
    for headers in ({"authorization": "Bearer s3cret"}, {"authorization": "bearer s3cret"}, {"x-api-key": "s3cret"}):
        assert call(client, method, route, headers).status_code not in (401, 403)


def test_operators_have_their_own_key(serve):
    client = serve(server={"api_key": "user", "admin_api_key": "boss"})
    assert client.post("/flush_cache", headers={"authorization": "Bearer user"}).status_code == 403
    assert client.post("/flush_cache").status_code == 401
    assert client.post("/flush_cache", headers={"authorization": "Bearer boss"}).status_code == 200
    assert client.get("/v1/models", headers={"authorization": "Bearer boss"}).status_code == 200


def test_each_of_several_keys_opens_and_no_other(serve):
    client = serve(reply=b"ok", server={"api_key": "one", "api_keys": ("two", "three"), "admin_api_key": "boss"})
    for key, status in (("one", 200), ("two", 200), ("three", 200), ("boss", 200), ("tw", 401), ("one two", 401)):
        assert client.post("/generate", {"text": "x"}, headers={"authorization": f"Bearer {key}"}).status_code == status
    assert len({submit.client for submit in client.submits}) == 4
    assert len({submit.namespace for submit in client.submits}) == 4
    assert client.post("/generate", {"text": "x"}).status_code == 401
    assert client.post("/flush_cache", headers={"authorization": "Bearer two"}).status_code == 403


def test_keys_are_not_told(serve):
    client = serve(server={"api_key": "s3cret", "api_keys": ("s3cret too",)})
    for path in ("/get_server_info", "/metrics", "/openapi.json"):
        assert "s3cret" not in client.get(path, headers={"authorization": "Bearer s3cret"}).text


def test_clients_are_told_apart_by_their_keys(serve):
    client = serve(reply=b"ok")
    for key in ("a", "b"):
        client.post("/generate", {"text": "x"}, headers={"authorization": f"Bearer {key}"})
    first, second = (s.client for s in client.submits)
    assert first != second
    assert first != "a"
