"""The fields of a request body that may ask for a constraint: the same in every API that takes bodies of JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from .fields import FoundConstraint, find_constraint


class ConstraintFields(msgspec.Struct, kw_only=True):
    """What `find_constraint` reads, by the names that clients of SGLang, OpenAI, Anthropic, vLLM and llama.cpp know."""

    response_format: Any = None
    output_format: Any = None
    output_config: Any = None
    regex: Any = None
    ebnf: Any = None
    json_schema: Any = None
    structural_tag: Any = None
    structured_outputs: Any = None
    guided_json: Any = None
    guided_json_object: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    guided_whitespace_pattern: Any = None
    grammar: Any = None
    gbnf: Any = None
    lark: Any = None
    choices: Any = None
    xml: Any = None
    whitespace: Any = None
    """White space of JSON: compact, fixed or flexible."""
    on_unsupported: Any = None
    """error, verify or narrow: what to do with a schema that no mask enforces."""
    close: Any = None
    """The constrained answer is complete when the tokens are used up."""


def asked_in(body: ConstraintFields) -> dict[str, Any]:
    """The fields that the body sets."""
    asked = {name: getattr(body, name) for name in ConstraintFields.__struct_fields__}
    return {name: value for name, value in asked.items() if value is not None}


def constraint_in(body: ConstraintFields) -> FoundConstraint | None:
    """The one constraint among all the fields; two are a GrammarError (conflicting_constraints)."""
    return find_constraint(asked_in(body))
