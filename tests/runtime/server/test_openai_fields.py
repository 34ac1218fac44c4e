"""Fields of OpenAI's bodies that are read alike by every route."""

from __future__ import annotations

from radixlang.runtime.server.openai_fields import client_of

SAID = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
BODIES = {
    "/v1/chat/completions": lambda user: {**SAID, "user": user},
    "/v1/completions": lambda user: {"prompt": "a", "max_tokens": 1, "user": user},
    "/v1/responses": lambda user: {"input": "a", "max_output_tokens": 1, "user": user},
    "/v1/messages": lambda user: {**SAID, "metadata": {"user_id": user, "team": "x"}},
}


def test_a_share_belongs_to_the_user_whom_the_key_names_else_to_the_key() -> None:
    shares = [client_of(key, user) for key in ("", "digest", "other") for user in ("ann", "bob", None)]
    assert len(set(shares)) == 9
    assert client_of("", None) == client_of("", "") == ""


def test_every_api_tells_the_user_behind_a_key(serve) -> None:
    client = serve()
    for path, body in BODIES.items():
        for user in ("ann", "bob", None):
            client.post(path, body(user), headers={"authorization": "Bearer EMPTY"})
    names = [submit.client for submit in client.submits]
    assert names[:3] * 4 == names
    assert len(set(names)) == 3
