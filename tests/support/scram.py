"""A SCRAM-SHA-256 client (RFC 5802 §3, RFC 7677), to speak with our servers."""

from __future__ import annotations

import base64
import hashlib
import hmac


class ScramClient:
    """One exchange: `first`, `final`, `trusts`."""

    def __init__(self, login: str, password: str, *, nonce: str = "client-nonce") -> None:
        self._password = password.encode()
        self._bare = f"n={login},r={nonce}".encode()
        self._server_key = b""
        self._message = b""

    def first(self) -> bytes:
        return b"n,," + self._bare

    def final(self, challenge: bytes) -> bytes:
        parts = dict(part.split(b"=", 1) for part in challenge.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(parts[b"s"]), int(parts[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        self._server_key = hmac.digest(salted, b"Server Key", "sha256")
        without_proof = b"c=biws,r=" + parts[b"r"]
        self._message = b",".join((self._bare, challenge, without_proof))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), self._message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def trusts(self, signature: bytes) -> bool:
        """Whether the server has shown that it knows the password too."""
        wanted = base64.b64encode(hmac.digest(self._server_key, self._message, "sha256"))
        return signature == b"v=" + wanted
