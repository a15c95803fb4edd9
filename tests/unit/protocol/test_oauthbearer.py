"""OAUTHBEARER's message (RFC 7628 §3.1), and SCRAM with several passwords (RFC 5802 §3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.sasl.messages import SaslSyntaxError
from server.protocol.sasl.oauthbearer import BearerMessage, parse_oauthbearer
from server.protocol.sasl.scram import ScramCredential, ScramKeys, ScramServer, derive_credential
from tests.support.scram import ScramClient

SALT = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("message", "login", "token"),
    [
        (b"n,a=u@example.com,\x01host=h\x01port=143\x01auth=Bearer vF9dft4q==\x01\x01", "u@example.com", "vF9dft4q=="),
        (b"n,,\x01auth=Bearer abcd-efgh\x01\x01", "", "abcd-efgh"),
        (b"n,a=u=2Cv@example.com,\x01auth=bearer  t \x01\x01", "u,v@example.com", "t"),
        (b"y,a=u@example.com,\x01AUTH=Bearer t\x01qs=\x01\x01", "u@example.com", "t"),
    ],
)  # fmt: skip
def test_a_bearer_message(message: bytes, login: str, token: str) -> None:
    assert parse_oauthbearer(message) == BearerMessage(login=login, token=token)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\x01", b"n,a=u,\x01\x01", b"n,a=u,\x01auth=Bearer t\x01", b"n,a=u,auth=Bearer t\x01\x01",
        b"p=tls-unique,a=u,\x01auth=Bearer t\x01\x01", b"n,a=u=3,\x01auth=Bearer t\x01\x01",
        b"n,a=u,\x01auth=Basic t\x01\x01", b"n,a=u,\x01auth=Bearer \x01\x01", b"n,a=u,\x01auth=Bearer a b\x01\x01",
        b"n,a=u,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", b"n,a=u,\x01auth=Bearer \xff\x01\x01",
        b"n,a=u,\x01auth=Bearer " + b"t" * 1025 + b"\x01\x01", b"n,a=u,\x01" + b"k=v\x01" * 9 + b"\x01",
        b"n,a=u,\x01auth=Bearer t\x01" + b"k=" + b"v" * 5000 + b"\x01\x01",
    ],
)  # fmt: skip
def test_other_messages_are_refused(message: bytes) -> None:
    with pytest.raises(SaslSyntaxError):
        parse_oauthbearer(message)


@given(st.binary(max_size=300))
def test_any_octets_give_a_message_or_a_syntax_error(octets: bytes) -> None:
    for message in (octets, b"n,a=" + octets, b"n,,\x01auth=Bearer " + octets + b"\x01\x01"):
        try:
            parse_oauthbearer(message)
        except SaslSyntaxError:
            continue


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(parse_oauthbearer(b"n,a=u,\x01auth=Bearer secret\x01\x01"))


@pytest.mark.parametrize(("secret", "matched"), [("own", ""), ("phone", "p1"), ("tablet", "p2"), ("other", None)])
def test_scram_tells_which_password_the_proof_was_made_with(secret: str, matched: str | None) -> None:
    own = derive_credential(b"own", salt=SALT)
    others = []
    for name, text in (("p1", b"phone"), ("p2", b"tablet")):
        keys = derive_credential(text, salt=SALT)
        others.append(ScramKeys(id=name, stored_key=keys.stored_key, server_key=keys.server_key))
    credential = ScramCredential(
        salt=own.salt,
        iterations=own.iterations,
        stored_key=own.stored_key,
        server_key=own.server_key,
        others=tuple(others),
    )
    server, client = ScramServer(b"server-nonce"), ScramClient("u@example.org", secret)
    server.client_first(client.first())
    signature = server.client_final(client.final(server.server_first(credential)))
    if matched is None:
        assert signature is None
    else:
        assert signature is not None
        assert client.trusts(signature)
    assert server.matched == (matched or "")
