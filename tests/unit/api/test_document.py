"""The description: made from the handlers, committed, complete, and shown without a third party."""

from __future__ import annotations

import json
import re
from importlib import resources

from server.api.app import CONTROLLERS
from server.api.document import openapi_text
from server.api.guards import NEEDS
from tests.support.api import Api


def committed() -> str:
    return resources.files("server.api").joinpath("openapi.json").read_text(encoding="utf-8")


def test_committed_description_is_what_the_handlers_make() -> None:
    """Regenerate with: mairustd openapi > server/api/openapi.json"""
    assert committed() == openapi_text()


def test_every_route_is_described_and_declares_its_scope() -> None:
    described = {
        operation["operationId"] for item in json.loads(committed())["paths"].values() for operation in item.values()
    }
    handlers = [
        getattr(controller, name)
        for controller in CONTROLLERS
        for name in dir(controller)
        if hasattr(getattr(controller, name), "operation_id")
    ]
    assert len(handlers) > 50
    for handler in handlers:
        assert handler.operation_id in described
        assert NEEDS in handler.opt


def test_operation_ids_are_unique() -> None:
    found = re.findall(r'"operationId": "([^"]+)"', committed())
    assert len(found) == len(set(found))


def test_references_resolve() -> None:
    text = committed()
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)


async def test_description_is_served_as_committed(api: Api) -> None:
    answer = await api.tcp("GET", "/openapi.json")
    assert answer.body.decode() == committed()


async def test_pages_need_no_third_party(api: Api) -> None:
    page = await api.tcp("GET", "/docs")
    assert page.status == 200
    text = page.body.decode()
    for path in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert path.startswith("/docs/")
        assert (await api.tcp("GET", path)).status == 200
    assert "<script>" not in text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert (await api.tcp("GET", "/docs/../api/v1/tenants")).status in (401, 404)
    assert (await api.tcp("GET", "/docs/openapi.json")).status == 404
