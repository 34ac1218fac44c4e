"""Fields of OpenAI's bodies that are read alike by every route."""

from __future__ import annotations

from radixlang.runtime.server.openai_fields import GenerationFields, client_of


def test_a_share_belongs_to_the_key_and_without_keys_to_the_user() -> None:
    body = GenerationFields(user="ann")
    assert client_of("key's digest", body) == "key's digest"
    assert client_of("", body) != client_of("", GenerationFields(user="bob"))
    assert client_of("", GenerationFields()) == ""
