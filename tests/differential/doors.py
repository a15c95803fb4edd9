"""The same mailbox as POP3 and the API show it."""

from __future__ import annotations

import json
import poplib
import re
import socket
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.differential.session import Session
from tests.fault.clients import unverified
from tests.support.daemon_process import HOST, PASSWORD, DaemonProcess

Shown = Counter[tuple[str, frozenset[str]]]
"""How many messages of that subject with these flags."""
_NAMES = {"seen": "\\Seen", "answered": "\\Answered", "flagged": "\\Flagged", "draft": "\\Draft"}


def pop3_uids(daemon: DaemonProcess, address: str) -> list[int]:
    """UIDs of INBOX by UIDL, whose unique ids end in them."""
    client = poplib.POP3_SSL(HOST, daemon.ports.pop3s, context=unverified(), timeout=60)
    client.user(address)
    client.pass_(PASSWORD)
    numbers = [int(line.split()[1].rpartition(b".")[2]) for line in client.uidl()[1]]
    client.quit()
    return numbers


async def by_imap(session: Session, mailbox: str) -> Shown:
    """What a session finds, in the API's words."""
    await session.select(mailbox)
    answer = await session.run(b"FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", may_expunge=False)
    shown: Shown = Counter()
    for line in answer.lines:
        subject = re.search(rb"Subject: (\d+)", line)
        uid = re.search(rb"UID (\d+)", line)
        if subject and uid:
            flags = session.picture.flags[int(uid[1])]
            shown[subject[1].decode(), frozenset(flag for flag in flags if flag in _NAMES.values())] += 1
    return shown


def by_api(socket_path: Path, account_id: str, mailbox: str) -> Shown:
    """What the API lists, page after page."""
    whose = {"account_id": account_id, "reason": "differential test"}
    boxes = _get(socket_path, "/api/v1/mailboxes", whose)["items"]
    mailbox_id = next(box["id"] for box in boxes if box["name"] == mailbox)
    shown: Shown = Counter()
    cursor = None
    while True:
        page = _get(
            socket_path,
            "/api/v1/messages",
            whose | {"mailbox_id": mailbox_id, "limit": 200} | ({"cursor": cursor} if cursor else {}),
        )
        for item in page["items"]:
            flags = frozenset(name for key, name in _NAMES.items() if item["flags"][key])
            shown[item["subject"], flags] += 1
        cursor = page["next_cursor"]
        if cursor is None:
            return shown


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def _get(socket_path: Path, path: str, query: dict[str, Any]) -> Any:
    connection = _Connection(socket_path)
    connection.request("GET", f"{path}?{urlencode(query)}")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return json.loads(body)


def account_id(socket_path: Path, address: str) -> str:
    return str(_get(socket_path, f"/api/v1/accounts/{address}", {})["id"])
