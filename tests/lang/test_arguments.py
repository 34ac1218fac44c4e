"""Schemas of arguments: definitions of several types under one root."""

import datetime
import json
from typing import Annotated

from pydantic import BaseModel, Field, create_model

from radixlang.constrained.constraint import JsonSchema, StructuralTag
from radixlang.constrained.translate import check_constraint
from radixlang.lang.arguments import arguments_schema
from radixlang.lang.tools import Tool, tool_fields


class Inner(BaseModel):
    a: int


class Outer(BaseModel):
    inner: Inner
    more: list[Inner] = []


Other = create_model("Other", inner=(create_model("Inner", z=(str, ...)), ...))


def test_references_lead_to_what_they_meant():
    schema = arguments_schema({"m": Outer, "n": Other, "o": Outer, "k": int}, ["m"])
    assert set(schema["$defs"]) == {"Inner", "Inner_2"}
    assert schema["properties"]["m"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}
    assert schema["properties"]["n"]["properties"]["inner"] == {"$ref": "#/$defs/Inner_2"}
    assert "z" in schema["$defs"]["Inner_2"]["properties"]
    check_constraint(JsonSchema(json.dumps(schema)))
    assert "$defs" not in arguments_schema({"k": int}, [])


def test_tools_take_models_dates_and_bounds():
    def f(m: Outer, n: Other, day: datetime.date, k: Annotated[int, Field(ge=1, le=3)] = 2):
        return m, n, day, k

    def g(m: Outer):
        return m

    tools = [Tool(f), Tool(g)]
    assert check_constraint(JsonSchema(tool_fields(tools, "required")["json_schema"])) == ()
    assert check_constraint(JsonSchema(tool_fields(tools, "f")["json_schema"])) == ()
    assert check_constraint(StructuralTag(tool_fields(tools, "auto")["structural_tag"])) == ()
    assert tools[0].parameters["properties"]["k"]["maximum"] == 3
    given = {"m": {"inner": {"a": 1}}, "n": {"inner": {"z": "q"}}, "day": "2024-02-29"}
    m, n, day, k = tools[0].run(given)
    assert (m, n.inner.z, day, k) == (Outer(inner=Inner(a=1)), "q", datetime.date(2024, 2, 29), 2)
