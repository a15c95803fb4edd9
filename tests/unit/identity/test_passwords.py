"""What may be a password, and SCRAM's keys of it."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

import pytest

from server.domain.errors import InvalidInput
from server.services.identity.passwords import check_new, normalised
from server.services.identity.scram import derive, prepare

ADDRESS = "anna.longname@example.org"


@pytest.mark.parametrize(
    "password",
    [
        "x" * 11,
        "a" * 1025,
        "\u00e4" * 513,
        "password1234",
        "PassWord1234",
        ADDRESS,
        ADDRESS.upper(),
        "with nul \x00 inside",
        "lone \ud800 surrogate",
    ],
)
def test_unfit_password_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_new(password, address=ADDRESS, min_length=12)
    assert caught.value.pointer == "/password"
    assert password not in caught.value.public


@pytest.mark.parametrize("password", ["kelp orbit 4", "b" * 1023 + "c", "\u00e4" * 512])
def test_fit_password_is_taken_up_to_1024_octets(password: str) -> None:
    assert check_new(password, address=ADDRESS, min_length=12) == password.encode()


def test_normalised_is_nfc_and_leaves_other_octets() -> None:
    assert normalised("a\u0308".encode()) == "\u00e4".encode()
    assert normalised(b"\xff\xfe") == b"\xff\xfe"


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_saslprep_examples(typed: str, prepared: str) -> None:
    """RFC 4013 §3, and a non-ASCII space (§2.1)."""
    assert prepare(typed.encode()) == prepared.encode()


@pytest.mark.parametrize("typed", ["\u0007", "\u0627\u0031"])
def test_what_saslprep_forbids_is_taken_as_typed(typed: str) -> None:
    """RFC 4013 §3: prohibited character; bidirectional check."""
    assert prepare(typed.encode()) == typed.encode()


def test_scram_sha_256_vector() -> None:
    """RFC 7677 §3: user, pencil."""
    keys = derive(b"pencil", salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), iterations=4096)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    server = base64.b64encode(hmac.digest(keys.server_key, message, "sha256"))
    assert server == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(keys.stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert sha256(client_key).digest() == keys.stored_key
