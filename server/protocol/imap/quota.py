"""GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208 §4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.imap.cursor import Cursor
from server.protocol.imap.names import parse_mailbox


@dataclass(frozen=True, slots=True)
class GetQuota:
    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot:
    mailbox: str


def parse_get_quota(cursor: Cursor) -> GetQuota:
    """getquota = "GETQUOTA" SP quota-root-name"""
    cursor.space()
    return GetQuota(cursor.astring())


def parse_get_quota_root(cursor: Cursor) -> GetQuotaRoot:
    """getquotaroot = "GETQUOTAROOT" SP mailbox"""
    cursor.space()
    return GetQuotaRoot(parse_mailbox(cursor))
