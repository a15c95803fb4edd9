"""The metrics of the daemon, one object each (api.md §9).

- Labels are bounded words of ours, never a peer's text.
- Code that counts often binds its labels once: `SMTP_OPEN = SMTP_OPEN_CONNECTIONS.labels("smtp")`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SLOW_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(namespace="mairust", registry=REGISTRY)


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(name, doc, labels, namespace="mairust", registry=REGISTRY)


def _gauge(name: str, doc: str, *labels: str) -> Gauge:
    return Gauge(name, doc, labels, namespace="mairust", registry=REGISTRY)


def _histogram(name: str, doc: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, doc, labels, namespace="mairust", registry=REGISTRY, buckets=buckets)


SMTP_CONNECTIONS = _counter("smtp_connections", "Connections taken.", "listener")
SMTP_OPEN_CONNECTIONS = _gauge("smtp_open_connections", "Connections open now.", "listener")
SMTP_ERRORS = _counter("smtp_errors", "Replies of 400 and above.", "listener", "code")
SMTP_MESSAGES = _counter("smtp_messages", "Transactions that reached the final dot.", "listener", "verdict")
SMTP_DURATION = _histogram("smtp_duration_seconds", "Time from the final dot, by stage.", _FAST_S, "stage")
COMMIT_DURATION = _histogram("commit_duration_seconds", "Time of one group commit.", _FAST_S)

IMAP_CONNECTIONS = _gauge("imap_connections", "IMAP connections open now.")
IMAP_COMMANDS = _counter("imap_commands", "IMAP commands answered.", "command", "result")

POP3_CONNECTIONS = _gauge("pop3_connections", "POP3 connections open now.")
MANAGESIEVE_CONNECTIONS = _gauge("managesieve_connections", "ManageSieve connections open now.")

AUTH_ATTEMPTS = _counter("auth_attempts", "Logins tried.", "protocol", "result")
BANS_ACTIVE = _gauge("bans_active", "Networks banned now.")

QUEUE_LENGTH = _gauge("queue_length", "Deliveries in the queue.", "status")
QUEUE_OLDEST = _gauge("queue_oldest_seconds", "Age of the oldest waiting delivery.")
DELIVERY_ATTEMPTS = _counter("delivery_attempts", "Attempts to deliver.", "result", "tls")
DELIVERY_DURATION = _histogram("delivery_duration_seconds", "Time of one attempt.", _SLOW_S)
OUTBOUND = _counter("outbound", "Messages queued.", "origin")

API_REQUESTS = _counter("api_requests", "HTTP requests answered.", "route", "method", "status")
API_DURATION = _histogram("api_duration_seconds", "Time of one HTTP request.", _FAST_S, "route")

STORAGE_BYTES = _gauge("storage_bytes", "Octets stored.", "kind")
STORAGE_LIMIT_BYTES = _gauge("storage_limit_bytes", "Octets the file system holds.")
BLOB_ERRORS = _counter("blob_errors", "Blob operations that failed.", "op")
DATABASE_DURATION = _histogram("database_duration_seconds", "Time of one unit of work.", _FAST_S, "op")

SEARCH_PENDING = _gauge("search_pending", "Mails that wait for the search index.")

TLS_EXPIRY = _gauge("tls_expiry_seconds", "Time until the served certificate ends.", "port")
EVENTS_SEQ = _gauge("events_seq", "Number of the newest event.")
LOOP_LAG = _histogram("loop_lag_seconds", "How late the event loop runs what is due.", _FAST_S)
LOG_DROPPED = _counter("log_dropped", "Log lines dropped because the reader was too slow.")
BUILD_INFO = _gauge("build_info", "1, with the version as label.", "version")


def render() -> bytes:
    """All metrics in Prometheus' text form, of type `CONTENT_TYPE`."""
    return generate_latest(REGISTRY)
