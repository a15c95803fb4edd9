"""`mairust mailbox` and `mairust message`: what they ask, and what they refuse to do without a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Mairust
from tests.cli.fake_api import PREFIX, FakeApi, message, uuid

ID = uuid(0x801)
WHY = ("--reason", "ticket 2211")


def test_reading_mail_needs_a_reason_which_a_terminal_is_asked_for(mairust: Mairust, api: FakeApi) -> None:
    refused = mairust("message", "list", "anna@example.com")
    assert refused.code == 2
    assert "--reason" in refused.err
    assert not api.requests
    asked = mairust("message", "list", "anna@example.com", tty=True, stdin="lost mail\n")
    assert asked.code == 0
    assert api.requests[-1].query["reason"] == "lost mail"


def test_list_shows_sender_flags_and_tags(mairust: Mairust) -> None:
    text = mairust("message", "list", "anna@example.com", *WHY, "-o", "table").out
    assert text.splitlines()[0].split() == ["ID", "AGE", "FLAGS", "FROM", "SUBJECT", "TAGS", "SIZE"]
    assert "NF" in text
    assert "to do" in text


def test_list_of_a_folder_asks_by_its_id(mairust: Mairust, api: FakeApi) -> None:
    assert mairust("message", "list", "anna@example.com", "--mailbox", "inbox", "--unseen", *WHY).code == 0
    assert api.requests[-1].query["mailbox_id"] == uuid(0xB00)
    assert api.requests[-1].query["seen"] == "false"
    assert mairust("message", "list", "anna@example.com", "--mailbox", "Nope", *WHY).code == 3


def test_show_is_the_message_as_a_person_reads_it(mairust: Mairust) -> None:
    lines = mairust("message", "show", ID, *WHY, "-o", "table").out.splitlines()
    assert lines[0] == "From: Bob <bob@bigmail.example>"
    assert "Attachment 0: a.pdf, application/pdf, 5 octets" in lines
    assert lines[-1] == "Dear Anna"
    assert json.loads(mairust("message", "show", ID, *WHY, "--json").out)["id"] == ID


def test_text_of_a_message_can_not_write_to_the_terminal(mairust: Mairust, api: FakeApi) -> None:
    api.state.messages = [message(1, text="\x1b]0;owned\x07", subject="\x1b[2J")]
    assert "\x1b" not in mairust("message", "show", ID, *WHY, "-o", "table").out


def test_source_is_written_octet_by_octet(mairust: Mairust, tmp_path: Path) -> None:
    assert mairust("message", "source", ID, *WHY).out == "Subject: raw\r\n\r\nbody\r\n"
    target = tmp_path / "mail.eml"
    assert mairust("message", "source", ID, "--out", str(target), *WHY).code == 0
    assert target.read_bytes() == b"Subject: raw\r\n\r\nbody\r\n"
    assert mairust("message", "source", ID, "--out", "/nonexistent/x", *WHY).code == 1


def test_a_tail_needs_the_account(mairust: Mairust) -> None:
    assert mairust("message", "show", ID[-8:], *WHY).code == 2
    assert mairust("message", "show", ID[-8:], "--account", "anna@example.com", *WHY).code == 0
    assert mairust("message", "show", "<m2@example.com>", "--account", "anna@example.com", *WHY).code == 0


def test_flags_tags_and_moves_send_what_was_asked(mairust: Mairust, api: FakeApi) -> None:
    path = f"{PREFIX}/messages/{ID}"
    assert mairust("message", "flags", ID, "--seen", "--no-flagged", *WHY).code == 0
    assert api.sent("PATCH", f"{path}/flags") == [{"seen": True, "flagged": False}]
    assert mairust("message", "flags", ID, *WHY).code == 2
    assert mairust("message", "tag", ID, "--tag", "a", "--tag", "b", "--only", *WHY).code == 0
    assert api.sent("PUT", f"{path}/tags") == [{"tags": ["a", "b"]}]
    assert mairust("message", "untag", ID, "--tag", "a", *WHY).code == 0
    assert api.sent("DELETE", f"{path}/tags") == [{"tags": ["a"]}]
    assert mairust("message", "move", ID, "--to", "Archive", *WHY).code == 0
    assert api.sent("POST", f"{path}/move") == [{"mailbox_id": uuid(0xB01)}]


def test_delete_asks_first_and_restore_brings_back(mairust: Mairust, api: FakeApi) -> None:
    assert mairust("message", "delete", ID, *WHY).code == 2
    assert mairust("message", "delete", ID, *WHY, "--yes").code == 0
    assert api.sent("DELETE", f"{PREFIX}/messages/{ID}") == [None]
    assert mairust("message", "restore", ID, *WHY).code == 0
    assert api.sent("POST", f"{PREFIX}/deleted-messages/{ID}/restore") == [{}]


def test_restore_of_all_that_match_is_counted_first(mairust: Mairust, api: FakeApi) -> None:
    base = ("message", "deleted", "restore", "--account", "anna@example.com", *WHY)
    assert mairust(*base).code == 2
    assert mairust(*base, "--query", "offer").code == 2
    done = mairust(*base, "--query", "offer", "--yes")
    assert done.code == 0
    assert "Offer 2211" in done.err
    assert len([one for one in api.requests if one.path.endswith("/restore")]) == 2


def test_search_shows_the_messages_it_finds(mairust: Mairust, api: FakeApi) -> None:
    shown = mairust("mailbox", "search", "anna@example.com", "from:bob x", *WHY, "-o", "table")
    assert shown.code == 0
    assert shown.out.splitlines()[0].split()[:5] == ["ID", "AGE", "FLAGS", "FROM", "SUBJECT"]
    assert api.requests[-1].query["q"] == "from:bob x"
    found = json.loads(mairust("mailbox", "search", "anna@example.com", "x", *WHY, "--json").out)
    assert found[0]["highlights"]["subject"] == "<mark>x</mark>"


def test_the_index_is_asked_made_anew_and_checked(mairust: Mairust, api: FakeApi) -> None:
    assert "indexed 2 of 3; 1 wait" in mairust("mailbox", "index", "-o", "table").out
    assert "3 mails wait" in mairust("mailbox", "reindex", "--account", "anna@example.com", "-o", "table").out
    assert api.requests[-1].body == {"account_id": "anna@example.com"}
    assert "2 documents checked" in mairust("mailbox", "reindex", "--verify", "-o", "table").out
    assert api.requests[-1].body == {"verify": True}


def test_a_list_of_mail_fits_80_columns(mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.messages = [message(1, subject="A long subject that goes on and on, past every edge " * 2)]
    monkeypatch.setenv("COLUMNS", "80")
    lines = mairust("message", "list", "anna@example.com", *WHY, "--no-pager", tty=True).out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[1].startswith(ID[-8:])
    assert "A long subj" in lines[1]
    assert ID in mairust("message", "list", "anna@example.com", *WHY, "-o", "wide").out


def test_the_index_is_checked_as_a_whole(mairust: Mairust, api: FakeApi) -> None:
    refused = mairust("mailbox", "reindex", "--verify", "--account", "anna@example.com")
    assert refused.code == 2
    assert "try: mairust mailbox reindex --verify" in refused.err
    assert not api.requests
