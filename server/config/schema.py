"""The configuration as frozen structs: one per YAML section, attribute names are the YAML keys.

- Every key of a capability that this build has, and no other (config.md §2).
- Each field's `Key` holds its reader, one sentence on its effect, and whether a reload applies it.
- Durations are float seconds, sizes int octets, lists tuples, networks `ipaddress` objects, secrets `Secret`.
- `load.py` fills what depends on the host: the hostname, and the paths below `server.state_dir`.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from server.config import kinds
from server.config.kinds import DAY, GIB, HOUR, KIB, MIB, MINUTE, Key, Network
from server.config.secret import Secret

STATE_DIR = Path("/var/lib/mairust")
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
COMPONENTS = frozenset(
    {"api", "auth", "daemon", "dns", "filter", "imap", "job", "library", "pop3", "queue", "reception"}
    | {"search", "sieve", "smtp", "storage", "submission", "tls", "trace"}
)
ROLES = ("smtp", "submission", "imap", "pop3", "sieve", "http", "queue", "jobs")

Role = Literal["smtp", "submission", "imap", "pop3", "sieve", "http", "queue", "jobs"]
LogLevel = Literal["debug", "info", "warning", "error"]

_PORT = kinds.integer(0, 65535)
_LEVEL = kinds.choice("debug", "info", "warning", "error")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A YAML map with known keys."""


class Server(Section, frozen=True, kw_only=True):
    """Name, listeners and process."""

    hostname: Annotated[
        str, Key(kinds.host_name, "Name in EHLO, Received, Message-ID and certificates; default: the system's", "str")
    ] = "localhost"
    roles: Annotated[
        tuple[Role, ...], Key(kinds.list_of(kinds.choice(*ROLES), low=1), "What runs in this process", "list str")
    ] = ("smtp", "submission", "imap", "pop3", "sieve", "http", "queue", "jobs")
    bind: Annotated[
        tuple[str, ...],
        Key(kinds.list_of(kinds.address, low=1), "Addresses of the mail listeners; not for passed sockets", "list ip"),
    ] = ("0.0.0.0", "::")  # noqa: S104  mail is for the world
    smtp_port: Annotated[int, Key(_PORT, "Reception; 0 = off", "int")] = 25
    submission_port: Annotated[int, Key(_PORT, "Submission with STARTTLS; 0 = off", "int")] = 587
    submissions_port: Annotated[int, Key(_PORT, "Submission with implicit TLS; 0 = off", "int")] = 465
    imap_port: Annotated[int, Key(_PORT, "IMAP with STARTTLS; 0 = off", "int")] = 143
    imaps_port: Annotated[int, Key(_PORT, "IMAP with implicit TLS; 0 = off", "int")] = 993
    pop3_port: Annotated[int, Key(_PORT, "POP3 with STLS, when pop3.enabled; 0 = off", "int")] = 110
    pop3s_port: Annotated[int, Key(_PORT, "POP3 with implicit TLS, when pop3.enabled; 0 = off", "int")] = 995
    sieve_port: Annotated[int, Key(_PORT, "ManageSieve with STARTTLS; 0 = off", "int")] = 4190
    api_port: Annotated[int, Key(_PORT, "HTTP API; 0 = off", "int")] = 8080
    api_bind: Annotated[
        tuple[str, ...],
        Key(kinds.list_of(kinds.address, low=1), "Other than loopback needs api.allow_plaintext", "list ip"),
    ] = ("127.0.0.1", "::1")
    admin_socket: Annotated[Path, Key(kinds.path, "Unix socket of the API", "path")] = Path("/run/mairust/api.sock")
    admin_group: Annotated[str, Key(kinds.text(1, 32), "Group that may use the admin socket", "str")] = "mairust-admin"
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Key(kinds.list_of(kinds.network), "PROXY protocol is taken from these only", "list cidr", reload=True),
    ] = ()
    shutdown_grace: Annotated[
        float, Key(kinds.duration(0, 10 * MINUTE), "Time transactions get after SIGTERM", "dur", reload=True)
    ] = 30.0
    state_dir: Annotated[
        Path, Key(kinds.path, "Holds the lock, and the database, mail and certificates unless they're set", "path")
    ] = STATE_DIR


class Database(Section, frozen=True, kw_only=True):
    """Where rows live."""

    type: Annotated[Literal["sqlite", "postgres"], Key(kinds.choice("sqlite", "postgres"), "Database", "str")] = (
        "sqlite"
    )
    url: Annotated[Secret, Key(kinds.secret, "sqlite:////path, postgres://... or postgresql://...", "secret")] = Secret(
        f"sqlite:///{STATE_DIR}/db/mairust.db"
    )
    pool_size: Annotated[int, Key(kinds.integer(2, 200), "PostgreSQL connections", "int")] = 10
    busy_timeout: Annotated[float, Key(kinds.duration(0, MINUTE), "SQLite lock wait", "dur")] = 5.0


