"""DKIM signing (RFC 6376 §5, RFC 8463): relaxed/relaxed, SHA-256, one field per key.

- The body is canonicalised and hashed once for all keys.
- What a reader sees is oversigned: each such name stands in h= once more than the message has it, so that a second
  From can't be added under our signature (threat T18).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from server.protocol.emailauth.canonical import relaxed_body, relaxed_field
from server.protocol.emailauth.dkim_key import PrivateKey
from server.protocol.mime.headers import HeaderFields, split_header

OVERSIGNED = (
    b"From",
    b"To",
    b"Cc",
    b"Subject",
    b"Date",
    b"Reply-To",
    b"MIME-Version",
    b"Content-Type",
    b"Content-Transfer-Encoding",
)
SIGNED_IF_PRESENT = (
    b"Sender",
    b"Message-ID",
    b"In-Reply-To",
    b"References",
    b"List-Id",
    b"List-Unsubscribe",
    b"List-Unsubscribe-Post",
    b"Auto-Submitted",
)
MAX_COPIES = 8
"""Copies of one field that h= names; a message of ours has one."""
_LINE = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A domain's key. `algorithm` is `rsa-sha256` or `ed25519-sha256`."""

    domain: str
    selector: str
    algorithm: str
    private_key: PrivateKey


def sign_message(
    octets: bytes,
    keys: Sequence[SigningKey],
    *,
    now: datetime,
    lifetime_s: int | None = None,
    fields: HeaderFields | None = None,
) -> bytes:
    """Return one DKIM-Signature field per key, in their order, each ending in CRLF. CPU only.

    Args:
        octets: The final message with CRLF line ends.
        lifetime_s: Sets x= so long after `now`; None leaves it out.
        fields: The message's header if the caller has split it already.
    """
    header = split_header(octets) if fields is None else fields
    body_hash = hashlib.sha256(relaxed_body(memoryview(octets)[header.size_octets :])).digest()
    names, text = _signed_fields(header)
    created = int(now.timestamp())
    times = f"t={created}" if lifetime_s is None else f"t={created}; x={created + lifetime_s}"
    return b"".join(_field(key, names, text, body_hash, times) for key in keys)


def _signed_fields(header: HeaderFields) -> tuple[list[bytes], bytes]:
    """The names for h= and the canonical octets they select (§5.4.2: from the bottom up)."""
    raws: dict[bytes, list[bytes]] = {}
    for field in header:
        raws.setdefault(field.name, []).append(field.raw)
    names: list[bytes] = []
    parts: list[bytes] = []
    for name in OVERSIGNED + SIGNED_IF_PRESENT:
        present = raws.get(name.lower(), [])[-MAX_COPIES:]
        names.extend([name] * (len(present) + (name in OVERSIGNED)))
        parts.extend(relaxed_field(raw) for raw in reversed(present))
    return names, b"".join(parts)


def _field(key: SigningKey, names: list[bytes], text: bytes, body_hash: bytes, times: str) -> bytes:
    head = (
        f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
        f"\ts={key.selector}; {times};\r\n\th="
    ).encode("ascii")
    tail = b";\r\n\tbh=" + base64.b64encode(body_hash) + b";\r\n\tb="
    field = head + _folded_names(names) + tail
    data = text + relaxed_field(field + b"\r\n").removesuffix(b"\r\n")
    if isinstance(key.private_key, rsa.RSAPrivateKey):
        signature = key.private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.private_key.sign(hashlib.sha256(data).digest())
    encoded = base64.b64encode(signature)
    lines = [encoded[i : i + _LINE] for i in range(0, len(encoded), _LINE)]
    return field + b"\r\n\t".join(lines) + b"\r\n"


def _folded_names(names: list[bytes]) -> bytes:
    lines: list[bytes] = [b""]
    for position, name in enumerate(names):
        word = name if position == 0 else b":" + name
        if len(lines[-1]) + len(word) > _LINE:
            lines.append(b"")
        lines[-1] += word
    return b"\r\n\t ".join(lines)
