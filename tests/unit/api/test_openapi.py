"""The API's description: sound by itself, complete, and true to the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from api.openapi import document
from api.routing import Route, routes, scopes

DOCUMENT = document()
METHODS = {"get", "post", "put", "patch", "delete"}
ROUTES = [pytest.param(route, id=f"{route.method} {route.path}") for route in routes()]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_it_is_json() -> None:
    """It survives its own encoding."""
    assert msgspec.json.decode(msgspec.json.encode(DOCUMENT)) == DOCUMENT


def test_its_frame() -> None:
    """Version, title, server and the way to sign in are there (OpenAPI 3.1, 4.8.1)."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"]
    assert DOCUMENT["servers"] == [{"url": "/api/v1"}]
    assert set(DOCUMENT["security"][0]) <= set(DOCUMENT["components"]["securitySchemes"])


def test_every_reference_leads_somewhere() -> None:
    """No $ref is dangling, and no schema is there that nobody uses."""
    used = set(references(DOCUMENT))
    for reference in used:
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas <= used


def test_schemas_have_names_for_people() -> None:
    """Component names fit the specification's pattern (4.8.7.1)."""
    for name in DOCUMENT["components"]["schemas"]:
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_in_it(route: Route) -> None:
    """With its parameters, its body, its answer and its errors."""
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    given = {(one["in"], one["name"]) for one in operation["parameters"]}
    assert {("path", f"{kind}_id") for kind in route.kinds} == {one for one in given if one[0] == "path"}
    wanted = set() if route.query is None else set(route.query.model_fields)
    assert {name for place, name in given if place == "query"} == wanted
    assert ("requestBody" in operation) == (route.body is not None or route.streams)
    assert str(route.status if route.out else 204) in operation["responses"]
    assert {"401", "403", "404", "422", "429"} <= set(operation["responses"])
    assert operation["summary"].endswith(".")
    assert route.scope in operation["description"]


def test_nothing_else_is_in_it() -> None:
    """Every operation is a route, with a name of its own."""
    known = {(route.path, route.method.lower()) for route in routes()}
    found = {(path, method) for path, method, _ in operations()}
    assert found == known
    names = [operation["operationId"] for *_, operation in operations()]
    assert len(names) == len(set(names))
    assert {method for _, method in found} <= METHODS


def test_parameters_stand_in_their_paths() -> None:
    """Every {name} of a path is declared, and required."""
    for path, _, operation in operations():
        declared = {one["name"]: one for one in operation["parameters"] if one["in"] == "path"}
        assert set(re.findall(r"\{(\w+)\}", path)) == set(declared)
        assert all(one["required"] for one in declared.values())


def test_what_is_taken_is_closed() -> None:
    """No body takes members that are not in its schema (mass assignment)."""
    for route in routes():
        if route.body is not None:
            assert route.body.model_json_schema()["additionalProperties"] is False
            assert not {"workspace_id", "id", "role"} & set(route.body.model_fields)


def test_scopes() -> None:
    """Reading needs a read scope, changing a write scope; what only looks may POST a long question."""
    assert all(re.fullmatch(r"[a-z]+:(read|write)", scope) for scope in scopes())
    looking = {"/flows/check", "/segments/count", "/conversations/{conversation_id}/replay"}
    for route in routes():
        if route.method == "GET" or route.path in looking:
            assert route.scope.endswith(":read"), route.path
        else:
            assert route.scope.endswith(":write"), route.path
