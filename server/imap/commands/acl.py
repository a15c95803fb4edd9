"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3).

- Identifiers are addresses of accounts of the same tenant, and `anyone`; the owner's rights are all, and fixed.
- The right `a` is needed for all but MYRIGHTS, which needs any right that lets a client know of the mailbox.
"""

from __future__ import annotations

from typing import assert_never

from server.domain.errors import Forbidden, NotFound
from server.domain.rights import ADMINISTER, ALL_RIGHTS, ANYONE, ordered, shown
from server.imap.session import Result, Session, no, ok
from server.protocol.imap.acl import AclVerb, OnAcl, RightsChange, SetAcl
from server.protocol.imap.format import format_astring, format_mailbox
from server.services.mailstore.access import Place, address_key, owner_of

_KNOWING = "lrikxa"
"""RFC 4314 §4: any of these is enough for MYRIGHTS."""


async def do_set_acl(session: Session, command: SetAcl) -> Result:
    place = await _administered(session, command.mailbox)
    access = session.mailstore.access
    key = _key(command.identifier)
    have = next((grant.rights for grant in await access.grants(place) if grant.name == key), "")
    match command.change:
        case RightsChange.ADD:
            rights = ordered(have + command.rights)
        case RightsChange.REMOVE:
            rights = "".join(right for right in have if right not in command.rights)
        case RightsChange.REPLACE:
            rights = command.rights
        case _:
            assert_never(command.change)
    await access.set_rights(place, key, rights)
    return ok("SETACL completed")


async def do_on_acl(session: Session, command: OnAcl) -> Result:
    if command.verb is AclVerb.MYRIGHTS:
        return await _my_rights(session, command)
    place = await _administered(session, command.mailbox)
    name = _shown_name(session, place)
    match command.verb:
        case AclVerb.GETACL:
            lines = [(owner_of(place, session.principal), ALL_RIGHTS)]
            lines += [(grant.name, grant.rights) for grant in await session.mailstore.access.grants(place)]
            pairs = b"".join(b" %s %s" % (_text(who), _text(shown(rights))) for who, rights in lines)
            session.send(b"* ACL %s%s\r\n" % (name, pairs))
        case AclVerb.LISTRIGHTS:
            await session.mailstore.mailbox(place.account_id, place.name)
            is_owner = _key(command.identifier) == owner_of(place, session.principal)
            rights = _text(shown(ALL_RIGHTS)) if is_owner else b'"" ' + b" ".join(map(_text, ALL_RIGHTS))
            session.send(b"* LISTRIGHTS %s %s %s\r\n" % (name, _text(command.identifier), rights))
        case AclVerb.DELETEACL:
            await session.mailstore.access.set_rights(place, _key(command.identifier), "")
        case _:
            return no("Not possible", b"CANNOT")
    return ok(f"{command.verb} completed")


async def _my_rights(session: Session, command: OnAcl) -> Result:
    place = await session.mailstore.access.place(session.principal, command.mailbox, "")
    if not any(right in place.rights for right in _KNOWING):
        raise NotFound("no such mailbox")
    await session.mailstore.mailbox(place.account_id, place.name)
    session.send(b"* MYRIGHTS %s %s\r\n" % (_shown_name(session, place), _text(shown(place.rights))))
    return ok("MYRIGHTS completed")


async def _administered(session: Session, mailbox: str) -> Place:
    return await session.mailstore.access.place(session.principal, mailbox, ADMINISTER)


def _key(identifier: str) -> str:
    """The form in which identifiers are kept. Raises NotFound, and Forbidden for negative rights (RFC 4314 §2)."""
    if identifier.startswith("-"):
        raise Forbidden("negative rights are not kept")
    return ANYONE if identifier == ANYONE else address_key(identifier)


def _shown_name(session: Session, place: Place) -> bytes:
    return format_mailbox(place.prefix + place.name, utf8=session.modes.utf8_names)


def _text(text: str) -> bytes:
    return format_astring(text.encode("utf-8"))
