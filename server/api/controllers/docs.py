"""The API's description and its reader, from files in the package (product.md 18).

- No third-party request: the page's policy allows this origin and nothing else. Swagger UI sets style attributes, so
  inline styles are allowed on this page; scripts are not.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from litestar import Controller, Response, get
from litestar.params import FromPath

from server.api.dependencies import CurrentSettings
from server.api.guards import PUBLIC
from server.domain.errors import NotFound

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Frame-Options": "DENY"}
_FILES = {
    "swagger-ui.css": ("swagger/swagger-ui.css", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}


class DocsController(Controller):
    tags = ("description",)

    @get("/openapi.json", operation_id="get_openapi", opt=PUBLIC)
    async def get_openapi(self) -> Response[bytes]:
        """This description (OpenAPI 3.1)."""
        return Response(_file("openapi.json"), media_type="application/json")

    @get("/docs", operation_id="get_docs", opt=PUBLIC)
    async def get_docs(self, settings: CurrentSettings) -> Response[bytes]:
        """The description for people."""
        _check_on(settings().api.swagger)
        return Response(_file("static/docs.html"), media_type="text/html; charset=utf-8", headers=_HEADERS)

    @get("/docs/{name:str}", operation_id="get_docs_file", opt=PUBLIC)
    async def get_docs_file(self, settings: CurrentSettings, name: FromPath[str]) -> Response[bytes]:
        """A file of the page."""
        _check_on(settings().api.swagger)
        if name not in _FILES:
            raise NotFound("no such file")
        path, kind = _FILES[name]
        return Response(_file(f"static/{path}"), media_type=kind, headers={"Cache-Control": "max-age=3600"})


def _check_on(swagger: bool) -> None:
    if not swagger:
        raise NotFound("the pages are off (api.swagger)")


@lru_cache(8)
def _file(path: str) -> bytes:
    return resources.files("server.api").joinpath(path).read_bytes()
