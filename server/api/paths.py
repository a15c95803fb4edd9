"""The forms in which one route can be asked for (api.md §1).

- `/api/v1/tenants/{tenant}/P` is `/api/v1/P` in that tenant; `/admin/tenants...` and `/tenants/{tenant}/send` are the
  forms the product's first documents printed.
"""

from __future__ import annotations

PREFIX = "/api/v1"
TENANT_ROOTS = frozenset(
    {
        "tenant",
        "usage",
        "domains",
        "domain-aliases",
        "accounts",
        "aliases",
        "api-keys",
        "queue",
        "trace",
        "events",
        "send",
        "submissions",
        "audit",
    }
)
"""First segments that exist below a tenant."""


def resolve(path: str) -> tuple[str, str | None]:
    """The route's own path, and the tenant that the asked path names."""
    if path.startswith("/admin/tenants"):
        path = PREFIX + path.removeprefix("/admin")
    elif path.startswith("/tenants/") and path.count("/") == 3 and path.endswith("/send"):
        path = PREFIX + path
    if path.startswith(PREFIX + "/tenants/"):
        tenant, slash, rest = path.removeprefix(PREFIX + "/tenants/").partition("/")
        if slash and rest.partition("/")[0] in TENANT_ROOTS:
            return f"{PREFIX}/{rest}", tenant
    return path, None
