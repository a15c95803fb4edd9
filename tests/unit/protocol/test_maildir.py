"""Names of the Maildir format."""

from __future__ import annotations

import pytest

from server.domain.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from server.protocol.maildir import flags_of, folder_of, format_keywords, info_of, mailbox_of, parse_keywords


def test_flags_stand_behind_the_colon() -> None:
    assert flags_of("1.M2P3.host:2,DFRST", {}) == (DRAFT | FLAGGED | ANSWERED | SEEN | DELETED, ())
    assert flags_of("1.host,S=3:2,Sab", {0: "$Label1"}) == (SEEN, ("$Label1",))
    assert flags_of("1.host", {}) == (0, ())
    assert flags_of("1.host;2,S", {}) == (SEEN, ())


@pytest.mark.parametrize(
    ("folders", "mailbox"),
    [
        ([], "INBOX"),
        ([".Sent"], "Sent"),
        ([".Sent.2024"], "Sent/2024"),
        (["Sent", "2024"], "Sent/2024"),
        ([".Entw&APw-rfe"], "Entwürfe"),
        ([".Entwürfe"], "Entwürfe"),
        ([".a&b"], "a&b"),
    ],
)
def test_folders_are_mailboxes(folders: list[str], mailbox: str) -> None:
    assert mailbox_of(folders) == mailbox


@pytest.mark.parametrize("mailbox", ["INBOX", "Sent/2024", "Entwürfe", "a&b/c"])
def test_mailboxes_are_folders_and_back(mailbox: str) -> None:
    folder = folder_of(mailbox)
    assert mailbox_of([folder] if folder else []) == mailbox


def test_keywords_have_letters() -> None:
    letters = {"$Label1": 0, "work": 25}
    assert parse_keywords(format_keywords(letters)) == {0: "$Label1", 25: "work"}
    assert flags_of("x:" + info_of(SEEN, ["work", "other"], letters), {25: "work"}) == (SEEN, ("work",))
    assert parse_keywords(b"99 x\nnothing\n\xff\xff") == {}
