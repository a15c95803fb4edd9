"""Change flags and keywords of messages; one unit of work each.

- A message whose flags stay the same keeps its modseq; nobody is told about it.
- Keywords are stored sorted and separated by spaces; two that differ in case only are one, the first spelling stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.domain.errors import InvalidInput
from server.domain.flags import ALL_FLAGS, FLAGGED, SEEN
from server.domain.ids import AccountId, MailboxId, ModSeq, Uid
from server.store import counters
from server.store.repositories import mailboxes, messages, tags
from server.store.transaction import Transaction

KEYWORDS_MAX = 50
"""Keywords of one message (filtering.md, tags)."""
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,100}')


class FlagChange(StrEnum):
    """What to do with the flags given."""

    SET = "set"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagsStored:
    """The outcome of a change.

    Attributes:
        modseq: The highest modseq of the messages that changed, None when none did.
        changed: UIDs whose flags are different now.
        modified: UIDs left alone because they changed after `unchanged_since` (RFC 7162 §3.1.3).
    """

    modseq: ModSeq | None
    changed: tuple[Uid, ...] = ()
    modified: tuple[Uid, ...] = ()


async def store_flags_in(
    tx: Transaction,
    *,
    account_id: AccountId,
    mailbox_id: MailboxId,
    uids: Sequence[int],
    change: FlagChange,
    flags: int,
    keywords: Sequence[str],
    unchanged_since: ModSeq | None = None,
    permitted: int = ALL_FLAGS,
) -> FlagsStored:
    """Change the flags of the messages that exist among `uids` (ascending).

    Args:
        permitted: The bits that may change (RFC 4314 §4, "STORE"); keywords change with the bits beside \\Seen and
            \\Deleted or not at all.

    Raises:
        InvalidInput: A keyword outside its grammar, or too many on one message.
    """
    words = _checked(keywords)
    modified: list[Uid] = []
    if unchanged_since is not None:
        bounds = (uids[0], uids[-1]) if uids else (1, 0)
        later = await messages.changed_between(tx, account_id, mailbox_id, unchanged_since, *bounds)
        modified = [Uid(uid) for uid in uids if uid in later]
        uids = [uid for uid in uids if uid not in later]
    new: list[tuple[Uid, int, str]] = []
    unseen = 0
    for state in await messages.states(tx, account_id, mailbox_id, uids):
        wanted = _new_flags(state.flags, flags & ALL_FLAGS, change)
        value = (state.flags & ~permitted) | (wanted & permitted)
        text = _new_keywords(state.keywords, words, change) if permitted & FLAGGED else state.keywords
        if value != state.flags or text != state.keywords:
            new.append((state.uid, value, text))
            unseen += (state.flags & SEEN) - (value & SEEN)
    if not new:
        return FlagsStored(modseq=None, modified=tuple(modified))
    modseq = await counters.next_modseq(tx, account_id)
    await messages.set_flags(tx, account_id, mailbox_id, modseq, new)
    await mailboxes.adjust(tx, account_id, mailbox_id, modseq=modseq, count=0, unseen=unseen, octets=0)
    if words and change is not FlagChange.REMOVE:
        await tags.note_keywords(tx, account_id, list(words.values()))
    return FlagsStored(modseq=modseq, changed=tuple(uid for uid, _, _ in new), modified=tuple(modified))


def flags_after(
    old_flags: int, old_keywords: str, change: FlagChange, *, flags: int, keywords: Sequence[str]
) -> tuple[int, str]:
    """Flags and keywords as a change makes them. Raises InvalidInput as `store_flags_in`."""
    value = _new_flags(old_flags, flags & ALL_FLAGS, change)
    return value, _new_keywords(old_keywords, _checked(keywords), change)


def format_stored_keywords(keywords: Iterable[str]) -> str:
    """Keywords as stored. Raises InvalidInput outside their grammar or beyond KEYWORDS_MAX."""
    return _joined(_checked(keywords))


def _checked(keywords: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for keyword in keywords:
        if _KEYWORD.fullmatch(keyword) is None:
            raise InvalidInput("a keyword holds characters it can't have, or is too long")
        found.setdefault(keyword.lower(), keyword)
    return found


def _joined(words: dict[str, str]) -> str:
    if len(words) > KEYWORDS_MAX:
        raise InvalidInput(f"a message has at most {KEYWORDS_MAX} keywords", code="limit")
    return " ".join(sorted(words.values()))


def _new_flags(old: int, flags: int, change: FlagChange) -> int:
    if change is FlagChange.ADD:
        return old | flags
    return old & ~flags if change is FlagChange.REMOVE else flags


def _new_keywords(old: str, words: dict[str, str], change: FlagChange) -> str:
    if change is not FlagChange.SET and not words:
        return old
    have = {word.lower(): word for word in old.split()}
    if change is FlagChange.SET:
        new = {key: have.get(key, word) for key, word in words.items()}
    elif change is FlagChange.ADD:
        new = words | have
    else:
        new = {key: word for key, word in have.items() if key not in words}
    return _joined(new)
