"""The demo's folder: configuration, master key, certificate.

- Everything stands below one folder of mode 0700; what is there from an earlier run is used again.
- The certificate is signed by itself and names the loopback, so clients verify it against its own file.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from mairust_cli.demo.ports import LOOPBACK
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.yaml_text import yaml_text

HOSTNAME = "mail.example.test"
DAYS_VALID = 365
_SOCKET_PATH_OCTETS = 107


class DemoFolder:
    """Paths below the demo's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.socket = path / "api.sock"
        self.outbound = path / "outbound"
        self.certificate = path / "tls" / "cert.pem"
        self.key = path / "tls" / "key.pem"
        self.master_key = path / "master.key"
        self.log = path / "mairustd.log"

    def prepare(self, ports: Mapping[str, int]) -> None:
        """Make what is missing; the configuration is written anew, ports change from run to run.

        Raises:
            CliError: The folder can not be used.
        """
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_OCTETS:
            why = f"the socket's path may have {_SOCKET_PATH_OCTETS} octets: {self.socket}"
            raise CliError(
                "the folder's path is too long", code=Exit.INVALID, why=why, hint="mairust demo --dir /tmp/demo"
            )
        try:
            for folder in (self.path, self.outbound, self.certificate.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.master_key.exists():
                write_secret(self.master_key, base64.b64encode(os.urandom(32)) + b"\n")
            if not usable_certificate(self.certificate):
                certificate, key = self_signed()
                write_secret(self.key, key)
                write_secret(self.certificate, certificate)
            write_secret(self.config, self._configuration(ports).encode())
        except OSError as error:
            why = f"{error.filename or self.path}: {error.strerror}"
            raise CliError(
                "the demo's folder can not be used", code=Exit.FAILED, why=why, hint="mairust demo"
            ) from None

    def _configuration(self, ports: Mapping[str, int]) -> str:
        settings: dict[str, object] = {
            "server": {
                "hostname": HOSTNAME,
                "bind": [LOOPBACK],
                "api_bind": [LOOPBACK],
                **ports,
                "admin_socket": str(self.socket),
                "state_dir": str(self.path),
                "shutdown_grace": "5s",
            },
            "tls": {"cert_path": str(self.certificate), "key_path": str(self.key)},
            "storage": {"reserve": "64MiB"},
            "smtp": {"max_connections_per_ip": 1000, "connections_per_minute": 100_000},
            "pop3": {"enabled": True},
            "outbound": {"capture_path": str(self.outbound)},
        }
        return "# Written by mairust demo at each start.\n" + yaml_text(settings)


def write_secret(path: Path, octets: bytes) -> None:
    """Write a file of mode 0600 whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def usable_certificate(path: Path) -> bool:
    """Whether there is a certificate that holds for another day."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1)


def self_signed() -> tuple[bytes, bytes]:
    """A new certificate for the loopback and its P-256 key, both PEM (RFC 5280)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTNAME)])
    now = datetime.now(UTC)
    names = [x509.DNSName(HOSTNAME), x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS_VALID))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
