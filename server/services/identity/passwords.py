"""Account passwords: what may be one, how it is kept, how it is checked (security.md §4).

- Argon2id for the password itself, SCRAM keys beside it; both made off the event loop, a bounded number at a time.
- A check against nothing (unknown login, account without password) hashes a dummy: it costs what a real one costs.
- Passwords are octets of UTF-8 in NFC; anything over `PASSWORD_OCTETS_MAX` is refused unhashed, whoever asks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from server.config.schema import Login
from server.domain.errors import InvalidInput, Unavailable
from server.domain.ports import Worker
from server.protocol.sasl.scram import ScramCredential
from server.services.identity import scram
from server.store.repositories.credentials import StoredCredential

T = TypeVar("T")

PASSWORD_OCTETS_MAX = 1024
HASH_QUEUE_MAX = 100
"""Hashes that may wait for a slot; beyond, logins are answered as temporary failures (T34)."""
_SALT_OCTETS = 16
_TAG_OCTETS = 32


class Passwords:
    """Hashes and checks passwords by the configured parameters.

    Args:
        worker: Runs `login.hash_slots` hashes at once.
        settings: The present `login` section; new parameters apply to the next hash.
    """

    def __init__(self, worker: Worker, settings: Callable[[], Login]) -> None:
        self._worker = worker
        self._settings = settings
        self._waiting = 0

    async def make(self, password: str, *, address: str, salt: bytes | None = None) -> StoredCredential:
        """Check a new password against the rules and make what is stored of it.

        Args:
            salt: SCRAM's, where the account has one that its app passwords share; None makes a fresh one.

        Raises:
            InvalidInput: The password is too short, too long, common, or the address itself.
            Unavailable: Too many hashes wait.
        """
        octets = check_new(password, address=address, min_length=self._settings().password_min_length)
        hasher = self._hasher()

        def work() -> StoredCredential:
            keys = scram.derive(octets, salt=salt)
            return StoredCredential(
                argon2=hasher.hash(octets),
                scram_salt=keys.salt,
                scram_iterations=keys.iterations,
                scram_stored_key=keys.stored_key,
                scram_server_key=keys.server_key,
            )

        return await self._run(work)

    async def scram_keys(self, secret: bytes, *, salt: bytes | None) -> ScramCredential:
        """SCRAM keys of a password the server made. Raises Unavailable: too many hashes wait."""
        return await self._run(lambda: scram.derive(secret, salt=salt))

    async def verify(self, stored: str | None, password: bytes) -> bool:
        """Whether the password fits the hash; None as hash takes the same time and never fits.

        Raises:
            Unavailable: Too many hashes wait.
        """
        octets = normalised(password)
        hasher = self._hasher()
        encoded = stored if stored is not None else _dummy(hasher)
        fits = await self._run(lambda: _fits(hasher, encoded, octets))
        return fits and stored is not None

    async def rehash(self, stored: str, password: bytes) -> str | None:
        """A hash with the present parameters, or None when the stored one has them already."""
        hasher = self._hasher()
        if not hasher.check_needs_rehash(stored):
            return None
        octets = normalised(password)
        return await self._run(lambda: hasher.hash(octets))

    def _hasher(self) -> PasswordHasher:
        settings = self._settings()
        return _hasher(settings.argon2_time, settings.argon2_memory_kib)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= HASH_QUEUE_MAX:
            raise Unavailable
        self._waiting += 1
        try:
            return await self._worker.run(work)
        finally:
            self._waiting -= 1


def check_new(password: str, *, address: str, min_length: int) -> bytes:
    """The octets of an acceptable new password. Raises InvalidInput with `/password` as pointer."""
    text = unicodedata.normalize("NFC", password)
    octets = text.encode("utf-8", "replace")
    if "\x00" in text or octets.decode("utf-8") != text:
        raise InvalidInput("the password holds a character that is not allowed", pointer="/password")
    if len(text) < min_length:
        raise InvalidInput(f"the password must have at least {min_length} characters", pointer="/password")
    if len(octets) > PASSWORD_OCTETS_MAX:
        raise InvalidInput(f"the password must have at most {PASSWORD_OCTETS_MAX} octets", pointer="/password")
    folded = text.casefold()
    if folded == address.casefold() or folded in _common():
        raise InvalidInput("the password is too easy to guess", pointer="/password")
    return octets


def normalised(password: bytes) -> bytes:
    """UTF-8 in NFC; octets that are no UTF-8 stay as they are."""
    if password.isascii():
        return password
    try:
        return unicodedata.normalize("NFC", password.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return password


@cache
def _hasher(time_cost: int, memory_kib: int) -> PasswordHasher:
    return PasswordHasher(
        time_cost=time_cost,
        memory_cost=memory_kib,
        parallelism=1,
        hash_len=_TAG_OCTETS,
        salt_len=_SALT_OCTETS,
        type=Type.ID,
    )


@cache
def _dummy(hasher: PasswordHasher) -> str:
    return hasher.hash(b"no account has this password")


def _fits(hasher: PasswordHasher, encoded: str, password: bytes) -> bool:
    try:
        return hasher.verify(encoded, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


@cache
def _common() -> frozenset[str]:
    text = resources.files("server.services.identity").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))
