"""Answers about grants."""

from __future__ import annotations

from server.api.schemas.common import Output
from server.domain.rights import Grant


class GrantOut(Output, frozen=True, kw_only=True):
    """`grantee` is an address or `anyone`; `rights` are letters of RFC 4314."""

    mailbox: str
    grantee: str
    rights: str

    @classmethod
    def of(cls, grant: Grant) -> GrantOut:
        return cls(mailbox=grant.mailbox, grantee=grant.name, rights=grant.rights)


class GrantsOut(Output, frozen=True, kw_only=True):
    items: list[GrantOut]


class SendGrantOut(Output, frozen=True, kw_only=True):
    """`grantee` is the primary address of the account that may send."""

    grantee: str


class SendGrantsOut(Output, frozen=True, kw_only=True):
    items: list[SendGrantOut]
