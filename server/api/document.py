"""The API's description, made from the handlers (OpenAPI 3.1); committed as `openapi.json` and served from there.

- What the framework derives is completed: security, problem answers, the tenant form of tenant-scoped paths, and the
  path forms that the product's first documents printed.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig

from server.api.app import CONTROLLERS, DEPENDENCIES
from server.api.guards import NEEDS
from server.api.paths import PREFIX, TENANT_ROOTS
from server.api.problems import MEDIA_TYPE, Problem

_METHODS = ("get", "post", "put", "patch", "delete")
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
Json = dict[str, Any]


def openapi_text() -> str:
    """The description as it is committed: sorted keys, two spaces, a final line feed."""
    encoded = msgspec.json.encode(document(), order="sorted")
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def document() -> Json:
    """The whole description."""
    app = Litestar(
        route_handlers=list(CONTROLLERS),
        dependencies=_nothing(),
        openapi_config=OpenAPIConfig(title="MaiRust", version="v1", path="/unserved"),
        logging_config=None,
    )
    described: Json = app.openapi_schema.to_schema()
    described["openapi"] = "3.1.0"
    described["info"] = {
        "title": "MaiRust API",
        "version": "1",
        "description": "The mail server's whole administration. Errors are problem objects (RFC 9457).",
    }
    needs = _needs()
    paths: Json = {}
    for path, item in sorted(described["paths"].items()):
        if path.startswith("/unserved"):
            continue
        for method in _METHODS:
            if method in item:
                _complete(item[method], needs[item[method]["operationId"]])
        paths[path] = item
        for form, suffix in _forms(path):
            paths[form] = _in_tenant(item, suffix, with_tenant="{tenant_id}" in form)
    described["paths"] = paths
    described["servers"] = [{"url": "/"}]
    components = described.setdefault("components", {})
    components.setdefault("schemas", {}).update(_problem_schemas())
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, mk_..."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    return described


def _nothing() -> dict[str, Provide]:
    """Dependencies as the routes name them, giving nothing: the description needs their names only."""
    return {name: Provide(lambda: None, sync_to_thread=False) for name in DEPENDENCIES}


def _needs() -> dict[str, str]:
    """Scope of each operation id, empty for public ones."""
    found: dict[str, str] = {}
    for controller in CONTROLLERS:
        for name in dir(controller):
            handler = getattr(controller, name)
            opt = getattr(handler, "opt", None)
            if isinstance(opt, dict) and NEEDS in opt:
                found[str(handler.operation_id)] = opt[NEEDS]
    return found


def _complete(operation: Json, scope: str) -> None:
    """Add security and the shape of errors; drop what the framework assumes about failures."""
    responses: Json = {code: answer for code, answer in operation["responses"].items() if code < "400"}
    responses["default"] = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": _PROBLEM_REF}}}
    operation["responses"] = responses
    operation["security"] = [{"bearer": []}, {"apiKey": []}] if scope else []
    if scope:
        operation["x-scope"] = scope
    operation.pop("deprecated", None)


def _forms(path: str) -> list[tuple[str, str]]:
    """Other paths of the same route, each with a suffix for its operation ids."""
    forms = []
    root = path.removeprefix(PREFIX + "/").partition("/")[0]
    if path.startswith(PREFIX + "/") and root in TENANT_ROOTS:
        forms.append((path.replace(PREFIX, PREFIX + "/tenants/{tenant_id}", 1), "in_tenant"))
    if path == PREFIX + "/send":
        forms.append(("/tenants/{tenant_id}/send", "as_first_printed"))
    if path in (PREFIX + "/tenants", PREFIX + "/tenants/{ref}"):
        forms.append((path.replace(PREFIX, "/admin", 1), "as_first_printed"))
    return forms


def _in_tenant(item: Json, suffix: str, *, with_tenant: bool) -> Json:
    copied = copy.deepcopy(item)
    for method in _METHODS:
        if method in copied:
            operation = copied[method]
            operation["operationId"] = f"{operation['operationId']}_{suffix}"
            if with_tenant:
                tenant = {
                    "name": "tenant_id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                    "description": "The tenant's id or name.",
                }
                operation["parameters"] = [tenant, *operation.get("parameters", [])]
    return copied


def _problem_schemas() -> Json:
    _, schemas = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    return schemas
