"""server.adapters.tls and certificates: real handshakes over memory (security.md §11, T35, T36)."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from server.adapters import certificates
from server.adapters.tls import CertificateError, TlsContexts, opportunistic_context, verified_context
from server.config.schema import Tls

HOST = "mail.example.test"


def contexts(folder: Path, settings: Tls | None = None) -> TlsContexts:
    return TlsContexts(settings or Tls(), folder=folder / "tls", hostname=HOST, ports=(993,))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = HOST) -> ssl.SSLObject:
    """Shake hands in memory; the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [near, far]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return near
    raise AssertionError("no handshake")


def pair(folder: Path, host: str = HOST, days: int = 90) -> Tls:
    cert, key = certificates.make_self_signed(host, days=days)
    (folder / "c.pem").write_bytes(cert)
    (folder / "k.pem").write_bytes(key)
    return Tls(cert_path=folder / "c.pem", key_path=folder / "k.pem")


def test_a_self_signed_pair_is_made_once_and_verifies_as_its_own_authority(tmp_path: Path) -> None:
    first = contexts(tmp_path)
    again = contexts(tmp_path)
    assert first.info == again.info
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    client = verified_context(tmp_path / "tls" / "cert.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(first.server_context(), client).version() == "TLSv1.3"
    assert handshake(first.server_context(), client, "127.0.0.1").version() == "TLSv1.3"


def test_a_self_signed_pair_is_renewed_for_another_name(tmp_path: Path) -> None:
    contexts(tmp_path)
    other = TlsContexts(Tls(), folder=tmp_path / "tls", hostname="other.example")
    assert other.info.covers("other.example")


def test_a_stranger_does_not_verify_but_an_opportunistic_client_goes_on(tmp_path: Path) -> None:
    server = contexts(tmp_path).server_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, verified_context())
    assert handshake(server, opportunistic_context()).cipher()


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_t35_tls_1_2_needs_ecdhe_and_aead(tmp_path: Path, ciphers: str) -> None:
    client = opportunistic_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError):
        handshake(contexts(tmp_path).server_context(), client)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_t35_tls_1_1_is_refused(tmp_path: Path) -> None:
    client = opportunistic_context()
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(contexts(tmp_path).server_context(), client)


def test_a_least_version_of_1_3_refuses_1_2(tmp_path: Path) -> None:
    client = opportunistic_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(contexts(tmp_path, Tls(min_version="1.3")).server_context(), client)


def test_changed_files_are_served_by_the_same_listening_context(tmp_path: Path) -> None:
    served = contexts(tmp_path, pair(tmp_path))
    listening = served.server_context()
    assert not served.refresh()
    pair(tmp_path, days=60)
    assert served.refresh()
    near = handshake(listening, opportunistic_context())
    assert near.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert((tmp_path / "c.pem").read_text())


@pytest.mark.parametrize("damage", ["half", "other key", "ended", "gone"])
def test_t36_a_bad_pair_is_named_and_the_old_one_stays(tmp_path: Path, damage: str) -> None:
    served = contexts(tmp_path, pair(tmp_path))
    before = served.info
    if damage == "half":
        (tmp_path / "c.pem").write_bytes((tmp_path / "c.pem").read_bytes()[:200])
    elif damage == "other key":
        (tmp_path / "k.pem").write_bytes(certificates.make_self_signed(HOST)[1])
    elif damage == "ended":
        pair(tmp_path, days=0)
    else:
        (tmp_path / "k.pem").unlink()
    with pytest.raises(CertificateError):
        served.reload(Tls(cert_path=tmp_path / "c.pem", key_path=tmp_path / "k.pem"))
    assert not served.refresh()
    assert served.info == before
    assert handshake(served.server_context(), opportunistic_context()).cipher()


def test_a_certificate_covers_its_names_and_one_wildcard_label() -> None:
    info = certificates.CertificateInfo(
        names=("*.example.test", "a.example"),
        subject="",
        issuer="",
        not_before=datetime.now(UTC),
        not_after=datetime.now(UTC),
        self_signed=False,
    )
    assert info.covers("mail.example.test")
    assert info.covers("A.EXAMPLE")
    assert not info.covers("x.mail.example.test")
    assert not info.covers("example.test")


def test_settings_are_copied_not_changed(tmp_path: Path) -> None:
    settings = pair(tmp_path)
    contexts(tmp_path, settings)
    assert msgspec.structs.asdict(settings)["min_version"] == "1.2"
