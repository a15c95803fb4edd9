"""Limits of SMTP grammar and reception, each with its source.

- Settings may lower or raise what an administrator should choose; what stands here is fixed.
- A value is the largest one accepted: limit is fine, limit + 1 is refused.
"""

from __future__ import annotations

COMMAND_LINE_MAX = 4096
"""Octets of a command line with its CRLF (RFC 5321 §4.5.3.1.4 asks 512 and more for extensions)."""

AUTH_LINE_MAX = 12_288
"""Octets of an AUTH command or response with its CRLF (RFC 4954 §4)."""

LOCAL_PART_MAX = 64
"""Octets of a local part as written (RFC 5321 §4.5.3.1.1)."""

DOMAIN_MAX = 255
"""Octets of a domain in A-label form (RFC 5321 §4.5.3.1.2)."""

ADDRESS_MAX = 254
"""Octets of a mailbox: a path of 256 without its angle brackets (RFC 5321 §4.5.3.1.3)."""

LABEL_MAX = 63
"""Octets of one label of a domain (RFC 1035 §2.3.4)."""

PARAMETERS_MAX = 16
"""Parameters of one MAIL or RCPT; the extensions offered define eight."""

ENVID_MAX = 100
"""Characters of ENVID as written (RFC 3461 §4.4)."""

ORCPT_MAX = 500
"""Characters of ORCPT as written (RFC 3461 §4.2)."""

SIZE_DIGITS_MAX = 20
"""Digits of the SIZE parameter (RFC 1870 §3)."""

TEXT_LINE_MAX = 65_536
"""Octets of a line of message text with its CRLF that are still read (RFC 5321 §4.5.3.1.6 asks 1,000)."""

HEAD_MAX = 1024 * 1024
"""Octets of a header section with its empty line."""

FIELD_MAX = 100 * 1024
"""Octets of one header field, folded lines and CRLF included."""

FIELDS_MAX = 2000
"""Header fields of a message."""

REPLY_LINE_MAX = 512
"""Octets of a reply line with its CRLF (RFC 5321 §4.5.3.1.5)."""

ERRORS_MAX = 20
"""Refused commands of a connection before 421."""

IDLE_COMMANDS_MAX = 100
"""Commands between two messages, accepted recipients not counted, before 421."""

CONNECTION_S = 6 * 3600.0
"""Life of a connection."""

BEFORE_AUTH_S = 60.0
"""Time until a submission client must be logged in."""

TLS_HANDSHAKE_S = 30.0

PROXY_HEADER_S = 10.0
"""Time until a trusted proxy must have sent its header."""

BUSY_COMMAND_S = 10.0
"""Wait for a command while more than `BUSY_SHARE` of all connections are in use."""

BUSY_SHARE = 0.8

DATA_RATE_MIN = 500
"""Octets a second that a message must arrive at, averaged over `DATA_RATE_WINDOW_S`."""

DATA_RATE_WINDOW_S = 60.0

FINAL_DOT_S = 60.0
"""Wait for the decision after the final dot; later it is 451 and the work goes on unseen."""

WRITE_S = 60.0
"""Wait for a peer that doesn't read its replies."""
