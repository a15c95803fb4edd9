"""Mail that has something to check: signed by DKIM, its domain in a DNS of our own with SPF and DMARC."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from server.protocol.emailauth.dkim_key import KeyKind, load_private_key, make_key
from server.protocol.emailauth.dkim_sign import SigningKey, sign_message
from tests.bench.load import make_messages
from tests.support.daemon_process import REPOSITORY

SELECTOR = "bench"


@contextlib.contextmanager
def signed_mail(
    folder: Path, sender: str
) -> Iterator[tuple[Mapping[str, Mapping[str, object]], Callable[[int], list[bytes]]]]:
    """Serve the sender's DNS; gives the daemon's settings and the maker of signed messages (RSA-2048)."""
    domain = sender.partition("@")[2]
    key = make_key(KeyKind.RSA_2048)
    zone_path = folder / "zone.json"
    zone_path.write_text(json.dumps(_zone(domain, key.record)))
    signing = SigningKey(
        domain=domain, selector=SELECTOR, algorithm="rsa-sha256", private_key=load_private_key(key.private)
    )

    def messages(size_octets: int) -> list[bytes]:
        now = datetime.now(UTC)
        return [sign_message(octets, [signing], now=now) + octets for octets in make_messages(size_octets, sender)]

    command = [sys.executable, "-m", "tests.support.fake_dns", str(zone_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as dns:
        try:
            assert dns.stdout is not None
            address = dns.stdout.readline().split()[-1]
            yield {"mailauth": {"enabled": True}, "dns": {"resolvers": [address], "timeout": "5s"}}, messages
        finally:
            dns.terminate()


def _zone(domain: str, key_record: str) -> dict[str, dict[str, Sequence[str]]]:
    return {
        domain: {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
        f"{SELECTOR}._domainkey.{domain}": {"TXT": [key_record]},
        f"_dmarc.{domain}": {"TXT": ["v=DMARC1; p=reject"]},
        "127.0.0.1": {"PTR": [f"mail.{domain}"]},
        f"mail.{domain}": {"A": ["127.0.0.1"]},
    }
