"""An ARC sealer for tests; the product verifies chains and seals none."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from server.protocol.emailauth.canonical import relaxed_body, relaxed_field
from server.protocol.emailauth.dkim_key import NewKey, load_private_key
from server.protocol.mime.headers import split_header


def seal(
    message: bytes,
    domain: str,
    results: str = "spf=pass; dmarc=pass header.from=example.com",
    *,
    key: NewKey,
    now: datetime,
) -> bytes:
    """Add the next ARC set under selector `s`, written from the text of RFC 8617 §4.1 and judged by dkimpy."""
    private = load_private_key(key.private)
    assert isinstance(private, rsa.RSAPrivateKey)

    def signed(data: bytes) -> bytes:
        return base64.b64encode(private.sign(data.removesuffix(b"\r\n"), padding.PKCS1v15(), hashes.SHA256()))

    fields = list(split_header(message))
    instance = sum(found.name == b"arc-seal" for found in fields) + 1
    body = hashlib.sha256(relaxed_body(memoryview(message.partition(b"\r\n\r\n")[2]))).digest()
    common = f"a=rsa-sha256; d={domain}; s=s; t={int(now.timestamp())}; ".encode()
    aar = f"ARC-Authentication-Results: i={instance}; {domain}; {results}\r\n".encode()
    ams = b"ARC-Message-Signature: i=%d; %sc=relaxed/relaxed; h=From:Subject;\r\n bh=%s; b=" % (
        instance,
        common,
        base64.b64encode(body),
    )
    covered = b"".join(relaxed_field(f.raw) for name in (b"from", b"subject") for f in fields if f.name == name)
    ams += signed(covered + relaxed_field(ams + b"\r\n")) + b"\r\n"
    field = b"ARC-Seal: i=%d; %scv=%s; b=" % (instance, common, b"none" if instance == 1 else b"pass")
    chain = b"".join(
        relaxed_field(found.raw)
        for i in range(1, instance)
        for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
        for found in fields
        if found.name == name and found.value.strip().startswith(b"i=%d;" % i)
    )
    field += signed(chain + relaxed_field(aar) + relaxed_field(ams) + relaxed_field(field + b"\r\n")) + b"\r\n"
    return field + ams + aar + message
