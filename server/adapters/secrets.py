"""The master key, and what is sealed with it in the database (config.md §3, security.md §12).

- 32 octets in base64 from the systemd credential `master.key`, else $MAIRUST_MASTER_KEY_FILE, else `master.key` beside
  the configuration file; never made silently: `mairust setup`, the package and the demo make one.
- AES-256-GCM with a fresh 96-bit nonce; the context (table, column, record) is associated data, so a sealed value
  moved to another record doesn't open.
- Form: key number (1 octet), nonce (12), ciphertext and tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.config.references import CREDENTIALS, read_secret_file
from server.domain.errors import Unavailable

KEY_OCTETS = 32
NONCE_OCTETS = 12
KEY_NUMBER = 1
KEY_NAME = "master.key"
FILE_VARIABLE = "MAIRUST_MASTER_KEY_FILE"


class MasterKeyMissing(Exception):
    """There is no usable master key; the text names the place and what is wrong with it."""


class Broken(Unavailable):
    """A sealed value doesn't open: another key sealed it, or it is damaged."""

    code = "sealed_value_broken"


class SecretBox:
    """Seals and opens octets with the master key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_OCTETS:
            raise ValueError("a master key has 32 octets")
        self._cipher = AESGCM(key)
        self._key = key
        self.fingerprint = hmac.new(key, b"mairust master key", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"SecretBox(fingerprint={self.fingerprint})"

    def derive(self, purpose: str) -> bytes:
        """32 octets that stay the same for this master key and purpose."""
        return hmac.new(self._key, b"mairust " + purpose.encode(), hashlib.sha256).digest()

    def seal(self, plain: bytes, *, context: str) -> bytes:
        """Seal octets for one place, such as `dkim_keys.private:ID`."""
        nonce = os.urandom(NONCE_OCTETS)
        return bytes([KEY_NUMBER]) + nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """The octets that were sealed for the same context. Raises Broken."""
        nonce, body = sealed[1 : 1 + NONCE_OCTETS], sealed[1 + NONCE_OCTETS :]
        if sealed[:1] != bytes([KEY_NUMBER]) or len(nonce) < NONCE_OCTETS:
            raise Broken()
        try:
            return self._cipher.decrypt(nonce, body, context.encode())
        except InvalidTag:
            raise Broken() from None


def load_master_key(environ: Mapping[str, str], *, config_folder: Path) -> SecretBox:
    """Find and read the master key. Raises MasterKeyMissing."""
    path, checked = _place(environ, config_folder)
    try:
        key = base64.b64decode(read_secret_file(path, checked=checked).strip(), validate=True)
    except (ValueError, binascii.Error) as error:
        why = str(error) if not isinstance(error, binascii.Error) else f"{path} is not base64"
        raise MasterKeyMissing(f"master key: {why}") from None
    if len(key) != KEY_OCTETS:
        raise MasterKeyMissing(f"master key: {path} holds {len(key)} octets, not {KEY_OCTETS}")
    return SecretBox(key)


def create_master_key(path: Path) -> None:
    """Write a new key to a file that must not exist yet, mode 0600. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    with open(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(KEY_OCTETS)) + b"\n")
        file.flush()
        os.fsync(descriptor)


def _place(environ: Mapping[str, str], config_folder: Path) -> tuple[Path, bool]:
    credentials = environ.get(CREDENTIALS)
    if credentials is not None and (Path(credentials) / KEY_NAME).exists():
        return Path(credentials) / KEY_NAME, False
    if FILE_VARIABLE in environ:
        return Path(environ[FILE_VARIABLE]), True
    return config_folder / KEY_NAME, True
