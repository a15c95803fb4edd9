"""OAUTHBEARER: a login by token (RFC 7628, RFC 6750 §2.1), without I/O.

- The token is whatever the server handed out; here it is only taken out of its wrapping.
- `host` and `port` are for proxies and are not looked at; other keys are ignored, as §3.1 asks.
- After a refused token the client is told why in JSON and answers with one %x01; then the exchange fails (§3.2.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from server.protocol.sasl.messages import PASSWORD_MAX, SaslSyntaxError
from server.protocol.sasl.scram import parse_name

MECHANISM = "OAUTHBEARER"
MESSAGE_MAX = 4096
REFUSAL = b'{"status":"invalid_token","schemes":"bearer"}'
"""The challenge that follows a refused token (RFC 7628 §3.2.2)."""
REFUSAL_TAKEN = b"\x01"
"""The client's answer to it."""

_MESSAGE = re.compile(rb"[ny],(?:a=([^,\x00\x01]*))?,\x01((?:[A-Za-z]+=[\x20-\x7e\t\r\n]*\x01){1,8})\x01")
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerMessage:
    """What the client sent; `login` is empty when it leaves the identity to the token."""

    login: str
    token: str = field(repr=False)


def parse_oauthbearer(message: bytes) -> BearerMessage:
    """Parse `gs2-header kvsep *kvpair kvsep` with one `auth` key (RFC 7628 §3.1).

    Raises:
        SaslSyntaxError: Outside the grammar, channel binding asked for, or no bearer token.
    """
    match = _MESSAGE.fullmatch(message) if len(message) <= MESSAGE_MAX else None
    if match is None:
        raise SaslSyntaxError("malformed OAUTHBEARER message")
    values = [pair[5:] for pair in match.group(2).split(b"\x01") if pair[:5].lower() == b"auth="]
    bearer = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if bearer is None or len(bearer.group(1)) > PASSWORD_MAX:
        raise SaslSyntaxError("no bearer token")
    name = match.group(1)
    login = parse_name(name) if name else ""
    return BearerMessage(login=login, token=bearer.group(1).decode("ascii"))
