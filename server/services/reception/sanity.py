"""Whether a header section is one that can be taken at all (product.md 3, security.md T19).

- Exactly one From field: with none or several, what is checked and what is shown could differ. A name that becomes
  "From" once octets outside of RFC 5322's ftext are dropped counts too: there are readers that drop them.
- Too many Received fields is a loop (RFC 5321 §6.3).
"""

from __future__ import annotations

from server.domain.reply import Reply, reply
from server.protocol.mime.headers import HeaderFields

_NOT_FTEXT = bytes(octet for octet in range(256) if not 33 <= octet <= 126 and octet != 10)

NO_FROM = reply(550, "5.7.1", "a message needs exactly one From field, this one has none")
MANY_FROM = reply(550, "5.7.1", "a message needs exactly one From field, this one has several")
TOO_MANY_HOPS = reply(554, "5.4.6", "too many hops: this message is going round in circles")
HEADER_TOO_LARGE = reply(552, "5.3.4", "the message header is too large")


def check_header(fields: HeaderFields, *, max_hops: int) -> Reply | None:
    """Return the refusal, or None.

    Args:
        max_hops: Received fields that are still taken.
    """
    if fields.exceeded is not None:
        return HEADER_TOO_LARGE
    if fields.count(b"received") > max_hops:
        return TOO_MANY_HOPS
    froms = fields.count(b"from")
    if froms != 1:
        return NO_FROM if froms == 0 else MANY_FROM
    names = b"\n".join(fields.names)
    readable = names.translate(None, _NOT_FTEXT)
    if readable != names and readable.split(b"\n").count(b"from") > 1:
        return MANY_FROM
    return None
