from __future__ import annotations

import asyncio
from typing import Literal

import pytest

import radixlang as sgl


@sgl.typed(max_tokens=8)
def capital(country: str, style: str = "short") -> Literal["Paris", "Rome"]:
    """Name the capital of {country}, {style}."""


@sgl.typed
def years(name: str) -> int:
    """How old is {name}?"""


@sgl.typed
def free(name: str) -> str:
    """Describe {name}."""


def test_the_docstring_asks_and_the_return_type_reads():
    mock = sgl.Mock({"capital of France": "Paris", "old": "42", "Describe": "tall"})
    assert capital("France", backend=mock) == "Paris"
    assert capital(country="France", backend=mock, temperature=0) == "Paris"
    assert years("Ann", backend=mock) == 42
    assert free("Ann", backend=mock) == "tall"
    assert asyncio.run(years.arun("Ann", backend=mock)) == 42
    assert "Name the capital of France, short." in mock.calls[0]


def test_what_is_no_value_of_the_type_is_an_error():
    with pytest.raises(sgl.ProgramError):
        years("Ann", backend=sgl.Mock({".*": "many"}))


def test_a_function_without_prompt_or_type_is_refused():
    with pytest.raises(TypeError, match="docstring"):
        sgl.typed(lambda name: None)

    def untyped(name):
        """Ask {name}."""

    with pytest.raises(TypeError, match="return type"):
        sgl.typed(untyped)
