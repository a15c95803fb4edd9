"""GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1): one root an account, its resource is STORAGE.

- The own root has the empty name; that of a shared mailbox is the owner's part of its name.
- An account without a limit has no resource in its root (RFC 9208 §3.1.1: a resource without a limit is not listed).
"""

from __future__ import annotations

from server.domain.errors import NotFound
from server.domain.ids import AccountId
from server.imap.session import Result, Session, ok
from server.protocol.imap.format import format_astring, format_mailbox
from server.protocol.imap.quota import GetQuota, GetQuotaRoot
from server.services.mailstore.access import is_shared

OCTETS_A_UNIT = 1024
"""STORAGE is counted in these (RFC 9208 §5.1)."""


async def do_get_quota(session: Session, command: GetQuota) -> Result:
    """Only the roots of mailboxes the client can reach exist; SETQUOTA is the administrator's, by the API."""
    root = command.root.decode("utf-8", "replace")
    account_id = session.account_id
    if root:
        visible = await session.mailstore.access.visible(session.principal)
        owners = {f"{shared.owner}": shared.mailbox.account_id for shared in visible if "r" in shared.rights}
        if root not in owners:
            raise NotFound("no such quota root")
        account_id = owners[root]
    await _send_quota(session, account_id, root)
    return ok("GETQUOTA completed")


async def do_get_quota_root(session: Session, command: GetQuotaRoot) -> Result:
    place = await session.mailstore.access.place(session.principal, command.mailbox, "r")
    await session.mailstore.mailbox(place.account_id, place.name)
    root = place.prefix.removesuffix("/").rpartition("/")[2] if is_shared(command.mailbox) else ""
    name = format_mailbox(place.prefix + place.name, utf8=session.modes.utf8_names)
    session.send(b"* QUOTAROOT %s %s\r\n" % (name, _root(root)))
    await _send_quota(session, place.account_id, root)
    return ok("GETQUOTAROOT completed")


async def _send_quota(session: Session, account_id: AccountId, root: str) -> None:
    quota = await session.mailstore.quota(account_id)
    resources = b""
    if quota.limit_octets:
        used = -(-quota.used_octets // OCTETS_A_UNIT)
        resources = b"STORAGE %d %d" % (used, quota.limit_octets // OCTETS_A_UNIT)
    session.send(b"* QUOTA %s (%s)\r\n" % (_root(root), resources))


def _root(root: str) -> bytes:
    return format_astring(root.encode("utf-8")) if root else b'""'
