"""SCRAM-SHA-256, the server's side, without I/O (RFC 5802, RFC 7677).

- The server keeps salt, iterations, StoredKey and ServerKey, never the password.
- Channel binding is tls-server-end-point (RFC 5929 §4). Where it is offered, a client that says it saw no offer is
  refused: somebody took the offer away (§6).
- The proof is compared in constant time.
- Names are escaped as `=2C` and `=3D` on the wire (§5.1) and plain here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from server.protocol.sasl.messages import SaslSyntaxError, decode_base64, encode_base64, parse_login

MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096
"""The least RFC 7677 §4 allows; the password's own Argon2id hash is what resists guessing."""

CLIENT_NONCE_MAX = 256
BINDING = b"tls-server-end-point"
_FIRST = re.compile(rb"(n|y|p=[A-Za-z0-9.-]{1,64}),(?:a=([^,\x00]*))?,(n=([^,\x00]+),r=([!-+\--~]+))")
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)),p=([A-Za-z0-9+/=]+)")
_ESCAPED = re.compile(r"=2C|=3D|(=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramKeys:
    """The keys of one more password of the same account, made with the same salt and iterations."""

    id: str
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramCredential:
    """What is stored for one account (RFC 5802 §3).

    Attributes:
        others: Further passwords that are as good; the client's proof says which one it used.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    others: tuple[ScramKeys, ...] = ()


def derive_credential(password: bytes, *, salt: bytes, iterations: int = ITERATIONS) -> ScramCredential:
    """Compute StoredKey and ServerKey (RFC 5802 §3); CPU-heavy, never on the event loop.

    Args:
        password: As the client will use it: normalised UTF-8 (RFC 7677 §2 points to SASLprep).
    """
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramCredential(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.sha256(client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", "sha256"),
    )


class ScramServer:
    """One exchange: `client_first`, then `server_first`, then `client_final`.

    Args:
        nonce: The server's part of the nonce: at least 18 random octets as printable ASCII without comma.
        end_point: The channel's binding data, empty where binding was not offered.
        bound: Whether the client chose the mechanism that binds, SCRAM-SHA-256-PLUS.

    Attributes:
        matched: After a right proof, the id of the one of `others` it was made with; empty for the credential itself.
    """

    def __init__(self, nonce: bytes, *, end_point: bytes = b"", bound: bool = False) -> None:
        self.matched = ""
        self._end_point = end_point
        self._bound = bound
        self._nonce = nonce
        self._gs2_header = b""
        self._client_first_bare = b""
        self._server_first = b""
        self._credential: ScramCredential | None = None

    def client_first(self, message: bytes) -> str:
        """Take `gs2-header n=name,r=nonce` and return the login name (RFC 5802 §7 "client-first-message").

        Raises:
            SaslSyntaxError: Outside the grammar, another binding than the mechanism's, or another identity requested.
        """
        match = _FIRST.fullmatch(message)
        if match is None or len(match.group(5)) > CLIENT_NONCE_MAX:
            raise SaslSyntaxError("malformed client-first-message")
        flag = match.group(1)
        if (flag == b"p=" + BINDING) != self._bound or (flag not in (b"n", b"y") and not self._bound):
            raise SaslSyntaxError("another channel binding than the mechanism's")
        if flag == b"y" and self._end_point:
            raise SaslSyntaxError("the offer of channel binding did not arrive")
        login = parse_name(match.group(4))
        authorization = match.group(2)
        if authorization and parse_name(authorization) != login:
            raise SaslSyntaxError("another identity is not available")
        self._client_first_bare = match.group(3)
        self._gs2_header = message[: match.start(3)]
        self._nonce = match.group(5) + self._nonce
        return login

    def server_first(self, credential: ScramCredential) -> bytes:
        """Return `r=nonce,s=salt,i=iterations` (RFC 5802 §7 "server-first-message")."""
        self._credential = credential
        self._server_first = b"r=%s,s=%s,i=%d" % (self._nonce, encode_base64(credential.salt), credential.iterations)
        return self._server_first

    def client_final(self, message: bytes) -> bytes | None:
        """Check the proof and return `v=signature`, or None when the password was another one.

        Raises:
            SaslSyntaxError: Outside the grammar, or channel binding or nonce are not those of this exchange.

        RFC 5802 §3, §7 "client-final-message".
        """
        match = _FINAL.fullmatch(message)
        if match is None or self._credential is None:
            raise SaslSyntaxError("malformed client-final-message")
        without_proof, binding, nonce, encoded = match.groups()
        expected = self._gs2_header + (self._end_point if self._bound else b"")
        if not hmac.compare_digest(decode_base64(binding), expected) or not hmac.compare_digest(nonce, self._nonce):
            raise SaslSyntaxError("channel binding or nonce differ")
        proof = decode_base64(encoded)
        auth_message = b",".join((self._client_first_bare, self._server_first, without_proof))
        if len(proof) != hashlib.sha256().digest_size:
            raise SaslSyntaxError("proof of another length")
        own = ScramKeys(id="", stored_key=self._credential.stored_key, server_key=self._credential.server_key)
        for keys in (own, *self._credential.others):
            if _proves(proof, auth_message, keys.stored_key):
                self.matched = keys.id
                return b"v=" + encode_base64(hmac.digest(keys.server_key, auth_message, "sha256"))
        return None


def _proves(proof: bytes, auth_message: bytes, stored_key: bytes) -> bool:
    """Whether the proof was made with the password behind a StoredKey (RFC 5802 §3)."""
    client_signature = hmac.digest(stored_key, auth_message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, client_signature, strict=True))
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)


def parse_name(octets: bytes) -> str:
    """saslname to text; `=` stands only before 2C or 3D (RFC 5802 §5.1)."""
    text = parse_login(octets)
    if any(match.group(1) for match in _ESCAPED.finditer(text)):
        raise SaslSyntaxError("malformed name")
    return text.replace("=2C", ",").replace("=3D", "=")
