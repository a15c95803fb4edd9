"""The forms in which one route can be asked for (api.md §1).

- `/api/v1/tenants/{tenant}/P` is `/api/v1/P` in that tenant; `/admin/tenants...` and `/tenants/{tenant}/send` are the
  forms the product's first documents printed.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.services.upkeep.uploads import PIECE_SLACK

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Routes whose body is not JSON: by first and last segment, with media types and octets beyond the largest mail.

    Attributes:
        keeps_key: Whether an Idempotency-Key counts: the body is then held in memory, to be compared.
    """

    root: str
    leaf: str
    media_types: tuple[str, ...]
    slack_octets: int = 0
    keeps_key: bool = False

    def takes(self, path: str) -> bool:
        return path.startswith(f"{PREFIX}/{self.root}") and path.endswith(self.leaf)


UPLOADS = (
    Upload(root="messages", leaf="/messages", media_types=("message/rfc822",), keeps_key=True),
    Upload(
        root="imports/",
        leaf="/pieces",
        media_types=("application/mbox", "application/x-tar"),
        slack_octets=PIECE_SLACK,
    ),
)
TENANT_ROOTS = frozenset(
    {
        "tenant",
        "usage",
        "domains",
        "domain-aliases",
        "accounts",
        "aliases",
        "api-keys",
        "app-passwords",
        "mailboxes",
        "messages",
        "deleted-messages",
        "threads",
        "tags",
        "search",
        "categories",
        "queue",
        "trace",
        "events",
        "send",
        "submissions",
        "audit",
        "jobs",
        "imports",
        "exports",
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
