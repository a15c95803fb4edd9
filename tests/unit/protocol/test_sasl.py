"""SASL PLAIN, LOGIN and SCRAM-SHA-256 (RFC 4616, RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.sasl.messages import (
    LOGIN_MAX,
    PASSWORD_MAX,
    PlainMessage,
    SaslSyntaxError,
    decode_base64,
    encode_base64,
    parse_plain,
)
from server.protocol.sasl.scram import ScramServer, derive_credential


@pytest.mark.parametrize(
    ("octets", "message"), [(b"=", b""), (b"", b""), (b"YQ==", b"a"), (b"AAEC/w==", b"\0\1\2\xff")]
)
def test_base64(octets: bytes, message: bytes) -> None:
    assert decode_base64(octets) == message


@pytest.mark.parametrize(
    "octets", [b"YQ", b"YQ=", b"YQ===", b"Y Q=", b"YQ==x", b"user@example", b"\xff", b"====", b"YQ==\n"]
)
def test_text_that_is_not_base64_is_refused(octets: bytes) -> None:
    with pytest.raises(SaslSyntaxError):
        decode_base64(octets)


def test_plain() -> None:
    assert parse_plain(b"\0u@x\0p w") == PlainMessage(authorization="", login="u@x", password=b"p w")
    assert parse_plain(b"z\0u\0p").authorization == "z"


def test_a_password_is_not_shown() -> None:
    assert "p w" not in repr(parse_plain(b"\0u@x\0p w"))


@pytest.mark.parametrize(
    "message",
    [
        b"", b"u", b"\0u", b"\0u\0", b"\0\0p", b"\0u\0p\0", b"\0\xff\0p", b"\0u\r\n\0p", b"a\nb\0u\0p",
        b"\0" + b"u" * (LOGIN_MAX + 1) + b"\0p", b"\0u\0" + b"p" * (PASSWORD_MAX + 1),
    ],
)  # fmt: skip
def test_plain_out_of_the_grammar_is_refused(message: bytes) -> None:
    with pytest.raises(SaslSyntaxError):
        parse_plain(message)


def test_plain_at_the_limits() -> None:
    message = parse_plain(b"\0" + b"u" * LOGIN_MAX + b"\0" + b"p" * PASSWORD_MAX)
    assert (len(message.login), len(message.password)) == (LOGIN_MAX, PASSWORD_MAX)


def test_the_published_scram_exchange() -> None:
    """RFC 7677 §3."""
    credential = derive_credential(b"pencil", salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), iterations=4096)
    server = ScramServer(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert server.client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == "user"
    assert server.server_first(credential) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    signature = server.client_final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert signature == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def _proof(password: bytes, first_bare: bytes, server_first: bytes, without_proof: bytes) -> bytes:
    fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    message = b",".join((first_bare, server_first, without_proof))
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    return encode_base64(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))


def _begin(first: bytes = b"n,,n=u,r=abc") -> tuple[ScramServer, bytes]:
    server = ScramServer(b"server")
    server.client_first(first)
    return server, server.server_first(derive_credential(b"right", salt=b"salt", iterations=4096))


def test_a_wrong_password_gives_no_signature() -> None:
    server, first = _begin()
    proof = _proof(b"wrong", b"n=u,r=abc", first, b"c=biws,r=abcserver")
    assert server.client_final(b"c=biws,r=abcserver,p=" + proof) is None


def test_a_client_that_saw_no_channel_binding_is_believed() -> None:
    server, first = _begin(b"y,,n=u,r=abc")
    binding = encode_base64(b"y,,")
    proof = _proof(b"right", b"n=u,r=abc", first, b"c=" + binding + b",r=abcserver")
    assert server.client_final(b"c=" + binding + b",r=abcserver,p=" + proof) is not None


@pytest.mark.parametrize(
    "message",
    [
        b"", b"n,,n=u", b"n,,r=abc", b"p=tls-exporter,,n=u,r=abc", b"x,,n=u,r=abc", b"n,a=other,n=u,r=abc",
        b"n,,n=u=2Dx,r=abc", b"n,,n=u,r=", b"n,,n=u,r=a,b", b"n,,n=u,r=" + b"x" * 257, b"n,,m=ext,n=u,r=abc",
        b"n,,n=\xff,r=abc", b"n,,n=u\x00,r=abc",
    ],
)  # fmt: skip
def test_client_first_out_of_the_grammar_is_refused(message: bytes) -> None:
    with pytest.raises(SaslSyntaxError):
        ScramServer(b"server").client_first(message)


@pytest.mark.parametrize(
    ("message", "login"),
    [(b"n,a=u,n=u,r=abc", "u"), (b"n,,n=a=2Cb=3Dc,r=abc", "a,b=c"), ("n,,n=ä,r=abc".encode(), "ä")],
)
def test_client_first(message: bytes, login: str) -> None:
    assert ScramServer(b"server").client_first(message) == login


@pytest.mark.parametrize(
    "message",
    [
        b"", b"c=biws,r=abcserver", b"c=biws,r=other,p=YQ==", b"c=YQ==,r=abcserver,p=YQ==", b"c=biws,r=abcserver,p=YQ",
        b"c=biws,r=abcserver,p=YQ==", b"c=biws,r=abcserver,x=1,p=YQ==", b"c=!,r=abcserver,p=YQ==",
    ],
)  # fmt: skip
def test_client_final_out_of_the_exchange_is_refused(message: bytes) -> None:
    server, _ = _begin()
    with pytest.raises(SaslSyntaxError):
        server.client_final(message)


def test_client_final_before_the_challenge_is_refused() -> None:
    with pytest.raises(SaslSyntaxError):
        ScramServer(b"server").client_final(b"c=biws,r=abcserver,p=YQ==")


@given(st.binary(max_size=200))
def test_any_octets_give_a_message_or_a_syntax_error(octets: bytes) -> None:
    server, _ = _begin()
    for parse in (decode_base64, parse_plain, ScramServer(b"x").client_first, server.client_final):
        try:
            parse(octets)
        except SaslSyntaxError:
            continue