class Storage(Section, frozen=True, kw_only=True):
    """Where message octets live."""

    type: Annotated[Literal["fs"], Key(kinds.choice("fs"), "Files", "str")] = "fs"
    path: Annotated[Path, Key(kinds.path, "Folder of the blobs", "path")] = STATE_DIR / "mail"
    inline_max: Annotated[
        int, Key(kinds.size(0, MIB), "Octets up to this size stand in the blob's row; 0 = never", "size", reload=True)
    ] = 16 * KIB
    reserve: Annotated[
        int | None,
        Key(kinds.nullable(kinds.size()), "Free space kept; null = the larger of 1GiB and 5 %", "size", reload=True),
    ] = None


class Tls(Section, frozen=True, kw_only=True):
    """Certificate of the listeners; without one a self-signed pair is made in the state folder."""

    cert_path: Annotated[
        Path | None, Key(kinds.nullable(kinds.path), "PEM chain; both or none", "path", reload=True)
    ] = None
    key_path: Annotated[Path | None, Key(kinds.nullable(kinds.path), "PEM key; both or none", "path", reload=True)] = (
        None
    )
    min_version: Annotated[Literal["1.2", "1.3"], Key(kinds.choice("1.2", "1.3"), "Oldest TLS taken", "str")] = "1.2"


class Smtp(Section, frozen=True, kw_only=True):
    """Limits of reception and submission."""

    max_message_size: Annotated[
        int, Key(kinds.size(64 * KIB, GIB), "Largest message: SIZE, APPEND, API", "size", reload=True)
    ] = 52_428_800
    max_recipients: Annotated[int, Key(kinds.integer(100, 10_000), "Per transaction", "int", reload=True)] = 1000
    max_connections: Annotated[
        int, Key(kinds.integer(1, 65_000), "All SMTP listeners together", "int", reload=True)
    ] = 2000
    max_connections_per_ip: Annotated[
        int, Key(kinds.integer(1, 65_000), "At once, per IPv4 address or /64", "int", reload=True)
    ] = 30
    connections_per_minute: Annotated[
        int, Key(kinds.integer(1, 1_000_000), "New ones, per IPv4 address or /64", "int", reload=True)
    ] = 300
    command_timeout: Annotated[float, Key(kinds.duration(1, HOUR), "Wait for a command", "dur", reload=True)] = 300.0
    data_timeout: Annotated[
        float, Key(kinds.duration(1, HOUR), "Wait for a block of a message", "dur", reload=True)
    ] = 180.0
    max_hops: Annotated[int, Key(kinds.integer(25, 100), "Received fields before 5.4.6", "int", reload=True)] = 50
    require_tls: Annotated[
        bool, Key(kinds.boolean, "Refuse MAIL without TLS at reception (530 5.7.0)", "bool", reload=True)
    ] = False
    subaddress_separator: Annotated[
        str, Key(kinds.text(0, 1), "user+tag@domain goes to user@domain; empty = off", "str", reload=True)
    ] = "+"


class Submission(Section, frozen=True, kw_only=True):
    """What is mended in messages of our own users."""

    bare_newline: Annotated[
        Literal["reject", "normalise"],
        Key(kinds.choice("reject", "normalise"), "Bare CR or LF from logged-in senders", "str", reload=True),
    ] = "reject"
    add_missing: Annotated[bool, Key(kinds.boolean, "Add Date and Message-ID", "bool", reload=True)] = True


class Imap(Section, frozen=True, kw_only=True):
    """IMAP sessions."""

    enabled: Annotated[bool, Key(kinds.boolean, "Serve IMAP", "bool", reload=True)] = True
    idle_timeout: Annotated[
        float, Key(kinds.duration(MINUTE, DAY), "Silence before BYE, also in IDLE", "dur", reload=True)
    ] = 30 * MINUTE
    max_per_account: Annotated[
        int, Key(kinds.integer(1, 1000), "Sessions per account and address", "int", reload=True)
    ] = 20
    compress: Annotated[
        bool, Key(kinds.boolean, "Offer COMPRESS=DEFLATE; within TLS it can betray what is sent", "bool", reload=True)
    ] = False


