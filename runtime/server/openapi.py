"""GET /openapi.json: made from the route table and its msgspec structs when it is asked for."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ... import __version__
from .http import Answer, Request, json_response
from .route import Route
from .service import Service

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_TURNS = {"messages": [{"role": "user", "content": "Say hello."}]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**_TURNS, "max_tokens": 16},
    "/v1/completions": {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0},
    "/v1/responses": {"input": "Say hello.", "max_output_tokens": 16},
    "/v1/messages": {"model": "", **_TURNS, "max_tokens": 16},
    "/v1/messages/count_tokens": {"model": "", **_TURNS},
    "/v1/embeddings": {"input": "Hello"},
    "/v1/score": {"query": "Is the sky blue?", "items": [" Yes.", " No."], "label_token_ids": [1, 2]},
    "/generate": {"text": "The year is", "sampling_params": {"max_new_tokens": 8, "regex": " [0-9]{4}"}},
    "/score_choices": {"prompt_parts": ["The sky is"], "choices": [" blue", " green"]},
    "/encode": {"text": "Hello"},
    "/v1/cache/lookup": {"text": "The capital of France is"},
    "/tokenize": {"prompt": "Hello"},
    "/v1/tokenize": {"prompt": "Hello"},
    "/detokenize": {"tokens": [19556]},
    "/v1/detokenize": {"tokens": [19556]},
    "/v1/chat/completions/render": _TURNS,
    "/apply-template": _TURNS,
    "/api/chat": {**_TURNS, "stream": False, "options": {"num_predict": 16}},
    "/api/generate": {"prompt": "Say hello.", "stream": False, "options": {"num_predict": 16}},
    "/api/embed": {"input": "Hello"},
    "/api/show": {"model": ""},
    "/open_session": {"capacity_of_str_len": 1000},
}
"""Bodies that a server of text answers as they are; an empty model stands for the served one."""


def document(routes: list[Route], model: str = "") -> dict[str, Any]:
    """OpenAPI 3.1 of these routes. model: the name in the examples."""
    routes = [route for route in routes if route.is_listed]
    kinds = sorted({r.body for r in routes if r.body not in (None, dict)}, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    names = dict(zip(kinds, (kind.__name__ for kind in kinds), strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}")
        for method in route.methods:
            operation: dict[str, Any] = {
                "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}"),
                "summary": route.summary,
                "responses": {
                    "200": {"description": "The answer"},
                    "default": {"description": "An error", "content": {"application/json": {"schema": _ERROR}}},
                },
                "security": [] if route.is_open else [{"bearer": []}],
            }
            found = re.findall(r"\{(\w+)\}", path)
            if found:
                operation["parameters"] = [
                    {"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in found
                ]
            if route.body is not None and method != "GET":
                is_any = route.body is dict
                schema = {"type": "object"} if is_any else {"$ref": f"#/components/schemas/{names[route.body]}"}
                content: dict[str, Any] = {"schema": schema}
                if path in EXAMPLES:
                    content["example"] = {k: v or model if k == "model" else v for k, v in EXAMPLES[path].items()}
                operation["requestBody"] = {"required": True, "content": {"application/json": content}}
            paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "radixlang", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def with_programs(told: dict[str, Any], service: Service) -> dict[str, Any]:
    """The document with a route for each published program, typed by its arguments."""
    general = told["paths"].get("/programs/{name}")
    for name, program in service.published.items():
        content = {"application/json": {"schema": program.schema()}}
        told["paths"][f"/programs/{name}"] = {
            "post": {
                **general["post"],
                "operationId": f"post_programs_{name}",
                "summary": program.doc.split("\n")[0] or f"Run {name}",
                "parameters": [],
                "requestBody": {"required": True, "content": content},
            }
        }
    return told


def route_of(routes: list[Route]) -> Route:
    """The route that tells all of them, itself included."""

    async def openapi(service: Service, request: Request) -> Answer:
        return json_response(with_programs(document([*routes, own], service.model_name), service))

    own = Route(path="/openapi.json", handler=openapi, methods=("GET",), summary="This document")
    return own
