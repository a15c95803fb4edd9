"""IMAP's keys of text, answered by the full-text index (RFC 9051 §6.4.4).

- An answer is exact: the index holds the very terms that a scan of the message would make (`protocol.mime.document`).
- What waits for the index is told apart, on the same snapshot: the caller reads those messages.
- A damaged index helps nobody: it is reported, and the caller reads all messages until it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.domain.ids import AccountId, MailboxId
from server.domain.search import ANY_FIELD, Phrase, SearchField
from server.protocol.imap.search_keys import BodyKey, HeaderKey
from server.protocol.mime.document import HEADER_FIELDS
from server.protocol.mime.terms import make_phrase
from server.services.mailstore.match import Candidates, TextKey
from server.store.database import Database
from server.store.errors import SearchIndexDamaged
from server.store.repositories import search
from server.store.transaction import Transaction


class StoredTextIndex:
    """Implements `services.mailstore.search.TextIndex`.

    Args:
        damaged: Called when a query shows that the index is damaged.
    """

    def __init__(self, database: Database, damaged: Callable[[], None]) -> None:
        self._database = database
        self._damaged = damaged

    async def candidates(self, account_id: AccountId, mailbox_id: MailboxId, key: TextKey) -> Candidates | None:
        """What the index knows of a key; None when it can't help: other fields, and text without a word."""
        asked = _asked(key)
        if asked is None:
            return None
        phrase, fields = asked

        async def unit(tx: Transaction) -> Candidates:
            waiting = await search.unindexed(tx, account_id, mailbox_id)
            found = await search.uids_with(tx, account_id, mailbox_id, phrase, fields)
            return Candidates(uids=found - waiting, unindexed=waiting, exact=True)

        try:
            return await self._database.read("search.candidates", unit)
        except SearchIndexDamaged:
            self._damaged()
            return None


def _asked(key: TextKey) -> tuple[Phrase, Sequence[SearchField]] | None:
    phrase = make_phrase(key.text, open_end=True)
    if not phrase.terms:
        return None
    match key:
        case HeaderKey(name):
            field = HEADER_FIELDS.get(name.encode("ascii", "replace"))
            return None if field is None else (phrase, (field,))
        case BodyKey(_, header):
            return phrase, ANY_FIELD if header else (SearchField.BODY,)
