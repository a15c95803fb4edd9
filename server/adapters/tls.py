"""TLS contexts of listeners and of outbound connections (security.md §11).

- At least TLS 1.2; 1.2 only with ECDHE and AEAD; no renegotiation, no compression.
- Listeners keep one context for life: each handshake takes its certificate from the newest good pair, so a reload
  needs no restart and a bad pair is never served.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from server.adapters.certificates import CertificateInfo, ensure_self_signed, read_info
from server.config.schema import Tls
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("tls")

TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Stamp = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """A certificate and key can't be served; the text says why and names the file."""


class TlsContexts:
    """The contexts of this process.

    Args:
        settings: Files and least version; without files a self-signed pair is kept in `folder`.
        folder: Where the self-signed pair lives, made when needed.
        hostname: The name the certificate should have.
        ports: Ports that serve the certificate, for the expiry metric.

    Raises:
        CertificateError: The pair can't be served.
    """

    def __init__(self, settings: Tls, *, folder: Path, hostname: str, ports: Sequence[int] = ()) -> None:
        self._folder = folder
        self._hostname = hostname
        self._ports = tuple(ports)
        self._settings = settings
        self._listening, self._info, self._stamp = self._load(settings)
        self._current = self._listening
        self._listening.sni_callback = self._choose

    @property
    def info(self) -> CertificateInfo:
        """The facts of the certificate new connections get."""
        return self._info

    def server_context(self) -> ssl.SSLContext:
        """The context for listeners and STARTTLS; stays the same object over reloads."""
        return self._listening

    def reload(self, settings: Tls) -> None:
        """Serve the pair of these settings from now on. Raises CertificateError; the old pair then stays."""
        current, info, stamp = self._load(settings)
        if info.not_after <= datetime.now(UTC):
            raise CertificateError(f"{self._paths(settings)[0]}: ended on {info.not_after:%Y-%m-%d}")
        self._settings, self._current, self._info, self._stamp = settings, current, info, stamp

    def refresh(self) -> bool:
        """Reload when the files changed, and set the expiry metric; says whether it did reload."""
        left_s = (self._info.not_after - datetime.now(UTC)).total_seconds()
        for port in self._ports:
            metrics.TLS_EXPIRY.labels(str(port)).set(left_s)
        try:
            if _stamp(self._paths(self._settings)) == self._stamp:
                return False
            self.reload(self._settings)
        except (CertificateError, OSError) as error:
            log.error("tls.reload_failed", error=str(error))
            return False
        log.info("tls.reloaded", not_after=self._info.not_after.isoformat(), names=self._info.names)
        return True

    def _paths(self, settings: Tls) -> tuple[Path, Path]:
        if settings.cert_path is not None and settings.key_path is not None:
            return settings.cert_path, settings.key_path
        return ensure_self_signed(self._folder, self._hostname)

    def _load(self, settings: Tls) -> tuple[ssl.SSLContext, CertificateInfo, Stamp]:
        try:
            cert_path, key_path = self._paths(settings)
        except OSError as error:
            raise CertificateError(f"{self._folder}: {error.strerror}") from error
        context = server_context(settings.min_version)
        try:
            stamp = _stamp((cert_path, key_path))
            context.load_cert_chain(cert_path, key_path, password=_no_password)
            info = read_info(cert_path)
            context.end_point = end_point_of(cert_path)
        except ssl.SSLError as error:
            reason = (error.reason or "not a PEM chain and key").lower().replace("_", " ")
            raise CertificateError(f"{cert_path}, {key_path}: {reason}") from error
        except OSError as error:
            raise CertificateError(f"{error.filename or cert_path}: {error.strerror}") from error
        except ValueError as error:
            raise CertificateError(f"{cert_path}: not a PEM certificate") from error
        if not info.covers(self._hostname):
            log.warning("tls.name_missing", hostname=self._hostname, names=info.names)
        return context, info, stamp

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current


class ServerContext(ssl.SSLContext):
    """A context that knows its certificate as channel binding data, which the library does not tell of our own.

    Attributes:
        end_point: tls-server-end-point (RFC 5929 §4.1), empty when it is not defined for the certificate.
    """

    end_point: bytes = b""


def end_point_of(cert_path: Path) -> bytes:
    """The digest of the first certificate of a PEM chain by its signature's hash, SHA-256 for MD5 and SHA-1.

    Signatures without a hash of their own, as Ed25519's, define none: the result is empty (RFC 5929 §4.1).
    """
    certificate = x509.load_pem_x509_certificates(cert_path.read_bytes())[0]
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return b""
    if algorithm.name in ("md5", "sha1"):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


def server_context(min_version: str) -> ServerContext:
    """An empty context for a server."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[min_version]
    context.set_ciphers(TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def opportunistic_context() -> ssl.SSLContext:
    """A client context that takes any certificate (RFC 7435): for MX hosts without a policy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A client context that verifies chain and name: for relays with a password."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _stamp(paths: Sequence[Path]) -> Stamp:
    return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in map(os.stat, paths))


def _no_password() -> str:
    raise ValueError("the key is encrypted")
