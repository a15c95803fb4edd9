"""A small API on a Unix socket: enough state for every command, and scripted answers on top."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PREFIX = "/api/v1"
TIME = "2026-11-22T12:14:03.000Z"


def uuid(number: int) -> str:
    return f"019ab{number:03x}-0000-7000-8000-0000{number:08x}"


def delivery(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": uuid(0x700 + number),
        "submission_id": uuid(0x600 + number),
        "from": "anna@example.com",
        "recipient": f"bob{number}@bigmail.example",
        "domain": "bigmail.example",
        "kind": "remote",
        "status": "deferred",
        "hold_reason": "",
        "attempts": 5,
        "next_attempt_at": TIME,
        "expires_at": TIME,
        "created_at": TIME,
        "last_reply": {"code": 421, "enhanced": "4.7.28", "text": "rate limited", "host": "mx1.bigmail.example"},
        "subject": "Offer 2211",
        "size_bytes": 48 << 10,
        "trace_id": uuid(0x900 + number),
        **changes,
    }


def trace(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "trace_id": uuid(0x900 + number),
        "sender": "anna@example.com",
        "recipients": [f"bob{number}@bigmail.example"],
        "subject": "Offer 2211",
        "time": TIME,
        "summary": "Deferred: the receiver limits our rate.",
        "message_id_header": f"<m{number}@example.com>",
        "timeline": [
            {"seq": 1, "time": TIME, "component": "submission", "event": "accepted", "verdict": "accepted"},
            {
                "seq": 2,
                "time": TIME,
                "component": "delivery",
                "event": "attempt",
                "verdict": "deferred",
                "detail": "mx1.bigmail.example",
                "reply": "421 4.7.28 rate limited",
            },
        ],
        "next_command": "mairust queue list",
        "final": False,
        **changes,
    }


def message(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": uuid(0x800 + number),
        "account_id": uuid(0x200),
        "mailbox_ids": [uuid(0xB00)],
        "message_id_header": f"<m{number}@example.com>",
        "subject": "Offer 2211",
        "from": [{"name": "Bob", "address": "bob@bigmail.example"}],
        "to": [{"name": "", "address": "anna@example.com"}],
        "date": TIME,
        "received_at": TIME,
        "size_bytes": 48 << 10,
        "flags": {"seen": False, "flagged": True},
        "tags": ["to do"],
        "trace_id": uuid(0x900 + number),
        "text": "Dear Anna\n",
        "attachments": [{"index": 0, "filename": "a.pdf", "content_type": "application/pdf", "size_bytes": 5}],
        "deleted_at": TIME,
        "mailbox": "INBOX",
        **changes,
    }


STATUS: dict[str, Any] = {
    "hostname": "mail.example.com",
    "version": "0.1.0",
    "started_at": TIME,
    "health": "healthy",
    "uptime_s": 522_000,
    "database": "sqlite",
    "counts": {"tenants": 1, "domains": 3, "accounts": 41},
    "today": {"in": 1204, "out": 611, "refused": 3870},
    "queue": {"length": 12, "oldest_s": 7300},
    "listeners": [{"name": "smtp", "port": 25}, {"name": "imaps", "port": 993}],
    "disk": {"used_percent": 38, "total_bytes": 80 << 30},
    "tls": {"not_after": "2036-11-22T00:00:00Z"},
    "warnings": [{"id": "BACKUP", "text": "no backup yet", "try": "mairust doctor"}],
}


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class State:
    """What the fake server knows; tests change it freely."""

    domains: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {
                "id": uuid(0x100 + n),
                "name": name,
                "status": "active",
                "dkim": [{"selector": "r202611", "algorithm": "rsa-2048", "state": "active"}],
                "created_at": TIME,
            }
            for n, name in enumerate(("example.com", "example.org"))
        ]
    )
    accounts: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {
                "id": uuid(0x200),
                "address": "anna@example.com",
                "display_name": "Anna",
                "role": "owner",
                "status": "active",
                "quota_bytes": 5 << 30,
                "used_bytes": 1 << 30,
                "last_login_at": TIME,
            }
        ]
    )
    aliases: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": uuid(0x300), "address": "sales@example.com", "targets": ["anna@example.com"], "enabled": True}
        ]
    )
    second_names: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": uuid(0x310), "name": "second.example", "domain_id": uuid(0x100)}]
    )
    keys: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": uuid(0x400), "name": "website", "prefix": "mk_abc", "scopes": ["mail:send"]}]
    )
    app_passwords: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": "0000-9f31c2aa", "name": "laptop", "protocols": ["imap"], "last_used_at": TIME},
            {"id": uuid(0x401), "name": "phone", "protocols": ["smtp", "imap"]},
        ]
    )
    connections: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": f"0000-{tail}", "address": "anna@example.com", "protocol": "imap", "ip": "192.0.2.7", "since": TIME}
            for tail in ("9f31c2aa", "5d1e02ab")
        ]
    )
    bans: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": "0000-9f31c2aa", "network": "198.51.100.0/24", "reason": "too many failed logins"},
            {"id": uuid(0x402), "network": "192.0.2.0/24", "reason": "", "created_at": TIME},
        ]
    )
    tenants: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": uuid(0x500), "name": "default", "display_name": "", "status": "active"}]
    )
    queue: list[dict[str, Any]] = field(default_factory=lambda: [delivery(1), delivery(2, status="held")])
    pauses: list[dict[str, Any]] = field(default_factory=list)
    mailboxes: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": uuid(0xB00 + n), "name": name, "role": name.lower(), "total": 2, "unread": 1, "size_bytes": 96 << 10}
            for n, name in enumerate(("INBOX", "Archive"))
        ]
    )
    messages: list[dict[str, Any]] = field(default_factory=lambda: [message(1), message(2)])
    traces: list[dict[str, Any]] = field(default_factory=lambda: [trace(1), trace(2)])
    events: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {
                "seq": n,
                "id": uuid(n),
                "type": kind,
                "time": TIME,
                "severity": severity,
                "data": {"recipient": "bob@bigmail.example"},
            }
            for n, kind, severity in ((1, "message.received", "info"), (2, "delivery.deferred", "warning"))
        ]
    )
    status: dict[str, Any] = field(default_factory=lambda: dict(STATUS))
    checks: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": "DISK", "severity": "ok", "subject": "/", "found": "38 %", "wanted": ""}]
    )
    bulk_failed: int = 0
    jobs: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {
                "id": f"{uuid(0xB00)[:-8]}5d1e02aa",
                "kind": "import_imap",
                "status": "succeeded",
                "account_id": uuid(0x200),
                "done": 12,
                "total": 12,
                "added": 10,
                "skipped": 2,
                "failed": 0,
                "changed": 0,
                "place": "INBOX",
                "errors": [],
                "created_at": TIME,
            }
        ]
    )


class FakeApi:
    """The server; `requests` holds what came in, `answers` what to say instead."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.state = State()
        self.requests: list[Request] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.delay_s = 0.0
        self.page_size = 200
        self.closed = False
        self._server = _Server(str(socket), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop as a daemon does: nothing more is accepted or answered."""
        if self.closed:
            return
        self.closed = True
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.socket.unlink(missing_ok=True)

    def fail(self, method: str, path: str, status: int, code: str, detail: str = "because", **more: Any) -> None:
        self.answers[(method, path)] = (
            status,
            {"title": code, "status": status, "code": code, "detail": detail, **more},
        )

    def sent(self, method: str, path: str) -> list[Any]:
        return [request.body for request in self.requests if (request.method, request.path) == (method, path)]

    def respond(self, request: Request) -> tuple[int, Any]:
        if self.delay_s and request.path.startswith(PREFIX):
            time.sleep(self.delay_s)
        self.requests.append(request)
        path = request.path.removeprefix(PREFIX)
        if (request.method, path) in self.answers:
            return self.answers[(request.method, path)]
        if path.startswith("/health"):
            return 200, {"status": "healthy"}
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "tenants" and len(parts) > 2 and parts[2] not in ("suspend", "activate", "restore"):
            parts = parts[2:]
        handler: Callable[[Request, list[str]], tuple[int, Any]] | None = getattr(
            self, f"_{parts[0].replace('-', '_')}", None
        )
        return handler(request, parts[1:]) if handler else _missing()

    def _collection(self, request: Request, rest: list[str], rows: list[dict[str, Any]], key: str) -> tuple[int, Any]:
        if not rest:
            if request.method == "GET":
                return 200, self._page(request, rows)
            if any(row[key] == request.body.get(key) for row in rows):
                return 409, {"title": "exists already", "status": 409, "code": "conflict", "detail": request.body[key]}
            made = {"id": uuid(0xF00 + len(rows)), "status": "active", **request.body}
            made.pop("password", None)
            rows.append(made)
            return 201, made
        found = next((row for row in rows if rest[0] in (row["id"], row[key])), None)
        if found is None:
            return _missing()
        if request.method == "DELETE":
            rows.remove(found)
            return 204, None
        if request.method == "PATCH":
            found.update(request.body)
        return 200, found

    def _page(self, request: Request, rows: list[dict[str, Any]]) -> dict[str, Any]:
        start = int(request.query.get("cursor", 0))
        size = min(int(request.query.get("limit", 50)), self.page_size)
        more = start + size < len(rows)
        page: dict[str, Any] = {"items": rows[start : start + size], "next_cursor": str(start + size) if more else None}
        if request.query.get("count") == "true":
            page["total"] = len(rows)
        return page

    def _domains(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest[1:] == ["dns"] and request.query.get("format") == "zone":
            return 200, f"{rest[0]}.\t3600\tIN\tMX\t10 mail.example.com.\n".encode()
        if rest[1:] == ["dns"]:
            return 200, [
                {
                    "type": "MX",
                    "name": rest[0],
                    "value": "10 mail.example.com.",
                    "ttl": 3600,
                    "purpose": "receiving",
                    "state": "missing",
                },
                {
                    "type": "TXT",
                    "name": rest[0],
                    "value": '"v=spf1 mx ~all"',
                    "ttl": 3600,
                    "purpose": "SPF",
                    "state": "ok",
                },
            ]
        if rest[1:] == ["check"]:
            return 200, {"checks": self.state.checks, "verified": True}
        status, answer = self._collection(request, rest, self.state.domains, "name")
        if status == 201:
            answer["dkim"] = [{"selector": "r1", "algorithm": "rsa-2048"}, {"selector": "e1", "algorithm": "ed25519"}]
        return status, answer

    def _accounts(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest[1:] in (["password"], ["sessions"], ["sieve-deactivate"]):
            return 204, None
        if rest[1:2] in (["vacation"], ["forward"], ["filters"], ["sieve"]) or rest[1:] in (
            ["sieve-check"],
            ["sieve-test"],
        ):
            return self._account_filters(request, rest[1:])
        if rest[1:2] == ["app-passwords"]:
            status, answer = self._collection(request, rest[2:], self.state.app_passwords, "name")
            return status, {**answer, "password": "abcd-efgh"} if status == 201 else answer
        if rest[1:2] == ["grants"]:
            grant = {"mailbox": "Projects", "grantee": "ben@example.com", "rights": "lrs"}
            if request.method == "DELETE":
                return 204, None
            return 200, grant if request.method == "PUT" else {"items": [grant]}
        if rest[1:2] == ["send-grants"]:
            if request.method == "DELETE":
                return 204, None
            right = {"grantee": "ben@example.com"}
            return 200, right if request.method == "PUT" else {"items": [right]}
        return self._collection(request, rest, self.state.accounts, "address")

    def _account_filters(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "DELETE" or rest[2:] == ["activate"]:
            return 204, None
        given = request.body or {}
        if rest == ["sieve"]:
            return 200, {"items": [{"name": "main", "active": True}]}
        if rest[0] == "sieve":
            return 200, {"name": rest[1], "active": False, "content": "keep;", "warnings": [], **given}
        answers: dict[str, dict[str, Any]] = {
            "vacation": {"enabled": True, "text": "x", "subject": "s", "from": None, "until": None, "days": 7},
            "forward": {"targets": ["a@elsewhere.example"], "keep_copy": True},
            "filters": {"rules": [{"name": "r", "enabled": True, "conditions": [], "actions": [{"type": "flag"}]}]},
            "sieve-check": {"warnings": ["it does nothing"]},
            "sieve-test": {"actions": ["keep in INBOX"], "failed": False},
        }
        return 200, {**answers[rest[0]], **given}

    def _sieve_scripts(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "DELETE":
            return 204, None
        row = {"name": "virus", "place": "before", "size_bytes": 5, "updated_at": TIME, "content": "keep;"}
        return 200, {**row, **(request.body or {})} if rest else {"items": [row]}

    def _domain_aliases(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._collection(request, rest, self.state.second_names, "name")

    def _aliases(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._collection(request, rest, self.state.aliases, "address")

    def _tenants(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._collection(request, rest, self.state.tenants, "name")

    def _api_keys(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest[1:] == ["rotate"]:
            return 200, {"id": rest[0], "name": "website", "key": "mk_new_secret"}
        status, answer = self._collection(request, rest, self.state.keys, "name")
        return status, {**answer, "key": "mk_made_secret"} if status == 201 else answer

    def _connections(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._collection(request, rest, self.state.connections, "id")

    def _bans(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "POST":
            self.state.bans = [row for row in self.state.bans if row["network"] != request.body["network"]]
        return self._collection(request, rest, self.state.bans, "network")

    def _queue(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest == ["stats"]:
            counts = [{"value": "deferred", "count": 1234}]
            return 200, {"by_status": counts, "by_domain": counts, "by_reason": [], "oldest_at": TIME}
        if rest == ["bulk"]:
            rows = self.state.queue
            failed = 0 if request.body["dry_run"] else self.state.bulk_failed
            return 200, {"count": len(rows), "done": len(rows) - failed, "failed": failed, "samples": rows[:3]}
        if rest and rest[0] == "pauses":
            return self._pauses(request, rest[1:])
        if rest[1:] == ["attempts"]:
            return 200, {
                "items": [{"at": TIME, "host": "mx1.bigmail.example", "tls": "TLS 1.3", "code": 421, "text": "wait"}]
            }
        if len(rest) == 2:
            return (200, {}) if any(row["id"] == rest[0] for row in self.state.queue) else _missing()
        return self._collection(request, rest, self.state.queue, "id")

    def _usage(self, _request: Request, _rest: list[str]) -> tuple[int, Any]:
        domain = {"name": "example.com", "accounts": 1, "used_bytes": 1 << 30, "quota_bytes": 0}
        return 200, {"accounts": 1, "domains": 1, "messages": 9, "storage_bytes": 1 << 30, "by_domain": [domain]}

    def _mailboxes(self, _request: Request, _rest: list[str]) -> tuple[int, Any]:
        return 200, {"items": self.state.mailboxes, "next_cursor": None}

    def _search(self, _request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest == ["status"]:
            counts = {"indexed": 2, "pending": 1, "total": 3}
            return 200, {"engine": "sqlite", "available": True, "indexed_through": TIME, **counts}
        if rest == ["reindex"]:
            return 202, {"pending": 3, "checked": 2, "wrong": 0, "damaged": False}
        marks = {"subject": "<mark>x</mark>", "preview": None}
        hits = [{"message": row, "highlights": marks} for row in self.state.messages]
        return 200, {"items": hits, "next_cursor": None, "took_ms": 1, "indexed_through": TIME}

    def _messages(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if not rest:
            return 200, self._page(request, self.state.messages)
        found = next((row for row in self.state.messages if row["id"] == rest[0]), None)
        if found is None:
            return _missing()
        if rest[1:] == ["raw"]:
            return 200, b"Subject: raw\r\n\r\nbody\r\n"
        return (204, None) if request.method == "DELETE" and len(rest) == 1 else (200, found)

    def _deleted_messages(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._messages(request, rest[:1]) if rest else (200, self._page(request, self.state.messages))

    def _pauses(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if request.method == "POST":
            made = {"id": uuid(0xA00), **request.body}
            self.state.pauses.append(made)
            return 201, made
        if request.method == "DELETE":
            self.state.pauses.clear()
            return 204, None
        return 200, {"items": self.state.pauses, "next_cursor": None}

    def _trace(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest:
            ids = [r["trace_id"] for r in self.state.queue if rest[0] in (r["id"], r["submission_id"])] or rest
            found = next((row for row in self.state.traces if row["trace_id"] == ids[0]), None)
            return (200, found) if found else _missing()
        wanted, header = request.query.get("address"), request.query.get("message_id_header")
        rows = [
            {key: value for key, value in row.items() if key not in ("timeline", "next_command")}
            for row in self.state.traces
            if (wanted is None or wanted in (row["sender"], *row["recipients"]))
            and (header is None or header == row["message_id_header"])
        ]
        return 200, self._page(request, rows)

    def _jobs(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        return self._collection(request, rest[:1], self.state.jobs, "id")

    def _events(self, request: Request, _rest: list[str]) -> tuple[int, Any]:
        newest = max((row["seq"] for row in self.state.events), default=0)
        after = int(request.query.get("after", newest))
        rows = [row for row in self.state.events if row["seq"] > after][: int(request.query["limit"])]
        return 200, {"items": rows, "next_after": rows[-1]["seq"] if rows else max(after, newest), "oldest": 1}

    def _system(self, _request: Request, rest: list[str]) -> tuple[int, Any]:
        return (200, self.state.status) if rest == ["status"] else (200, {"version": "0.1.0"})

    def _doctor(self, _request: Request, _rest: list[str]) -> tuple[int, Any]:
        return 200, {"checks": self.state.checks}

    def _settings(self, request: Request, rest: list[str]) -> tuple[int, Any]:
        if rest == ["reload"]:
            return 200, {"restart_required": ["server.smtp_port"]}
        if not rest:
            return 200, {"server": {"hostname": "mail.example.com"}}
        return (200, {"key": rest[0], "value": "mail.example.com"}) if rest[0] != "server.nope" else _missing()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A command that hangs up early is no fault of the server."""


def _missing() -> tuple[int, Any]:
    return 404, {"title": "not found", "status": 404, "code": "not_found", "detail": "no such object"}


def _handler_for(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if api.closed:
                self.close_connection = True
                return
            parts = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=unquote(parts.path),
                query=dict(parse_qsl(parts.query)),
                body=json.loads(body) if body else None,
                headers=dict(self.headers),
            )
            status, answer = api.respond(request)
            octets = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Request-Id", self.headers.get("X-Request-Id", ""))
            if status != 204:
                self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `requests` instead."""

    return Handler
