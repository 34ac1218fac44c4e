"""Prefixes are shared within a key, and with nobody else, in every API."""

from __future__ import annotations

import pytest

from radixlang.runtime.server.tenants import Tenants, holder_of

MESSAGES = [{"role": "user", "content": "x"}]
GENERATING = {
    "/generate": {"text": "x"},
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4},
    "/api/generate": {"model": "tiny", "prompt": "x"},
    "/api/chat": {"model": "tiny", "messages": MESSAGES},
    "/v1/cache/pin": {"text": "x"},
    "/v1/score": {"query": "x", "items": ["y", "z"], "label_token_ids": [65, 66]},
}


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def namespaces(client, path, headers):
    """Of what the request asks the engine for; at least one thing."""
    before = len(client.submits)
    answer = client.post(path, GENERATING[path], headers=headers)
    assert answer.status_code == 200, answer.text
    found = {submit.namespace for submit in client.submits[before:]}
    assert found
    return found


@pytest.mark.parametrize("path", GENERATING)
def test_every_api_keeps_keys_apart(serve, path):
    client = serve(reply=b"ok")
    first, second, nobody = (namespaces(client, path, h) for h in (bearer("alice"), bearer("bob"), {}))
    assert first == namespaces(client, path, bearer("alice"))
    assert not first & second
    assert nobody == {""}
    assert not any("alice" in name for name in first), "what is logged and published tells no key"


@pytest.mark.parametrize("path", GENERATING)
def test_prefixes_of_all_keys_are_shared_where_that_is_asked_for(serve, path):
    client = serve(reply=b"ok", server={"share_prefixes": True})
    assert namespaces(client, path, bearer("alice")) == namespaces(client, path, bearer("bob")) == {""}


def test_a_lookup_sees_the_own_prefixes_alone(serve):
    client = serve(reply=b"ok")
    for headers in (bearer("alice"), bearer("bob"), {}):
        client.post("/v1/cache/lookup", {"text": "x"}, headers=headers)
    asked = [m.data["namespace"] for m in client.engine.sent if getattr(m, "action", "") == "cache_lookup"]
    assert len(set(asked)) == 3


def test_the_operators_prefixes_are_not_the_users(serve):
    client = serve(reply=b"ok", server={"api_key": "user", "admin_api_key": "boss"})
    assert namespaces(client, "/generate", bearer("user")) == {""}, "one key: as a server without"
    assert namespaces(client, "/generate", bearer("boss")) != {""}


def test_users_whom_a_key_s_holder_names_share_its_prefixes(serve):
    client = serve(reply=b"ok")
    for user in ("ann", "ben"):
        client.post("/v1/chat/completions", {"messages": MESSAGES, "user": user}, headers=bearer("front end"))
    first, second = client.submits
    assert first.client != second.client
    assert first.namespace == second.namespace


@pytest.mark.parametrize("placeholder", ["EMPTY", "none", "dummy"])
def test_a_key_that_is_none_is_no_tenant(serve, placeholder):
    assert namespaces(serve(reply=b"ok"), "/generate", bearer(placeholder)) == {""}


def test_no_salt_leads_into_another_key_s_prefixes():
    tenants = Tenants()
    alice = holder_of(b"alice")
    theirs = {tenants.namespace(alice, salt) for salt in ("", "a", f"key:{alice}:")}
    assert len(theirs) == 3
    for salt in ("", "a", ":", f"key:{alice}:", f"key:{alice}:a", "key:-:"):
        for client in ("", holder_of(b"bob")):
            assert tenants.namespace(client, salt) not in theirs