class Pop3(Section, frozen=True, kw_only=True):
    """POP3 sessions."""

    enabled: Annotated[bool, Key(kinds.boolean, "Serve POP3", "bool")] = False
    idle_timeout: Annotated[
        float, Key(kinds.duration(MINUTE, DAY), "Silence before the connection is closed", "dur", reload=True)
    ] = 10 * MINUTE


class Dns(Section, frozen=True, kw_only=True):
    """Name resolution."""

    resolvers: Annotated[
        tuple[str, ...],
        Key(kinds.list_of(kinds.resolver_address, high=10), "ip, ip:port or [ip6]:port", "list", reload=True),
    ] = ()
    timeout: Annotated[float, Key(kinds.duration(1, MINUTE), "Per query", "dur", reload=True)] = 5.0
    dnssec: Annotated[
        Literal["auto", "on", "off"],
        Key(
            kinds.choice("auto", "on", "off"), "auto believes the AD bit of loopback resolvers only", "str", reload=True
        ),
    ] = "auto"


class Mailauth(Section, frozen=True, kw_only=True):
    """SPF, DKIM and DMARC."""

    enabled: Annotated[
        bool,
        Key(
            kinds.boolean, "Check SPF, DKIM and DMARC of incoming mail; off only behind a gateway", "bool", reload=True
        ),
    ] = True
    dmarc: Annotated[
        Literal["honour", "junk", "score"],
        Key(
            kinds.choice("honour", "junk", "score"),
            "On fail: publisher's policy; $Junk; trace only",
            "str",
            reload=True,
        ),
    ] = "honour"
    trusted_sealers: Annotated[
        tuple[str, ...],
        Key(kinds.list_of(kinds.host_name), "Their ARC seals can outweigh a DMARC fail", "list domain", reload=True),
    ] = ()
    dkim_algorithms: Annotated[
        tuple[Literal["rsa-2048", "ed25519"], ...],
        Key(kinds.list_of(kinds.choice("rsa-2048", "ed25519"), high=2), "Keys of new domains", "list", reload=True),
    ] = ("rsa-2048", "ed25519")


class Queue(Section, frozen=True, kw_only=True):
    """The outbound queue."""

    retry_delays: Annotated[
        tuple[float, ...],
        Key(kinds.list_of(kinds.duration(1, 7 * DAY), low=1, high=50), "The last repeats", "list dur", reload=True),
    ] = (5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR)
    expire_after: Annotated[
        float, Key(kinds.duration(1, 30 * DAY), "Failure DSN after this time", "dur", reload=True)
    ] = 5 * DAY
    delay_warning_after: Annotated[
        float, Key(kinds.duration(0, 30 * DAY), "Delay DSN after this time; 0 = none", "dur", reload=True)
    ] = 4 * HOUR
    max_active: Annotated[int, Key(kinds.integer(1, 5000), "Deliveries at once", "int", reload=True)] = 200
    per_destination: Annotated[
        int, Key(kinds.integer(1, 1000), "Deliveries at once to one destination", "int", reload=True)
    ] = 20


class Relay(Section, frozen=True, kw_only=True):
    """A smarthost that takes all outbound mail; verified TLS whenever there is a password."""

    host: Annotated[str, Key(kinds.host_or_address, "Name or address", "str", reload=True)]
    port: Annotated[int, Key(kinds.integer(1, 65535), "Port", "int", reload=True)] = 587
    tls: Annotated[
        Literal["starttls", "implicit", "none"],
        Key(kinds.choice("starttls", "implicit", "none"), "How TLS starts", "str", reload=True),
    ] = "starttls"
    username: Annotated[str | None, Key(kinds.nullable(kinds.text(1)), "Login", "str", reload=True)] = None
    password: Annotated[Secret | None, Key(kinds.nullable(kinds.secret), "Password", "secret", reload=True)] = None


class Outbound(Section, frozen=True, kw_only=True):
    """Delivery to other servers."""

    connect_timeout: Annotated[float, Key(kinds.duration(1, 5 * MINUTE), "Per address", "dur", reload=True)] = 30.0
    allow_private: Annotated[
        tuple[Network, ...],
        Key(kinds.list_of(kinds.network), "Private addresses an MX or relay may have", "list cidr", reload=True),
    ] = ()
    capture_path: Annotated[
        Path | None, Key(kinds.nullable(kinds.path), "Write outbound mail there and send nothing", "path")
    ] = None
    relay: Relay | None = None


class Limits(Section, frozen=True, kw_only=True):
    """Limits of accounts."""

    default_quota: Annotated[int, Key(kinds.size(), "New accounts; 0 = unlimited", "size", reload=True)] = 10 * GIB


