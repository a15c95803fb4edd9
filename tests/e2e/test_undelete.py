"""What IMAP deletes the postmaster brings back; tags of one side are keywords of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import compose, deliver, events, mailbox_of, read_mailbox, wait_for_mail

WHY = ("--reason", "asked me to")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A server with its API."""
    folder = tmp_path_factory.mktemp("served")
    with DaemonProcess(folder, accounts=3, roles=("smtp", "imap", "http")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def unused(served: DaemonProcess) -> Iterator[str]:
    return iter(served.addresses)


@pytest.fixture
def reader(unused: Iterator[str]) -> str:
    """An account's address that no other test has."""
    return next(unused)


def test_mail_deleted_over_imap_is_restored_and_seen_again(served: DaemonProcess, reader: str) -> None:
    octets = compose("x@example.org", reader, subject="Lost and found")
    deliver(served, octets, reader)
    wait_for_mail(served, reader, b"Lost and found")
    with mailbox_of(served, reader) as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", "(\\Deleted \\Flagged)")
        client.expunge()
    assert read_mailbox(served, reader) == []

    (lost,) = mairust_json(served, "message", "deleted", "list", "--account", reader, *WHY)
    assert (lost["subject"], lost["mailbox"]) == ("Lost and found", "INBOX")
    mairust(served, "message", "restore", lost["id"], *WHY)

    with mailbox_of(served, reader) as client:
        client.select("INBOX")
        _, lines = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
        head, body = next(line for line in lines if isinstance(line, tuple))
        assert b"UID 2 " in head, "an UID is never given twice"
        assert b"\\Flagged" in head
        assert b"\\Deleted" not in head
        assert body.endswith(octets)
    mairust(served, "message", "restore", lost["id"], *WHY, code=5)
    story = [row["type"] for row in events(served, trace_id=lost["trace_id"])]
    assert story[-2:] == ["message.deleted", "message.restored"]


def test_mail_of_a_deleted_mailbox_is_restored(served: DaemonProcess, reader: str) -> None:
    octets = compose("x@example.org", reader)
    with mailbox_of(served, reader) as client:
        client.create("Projects/Old")
        client.append("Projects/Old", "", "", octets)  # type: ignore[arg-type]
        client.delete("Projects/Old")
    (lost,) = mairust_json(served, "message", "deleted", "list", "--account", reader, *WHY)
    assert lost["mailbox"] == "Projects/Old"
    mairust(served, "message", "deleted", "restore", "--account", reader, "--all", "--yes", *WHY)
    assert read_mailbox(served, reader, "Projects/Old") == [octets]


def test_tags_and_keywords_are_one_thing(served: DaemonProcess, reader: str) -> None:
    """filtering.md section 9: set in IMAP, seen in the API, and the other way round."""
    deliver(served, compose("x@example.org", reader, subject="Tagged"), reader)
    wait_for_mail(served, reader, b"Tagged")
    with mailbox_of(served, reader) as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", "(Urgent $Forwarded)")

        (row,) = _messages(served, reader)
        assert row["tags"] == ["Urgent"]
        assert row["flags"]["forwarded"] is True
        mairust(served, "message", "tag", row["id"], "--tag", "invoice", "--tag", "Büro & Haus", *WHY)
        mairust(served, "message", "untag", row["id"], "--tag", "urgent", *WHY)
        client.noop()
        _, lines = client.fetch("1", "(FLAGS)")
        words = lines[0].decode().lower()  # type: ignore[union-attr]
        assert "invoice" in words
        assert " t_" in words, "a name that is no atom is stored as its hash"
        assert "urgent" not in words
    (row,) = _messages(served, reader)
    assert sorted(row["tags"]) == ["Büro & Haus", "invoice"]
    named = json.loads(mairust(served, "--json", "api", "GET", "/tags"))["items"]
    assert {"Urgent", "invoice", "Büro & Haus"} <= {tag["name"] for tag in named}


def _messages(served: DaemonProcess, reader: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mairust_json(served, "message", "list", reader, *WHY)
    return found
