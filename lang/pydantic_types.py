"""Types that pydantic reads: its models, and what dtype.py does not know by itself, such as dates and bounds.

A schema says all that makes a value valid, as far as JSON schemas can; a type of which one cannot is refused here, when
a program is traced, and not when an answer turns out to be wrong. Validators of one's own are the exception: their
refusals are told as those of a gen's `check` are.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import GrammarError
from .closed_schema import closed_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

_OPEN_FORMATS = frozenset({"binary", "password", "path"})
"""Every text is valid in these."""
_KEYS = {
    "int": r"^(0|-?[1-9][0-9]{0,17})$",
    "bool": "^(true|false)$",
    "float": r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,14})?$",
}
"""Names of properties that are read as such."""
_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "(?!0000)(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = {"aware": "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])", "naive": ""}
_SPAN = (
    "-?P(?:[0-9]{1,6}D|(?:[0-9]{1,6}D)?T(?:[0-9]{1,2}H(?:[0-5]?[0-9]M)?(?:[0-5]?[0-9]S)?|[0-5]?[0-9]M(?:[0-5]?[0-9]S)?"
    r"|[0-5]?[0-9](?:\.[0-9]{1,6})?S))"
)
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-%s[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TEXTS = frozenset({"date", "datetime", "decimal", "time", "timedelta"})
"""What is read from text of a pattern."""
_BOUNDS = ("gt", "ge", "lt", "le", "now_op", "multiple_of")


class Adapter:
    """One type."""

    def __init__(self, kind: Any, inner: TypeAdapter[Any]) -> None:
        self.inner = inner
        self.schema = _schema(kind, inner)

    def read(self, text: str) -> Any:
        """The value of JSON text. Raises ValueError (pydantic's)."""
        return self.inner.validate_json(text)


def adapter_of(kind: Any) -> Adapter:
    """What reads values of this type. Raises TypeError that says what is wrong with the type."""
    return _known(kind) if isinstance(kind, Hashable) else _made(kind)


@lru_cache(maxsize=256)
def _known(kind: Any) -> Adapter:
    return _made(kind)


def _made(kind: Any) -> Adapter:
    try:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError
    except ImportError:
        raise TypeError(
            f"dtype={kind!r}: no JSON schema is known for this type without pydantic; install pydantic, or take a "
            "dataclass of int, float, bool, str, Literal, Enum, list, dict and tuple"
        ) from None
    try:
        return Adapter(kind, TypeAdapter(kind))
    except (PydanticUserError, NameError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise TypeError(f"dtype={kind!r}: no JSON schema is known for this type: {why}") from error


def _schema(kind: Any, inner: TypeAdapter[Any]) -> dict[str, Any]:
    """Of a type, checked to be one that is obeyed."""
    from ..constrained.constraint import JsonSchema
    from ..constrained.translate import check_constraint

    schema: dict[str, Any] = _without_versions(inner.json_schema(schema_generator=_generator()))
    try:
        ignored = check_constraint(JsonSchema(closed_text(schema)))
    except GrammarError as error:
        raise TypeError(f"dtype={kind!r} cannot be obeyed: {error.message}; change the type") from error
    for pointer in ignored:
        found = _at(schema, pointer)
        if isinstance(found, str) and found not in _OPEN_FORMATS:
            raise TypeError(
                f"dtype={kind!r} cannot be obeyed: nothing keeps text in the format {found!r} (at {pointer}); take str "
                "with a pattern, and convert it yourself"
            )
    return schema


def _without_versions(schema: Any) -> Any:
    """With patterns for the versions of a UUID, which are formats that only pydantic knows."""
    if isinstance(schema, list):
        return list(map(_without_versions, schema))
    if not isinstance(schema, dict):
        return schema
    found = re.fullmatch("uuid([1-8])", str(schema.get("format")))
    if found is not None and schema.get("type") == "string":
        return {**schema, "format": "uuid", "pattern": f"^{_UUID % found[1]}$"}
    return {name: _without_versions(value) for name, value in schema.items()}


@lru_cache(maxsize=1)
def _generator() -> type[GenerateJsonSchema]:
    """Pydantic's schemas, with patterns where they would allow what pydantic refuses."""
    from pydantic.errors import PydanticInvalidForJsonSchema
    from pydantic.json_schema import GenerateJsonSchema

    def text(schema: Any, pattern: str) -> dict[str, Any]:
        bound = next((name for name in _BOUNDS if schema.get(name) is not None), None)
        if bound is not None:
            raise PydanticInvalidForJsonSchema(f"{bound} of a {schema['type']} is nothing that a schema can say")
        return {"type": "string", "pattern": f"^{pattern}$"}

    class Generator(GenerateJsonSchema):
        def dict_schema(self, schema: Any) -> dict[str, Any]:
            made, keys = super().dict_schema(schema), schema.get("keys_schema", {})
            pattern = _KEYS.get(keys.get("type"))
            if keys.get("type") in _TEXTS:
                pattern = self.generate_inner(keys)["pattern"]
            return made if pattern is None else {**made, "propertyNames": {"pattern": pattern}}

        def date_schema(self, schema: Any) -> dict[str, Any]:
            return text(schema, _DATE)

        def time_schema(self, schema: Any) -> dict[str, Any]:
            return text(schema, _TIME + _zone(schema))

        def datetime_schema(self, schema: Any) -> dict[str, Any]:
            return text(schema, f"{_DATE}T{_TIME}{_zone(schema)}")

        def timedelta_schema(self, schema: Any) -> dict[str, Any]:
            return text(schema, _SPAN)

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            digits, places = schema.get("max_digits"), schema.get("decimal_places")
            if any(schema.get(name) is not None for name in _BOUNDS) and digits is None and places is None:
                # Far below what overflows.
                asked: Any = {"type": "float", **{name: schema[name] for name in _BOUNDS if name in schema}}
                return {"minimum": -1e15, "maximum": 1e15, **self.float_schema(asked)}
            places = (12 if digits is None else digits - 1) if places is None else places
            whole = 12 if digits is None else digits - places
            begin = "0" if whole <= 0 else f"(?:0|[1-9][0-9]{{0,{whole - 1}}})"
            return text(schema, f"-?{begin}" + (f"(?:\\.[0-9]{{1,{places}}})?" if places else ""))

        def complex_schema(self, schema: Any) -> dict[str, Any]:
            raise PydanticInvalidForJsonSchema("complex numbers are nothing that a schema can say")

        def is_subclass_schema(self, schema: Any) -> dict[str, Any]:
            raise PydanticInvalidForJsonSchema("classes are nothing that a schema can say")

        def json_schema(self, schema: Any) -> dict[str, Any]:
            raise PydanticInvalidForJsonSchema("JSON within text is nothing that a schema can say; take Any")

    return Generator


def _zone(schema: Any) -> str:
    return _ZONE.get(schema.get("tz_constraint"), f"{_ZONE['aware']}?")


def _at(schema: Any, pointer: str) -> Any:
    for step in pointer.lstrip("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        schema = schema[int(name)] if isinstance(schema, list) else schema.get(name)
        if schema is None:
            return None
    return schema