class Login(Section, frozen=True, kw_only=True):
    """Passwords and guessing."""

    password_min_length: Annotated[int, Key(kinds.integer(8, 128), "Characters", "int", reload=True)] = 12
    argon2_memory_kib: Annotated[
        int, Key(kinds.integer(19_456, 1_048_576), "KiB a hash; old ones change at login", "int", reload=True)
    ] = 47_104
    argon2_time: Annotated[int, Key(kinds.integer(2, 100), "Passes", "int", reload=True)] = 2
    hash_slots: Annotated[int, Key(kinds.integer(1, 64), "Hashes at once", "int", reload=True)] = 2
    failures_per_minute: Annotated[
        int, Key(kinds.integer(1, 10_000), "Per IPv4 address or /64; wider nets 3 and 9 times", "int", reload=True)
    ] = 10
    failures_per_day: Annotated[int, Key(kinds.integer(1, 100_000), "As above, per day", "int", reload=True)] = 50
    ban_duration: Annotated[float, Key(kinds.duration(1, DAY), "First ban; doubles up to 24h", "dur", reload=True)] = (
        15 * MINUTE
    )
    trusted_networks: Annotated[
        tuple[Network, ...], Key(kinds.list_of(kinds.network), "Never banned", "list cidr", reload=True)
    ] = LOOPBACK


class Api(Section, frozen=True, kw_only=True):
    """The HTTP API."""

    allow_plaintext: Annotated[bool, Key(kinds.boolean, "Serve HTTP beyond loopback", "bool")] = False
    swagger: Annotated[bool, Key(kinds.boolean, "Serve /docs", "bool")] = True
    rate_per_minute: Annotated[int, Key(kinds.integer(1, 1_000_000), "Per credential", "int", reload=True)] = 600
    anonymous_rate_per_minute: Annotated[
        int, Key(kinds.integer(1, 1_000_000), "Per address without credential", "int", reload=True)
    ] = 60
    max_body_size: Annotated[int, Key(kinds.size(KIB, 64 * MIB), "JSON bodies", "size", reload=True)] = MIB


class Log(Section, frozen=True, kw_only=True):
    """What is written to standard output."""

    level: Annotated[LogLevel, Key(_LEVEL, "Least level written", "str", reload=True)] = "info"
    format: Annotated[
        Literal["json", "text"], Key(kinds.choice("json", "text"), "Form of a line", "str", reload=True)
    ] = "json"
    levels: Annotated[
        dict[str, LogLevel], Key(kinds.map_of(COMPONENTS, _LEVEL), "Levels of single components", "map", reload=True)
    ] = {}


class Metrics(Section, frozen=True, kw_only=True):
    """Prometheus."""

    enabled: Annotated[bool, Key(kinds.boolean, "Serve /metrics", "bool", reload=True)] = True
    allow: Annotated[
        tuple[Network, ...],
        Key(kinds.list_of(kinds.network), "Networks that need no credential", "list cidr", reload=True),
    ] = LOOPBACK


class Retention(Section, frozen=True, kw_only=True):
    """How long what is no longer needed stays, in days."""

    events_days: Annotated[int, Key(kinds.integer(1, 3650), "Event log", "int", reload=True)] = 30
    trace_days: Annotated[int, Key(kinds.integer(1, 3650), "Traces", "int", reload=True)] = 30
    queue_history_days: Annotated[int, Key(kinds.integer(1, 3650), "Finished deliveries", "int", reload=True)] = 7
    deleted_messages_days: Annotated[int, Key(kinds.integer(0, 3650), "Expunged messages", "int", reload=True)] = 14
    deleted_accounts_days: Annotated[
        int, Key(kinds.integer(0, 3650), "Deleted accounts and domains", "int", reload=True)
    ] = 14
    trash_days: Annotated[int, Key(kinds.integer(0, 3650), "Mail in Trash; 0 = for ever", "int", reload=True)] = 0
    junk_days: Annotated[int, Key(kinds.integer(0, 3650), "Mail in Junk; 0 = for ever", "int", reload=True)] = 0


class Settings(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = Server()
    database: Database = Database()
    storage: Storage = Storage()
    tls: Tls = Tls()
    smtp: Smtp = Smtp()
    submission: Submission = Submission()
    imap: Imap = Imap()
    pop3: Pop3 = Pop3()
    dns: Dns = Dns()
    mailauth: Mailauth = Mailauth()
    queue: Queue = Queue()
    outbound: Outbound = Outbound()
    limits: Limits = Limits()
    login: Login = Login()
    api: Api = Api()
    log: Log = Log()
    metrics: Metrics = Metrics()
    retention: Retention = Retention()
