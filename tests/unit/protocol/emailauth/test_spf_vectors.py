"""Our SPF against the openspf RFC 7208 test-suite (tests/data/spf, with its licence)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from server.protocol.emailauth.spf import check_spf
from tests.support.fake_dns import FakeResolver, Zone

SUITE = Path(__file__).parents[3] / "data" / "spf" / "rfc7208-tests.yml"


def _zone(scenario: dict[str, Any]) -> Zone:
    """The suite's zone data: SPF records stand for TXT ones, unless TXT ones are given too."""
    zone = Zone()
    for name, entries in scenario["zonedata"].items():
        types: dict[str, Any] = {}
        for entry in entries:
            if entry == "TIMEOUT":
                types["*"] = "TIMEOUT"
                continue
            for rdtype, value in entry.items():
                if value == "TIMEOUT":
                    types[rdtype] = "TIMEOUT"
                elif value != "NONE":
                    types.setdefault(rdtype, []).append(value)
                else:
                    types.setdefault(rdtype, [])
        spf = types.pop("SPF", None)
        if spf is not None and "TXT" not in types:
            types["TXT"] = spf
        zone.set(name, **types)
    return zone


def _cases() -> Iterator[Any]:
    with SUITE.open(encoding="utf-8") as file:
        for scenario in YAML(typ="safe").load_all(file):
            zone = _zone(scenario)
            for name, case in scenario["tests"].items():
                yield pytest.param(zone, case, id=name)


@pytest.mark.parametrize(("zone", "case"), list(_cases()))
async def test_openspf_vector(zone: Zone, case: dict[str, Any]) -> None:
    """RFC 7208; the section is the case's `spec`."""
    result = await check_spf(
        FakeResolver(zone), ip=case["host"], sender=case["mailfrom"], helo=case["helo"], explain=True
    )
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert result.result in wanted, (case, result)
    if "explanation" in case:
        assert (result.explanation or "DEFAULT") == case["explanation"]
