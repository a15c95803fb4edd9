"""SCRAM-SHA-256 as a client speaks it (RFC 5802 §3, RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from server.protocol.sasl.scram import ScramCredential

NONCE = b"rOprNGfwEbeRWgbNEkqO"


class ScramClient:
    """One exchange without channel binding."""

    def __init__(self, login: str, password: bytes) -> None:
        self._password = password
        self._bare = b"n=%s,r=%s" % (login.encode(), NONCE)
        self._auth_message = b""

    def first(self) -> bytes:
        return b"n,," + self._bare

    def final(self, challenge: bytes) -> bytes:
        """The answer to the server's first message."""
        parts = dict(part.split(b"=", 1) for part in challenge.split(b","))
        without_proof = b"c=biws,r=" + parts[b"r"]
        self._auth_message = b",".join((self._bare, challenge, without_proof))
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(parts[b"s"]), int(parts[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), self._auth_message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, final: bytes, credential: ScramCredential) -> None:
        """That the server knows the password too."""
        signature = hmac.digest(credential.server_key, self._auth_message, "sha256")
        assert final == b"v=" + base64.b64encode(signature)
