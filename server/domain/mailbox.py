"""A mailbox of an account as listings and sessions see it (RFC 9051 §2.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.ids import AccountId, MailboxId, ModSeq, Uid, UidValidity
from server.domain.message import SpecialUse

DELIMITER = "/"
NOTHING_PURGED = ModSeq(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """One row; counts are of messages that are not expunged.

    Attributes:
        name: The full path in NFC, levels joined by DELIMITER.
        recent_uid: UIDs below it were \\Recent in an earlier session.
        modseq: The highest modseq of any of its messages.
        purged_modseq: Rows of messages expunged up to here may be gone.
    """

    id: MailboxId
    account_id: AccountId
    name: str
    role: SpecialUse | None
    subscribed: bool
    uidvalidity: UidValidity
    uidnext: Uid
    recent_uid: Uid
    total: int
    unseen: int
    size_octets: int
    modseq: ModSeq
    purged_modseq: ModSeq = NOTHING_PURGED
