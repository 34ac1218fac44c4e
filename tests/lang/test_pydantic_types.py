"""Answers drawn at random under the constraint of a type: each is a value of it, the one that pydantic reads."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import random
import re
import sys
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import pydantic
import pytest
from pydantic import BaseModel, Field, TypeAdapter

from radixlang.constrained import mask
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import ProgramError
from radixlang.lang.dtype import apply_dtype, convert, json_schema_of, parse_value
from radixlang.lang.sampling import SglSamplingParams

END = 256
BYTES = Vocabulary([*(bytes([b]) for b in range(END)), b"</s>"], frozenset({END}), frozenset({END}), END + 1)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Pair(enum.Enum):
    P = (1, 2)


class Part(BaseModel):
    size: int = Field(ge=1, le=9)
    name: str | None = None


class Whole(BaseModel):
    part: Part
    parts: list[Part] = []


class Node(BaseModel):
    value: int
    nodes: list[Node] = []


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    held: T


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    is_good: bool


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Named(BaseModel):
    a: int = Field(alias="A-a")


class Strict(BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    day: datetime.date
    number: float


class Even(BaseModel):
    a: int

    @pydantic.field_validator("a")
    @classmethod
    def is_even(cls, value):
        if value % 2:
            raise ValueError("odd numbers are not taken")
        return value


@dataclasses.dataclass
class Plain:
    x: int
    y: float | None = None


@dataclasses.dataclass
class Bounded:
    x: Annotated[int, Field(ge=3, le=5)]


@dataclasses.dataclass
class Tree:
    x: int
    left: Optional[Tree] = None  # noqa: UP045


@dataclasses.dataclass
class Made:
    x: int
    y: int = dataclasses.field(init=False, default=4)


@dataclasses.dataclass
class Mixed:
    whole: Whole
    day: datetime.date


class Row(NamedTuple):
    a: int
    b: str = "q"


class One(BaseModel):
    a: int


class Two(BaseModel):
    a: int
    b: int = 0


UserId = NewType("UserId", int)
TYPES = [
    Level, Literal[1, "x", None, True], Optional[int], int | str, float | int, Union[bool, int, None], list, dict,  # noqa: UP007, UP045
    dict[int, str], dict[Color, int], dict[Literal["a", "b"], int], dict[float, bool], dict[datetime.date, int],
    dict[uuid.UUID, int], tuple[int, ...], tuple[()], tuple, set[int], frozenset[str], set[Literal["a", "b"]],
    datetime.date, datetime.datetime, pydantic.AwareDatetime, pydantic.NaiveDatetime, datetime.time, datetime.timedelta,
    uuid.UUID, pydantic.UUID4, decimal.Decimal, Annotated[decimal.Decimal, Field(max_digits=4, decimal_places=2)],
    Annotated[decimal.Decimal, Field(ge=0)], UserId, Annotated[int, Field(ge=5, le=7)],
    Annotated[str, Field(pattern="^[a-c]{2}$")], Annotated[list[int], Field(min_length=2, max_length=3)],
    pydantic.constr(min_length=1, max_length=3), pydantic.conint(multiple_of=7),
    pydantic.conlist(int, min_length=1, max_length=2), Part, Whole, list[Whole], dict[str, Whole], Optional[Whole],  # noqa: UP045
    Node, Box[int], Box[list[Part]], Owner, Named, Strict, Plain, list[Plain], Bounded, Tree, Made, Mixed, Row,
    list[Row], One | Two, pydantic.RootModel[list[int]], Any, bytes, pathlib.Path, ipaddress.IPv4Address,
    pydantic.PositiveInt, Annotated[float, Field(gt=0, lt=1)], typing.Sequence[int], typing.Mapping[str, int],
]  # fmt: skip


def drawn(grammar, seed):
    """A whole answer, or None where it became long."""
    rng, matcher, text = random.Random(seed), grammar.matcher(), bytearray()
    row = mask.allocate(1, BYTES.words)[0]
    for _ in range(300):
        matcher.fill(row)
        allowed = [int(i) for i in mask.to_ids(row)]
        text_ids = [i for i in allowed if i != END]
        if END in allowed and (len(allowed) == 1 or rng.random() < 0.4):
            return text.decode()
        closing = [i for i in text_ids if i in b'"}],']
        plain = [i for i in allowed if 32 <= i < 127]
        token = rng.choice(closing if closing and rng.random() < 0.35 else plain or text_ids)
        assert matcher.accept(token)
        text.append(token)
    return None


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_what_the_constraint_of_a_type_allows_is_a_value_of_it(kind):
    asked = apply_dtype(SglSamplingParams(dtype=kind), native=True)
    grammar = compile_constraint(JsonSchema(asked.json_schema), BYTES)
    texts = [text for seed in range(12) if (text := drawn(grammar, seed)) is not None]
    assert len(texts) >= 4
    adapter = TypeAdapter(kind)
    for text in texts:
        ours, theirs = parse_value(text, kind), adapter.validate_json(text)
        assert (type(ours), repr(ours)) == (type(theirs), repr(theirs)), text


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Pair, "an Enum's values must be text or numbers"),
        (complex, "complex numbers are nothing that a schema can say"),
        (type[int], "classes are nothing that a schema can say"),
        (Callable[[int], int], "Cannot generate a JsonSchema"),
        (pydantic.FutureDate, "now_op of a date"),
        (Annotated[datetime.date, Field(gt=datetime.date(2020, 1, 1))], "gt of a date"),
        (pydantic.Json, "JSON within text"),
        (re.Pattern, "nothing keeps text in the format 'regex'"),
        (pydantic.FilePath, "nothing keeps text in the format 'file-path'"),
        (list["Nobody"], "not fully defined"),  # noqa: F821
        ("Nobody", "is no type"),
        (Annotated[set[int], Field(min_length=3, max_length=2)], "cannot be obeyed"),
    ],
    ids=str,
)
def test_types_that_cannot_be_obeyed_are_refused_with_their_names(kind, why):
    with pytest.raises(TypeError, match=re.escape(why)) as told:
        apply_dtype(SglSamplingParams(dtype=kind), native=True)
    assert str(told.value).startswith("dtype=")


def test_what_a_validator_says_is_told():
    assert parse_value('{"a": 2}', Even) == Even(a=2)
    with pytest.raises(ProgramError, match=r"is not a Even: .*; .*odd numbers are not taken"):
        parse_value('{"a": 1}', Even)
    for text, kind in (('{"a": ', Even), ("15", pydantic.conint(multiple_of=7))):
        with pytest.raises(ProgramError, match="cut by max_tokens"):
            parse_value(text, kind)


def test_days_are_those_of_the_calendar():
    pattern = re.compile(json_schema_of(datetime.date)["pattern"])
    for year in (1, 4, 100, 400, 1900, 2000, 2023, 2024, 2100, 9999):
        for month in range(14):
            for day in (0, 1, 28, 29, 30, 31, 32):
                text = f"{year:04}-{month:02}-{day:02}"
                try:
                    is_day = bool(datetime.date(year, month, day))
                except ValueError:
                    is_day = False
                assert bool(pattern.search(text)) == is_day, text
    assert not pattern.search("0000-01-01")


def test_members_of_enums_in_literals_and_notes_are_values():
    assert parse_value("red", Literal[Color.RED]) is Color.RED
    assert parse_value("red", Annotated[Color, "note"]) is Color.RED
    assert parse_value("7", Annotated[int, "note"]) == 7
    assert convert(3, float | int) == 3
    assert type(convert(3, float | int)) is int
    assert convert(True, Literal[1, True]) is True


def test_without_pydantic_what_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(TypeError, match="install pydantic"):
        json_schema_of(dict[str, tuple[datetime.datetime, int, str]])
    assert parse_value('[{"x": 1}]', list[Plain]) == [Plain(1)]
