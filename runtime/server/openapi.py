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


def document(routes: list[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    kinds = sorted({r.body for r in routes if r.body is not None}, key=lambda kind: kind.__name__)
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
                schema = {"$ref": f"#/components/schemas/{names[route.body]}"}
                operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
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
        return json_response(with_programs(document([*routes, own]), service))

    own = Route(path="/openapi.json", handler=openapi, methods=("GET",), summary="This document")
    return own
