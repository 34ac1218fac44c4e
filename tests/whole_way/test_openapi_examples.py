import httpx
import pytest

from radixlang.runtime.server.openapi import EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_examples_of_the_openapi_document_are_answered_in_full(server_url, path):
    told = httpx.get(f"{server_url}/openapi.json", trust_env=False).json()
    body = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    answer = httpx.post(f"{server_url}{path}", json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert "x-radixlang-ignored" not in answer.headers
