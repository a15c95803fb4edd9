"""The API's own document, as a judge of what the client sends and reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.cli.fake_api import Request

DOCUMENT = Path(__file__).resolve().parents[2] / "server" / "api" / "openapi.json"


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return found


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["components"]["schemas"][name]
    return found


def faults(requests: Iterable[Request]) -> list[str]:
    """Requests that the document does not know: their route, a query parameter, or a field of the body."""
    return [fault for request in requests for fault in _faults(request)]


def _faults(request: Request) -> list[str]:
    operation = _operation(request.method.lower(), request.path)
    here = f"{request.method} {request.path}"
    if operation is None:
        return [f"{here}: no such route"]
    parameters = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    found = [f"{here}: query parameter {name}" for name in request.query if name not in parameters]
    body = operation.get("requestBody")
    if body is None:
        return found + ([f"{here}: takes no body"] if request.body else [])
    fields = _fields(next(iter(body["content"].values()))["schema"])
    return found + [f"{here}: field {name}" for name in request.body or () if name not in fields]


def _operation(method: str, path: str) -> Mapping[str, Any] | None:
    """The operation of a path; a literal segment is a better match than a parameter."""
    candidates = []
    for template, operations in document()["paths"].items():
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
        if method in operations and re.fullmatch(pattern, path):
            candidates.append((template.count("{"), template))
    return document()["paths"][min(candidates)[1]][method] if candidates else None


def _fields(node: Mapping[str, Any]) -> set[str]:
    """The properties of an object schema, through references and alternatives."""
    if "$ref" in node:
        return _fields(schema(node["$ref"].rsplit("/", 1)[1]))
    found = set(node.get("properties", ()))
    for alternative in (*node.get("oneOf", ()), *node.get("anyOf", ()), *node.get("allOf", ())):
        found |= _fields(alternative)
    return found


def sample(name: str) -> dict[str, Any]:
    """An object of a schema with every field set."""
    found: dict[str, Any] = _sample({"$ref": f"/{name}"}, name)
    return found


def _sample(node: Mapping[str, Any], key: str) -> Any:
    if "$ref" in node:
        return _sample(schema(node["$ref"].rsplit("/", 1)[1]), key)
    for alternative in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        if alternative.get("type") != "null":
            return _sample(alternative, key)
    if "enum" in node:
        return node["enum"][0]
    match node.get("type"):
        case "object":
            return {name: _sample(inner, name) for name, inner in node.get("properties", {}).items()}
        case "array":
            return [_sample(node["items"], key)]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case _:
            return "2026-11-22T12:14:03.000Z" if key.endswith("_at") or key in ("time", "not_after") else f"<{key}>"
