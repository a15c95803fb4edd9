"""Certificate files: reading their facts, and making a self-signed pair where none is configured.

- Files are written whole under another name, then renamed; the key is 0600 from its first octet.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SELF_SIGNED_DAYS = 825
RENEW_BEFORE = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateInfo:
    """The facts of a served leaf certificate; `names` are its DNS names and addresses, lower case."""

    names: tuple[str, ...]
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    self_signed: bool

    def covers(self, host: str) -> bool:
        """Whether a name of the certificate matches `host` (RFC 9525 §6.3: a wildcard is one whole left label)."""
        host = host.lower()
        return any(name == host or (name[:2] == "*." and host.partition(".")[2] == name[2:]) for name in self.names)


def read_info(cert_path: Path) -> CertificateInfo:
    """Read the first certificate of a PEM chain. Raises OSError or ValueError."""
    certificate = x509.load_pem_x509_certificates(cert_path.read_bytes())[0]
    names: list[str] = []
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in san.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        names = []
    return CertificateInfo(
        names=tuple(names),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        self_signed=certificate.subject == certificate.issuer,
    )


def ensure_self_signed(folder: Path, hostname: str) -> tuple[Path, Path]:
    """Make `cert.pem` and `key.pem` in `folder` unless a pair for this name with time left is there. Raises OSError."""
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (key_path.exists() and _usable(cert_path, hostname)):
        cert, key = make_self_signed(hostname)
        _write(key_path, key, 0o600)
        _write(cert_path, cert, 0o644)
    return cert_path, key_path


def make_self_signed(hostname: str, *, days: int = SELF_SIGNED_DAYS) -> tuple[bytes, bytes]:
    """Make a certificate and its P-256 key as PEM, for `hostname`, localhost and the loopback addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC).replace(microsecond=0)
    names: list[x509.GeneralName] = [x509.DNSName(text) for text in dict.fromkeys((hostname, "localhost"))]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), pem_key


def _usable(cert_path: Path, hostname: str) -> bool:
    try:
        info = read_info(cert_path)
    except (OSError, ValueError):
        return False
    return info.covers(hostname) and info.not_after - datetime.now(UTC) > RENEW_BEFORE


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
