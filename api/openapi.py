"""The API's description (OpenAPI 3.1), made from the routes and their models, at `/api/v1/openapi.json`."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.models import Problem, id_pattern
from api.once import HEADER
from api.routing import Route, routes
from domain.access import access

VERSION = "1"
_REF = "#/components/schemas/{model}"
_PROBLEMS = {
    "400": "Cannot be read",
    "401": "No valid key",
    "403": "The key lacks the scope",
    "404": "No such thing in this workspace",
    "409": "Not possible as things are",
    "413": "Too large",
    "422": "Something does not fit",
    "429": "Too many requests",
    "503": "Not possible for now",
}


@access("public")
async def describe(request: web.Request) -> web.Response:
    """The document."""
    return web.Response(body=_encoded(), content_type="application/json", charset="utf-8")


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The whole description."""
    models: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    for route in routes():
        models += [(route.body, "validation")] if route.body else []
        models += [(route.out, "serialization")] if route.out else []
    references, schemas = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes():
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Passaparola",
            "version": VERSION,
            "description": "Ids are text with a prefix, times are milliseconds since 1970 UTC, pages are {data, next}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            **schemas_of(schemas),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "ppk_…"}},
            "responses": {status: _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


def schemas_of(schemas: dict[str, Any]) -> dict[str, Any]:
    """The shared schemas, as `components` holds them."""
    return {"schemas": schemas.get("$defs", {})}


def _operation(route: Route, references: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Scope `{route.scope}`.",
        "tags": [route.path.strip("/").split("/")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            str(route.status if route.out else 204): _success(route, references),
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _PROBLEMS},
        },
    }
    if route.body is not None:
        schema = references[route.body, "validation"]
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif route.streams:
        schema = {"type": "string", "contentMediaType": "application/octet-stream"}
        made["requestBody"] = {"required": True, "content": {"*/*": {"schema": schema}}}
    return made


def _success(route: Route, references: Any) -> dict[str, Any]:
    if route.out is None:
        return {"description": "Done"}
    return {
        "description": "Done",
        "content": {"application/json": {"schema": references[route.out, "serialization"]}},
    }


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{kind}_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": id_pattern(kind)},
        }
        for kind in route.kinds
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": one.get("description", ""),
            "schema": {key: value for key, value in one.items() if key not in ("title", "description")},
        }
        for name, one in schema.get("properties", {}).items()
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if route.method != "POST" or route.streams:
        return []
    return [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "description": "The request happens once under this key; a repetition gets the same answer for a day",
            "schema": {"type": "string", "maxLength": 255},
        }
    ]


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
