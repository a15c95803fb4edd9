"""What the doctor says of DNS records, and of DNS that is silent."""

from __future__ import annotations

from dataclasses import replace

from server.services.identity.dns_records import DnsRecord, RecordState
from server.services.upkeep.doctor import ASK_AGAIN, Severity, folded, record_check

MX = DnsRecord(type="MX", name="example.com", value="10 mail.example.com.", purpose="receiving", required=True)
SPF = DnsRecord(type="TXT", name="example.com", value="v=spf1 mx ~all", purpose="SPF", required=True)


def test_a_missing_record_is_an_error_with_what_to_publish() -> None:
    check = record_check(replace(MX, state=RecordState.MISSING))
    assert (check.id, check.severity, check.fix) == ("DNS-MX", Severity.ERROR, "publish MX example.com")


def test_an_unchecked_record_is_a_warning_and_nothing_is_to_be_published() -> None:
    check = record_check(MX)
    assert (check.severity, check.fix) == (Severity.WARNING, ASK_AGAIN)


def test_dns_that_answers_nothing_is_one_finding() -> None:
    told = folded([record_check(MX), record_check(SPF)], ["192.0.2.53"])
    assert [(check.id, check.severity, check.subject) for check in told] == [
        ("DNS-RESOLVER", Severity.ERROR, "192.0.2.53")
    ]
    assert told[0].fix == "mairust config get dns.resolvers"


def test_dns_that_answers_something_leaves_each_finding() -> None:
    found = [record_check(MX), record_check(SPF), record_check(replace(SPF, state=RecordState.OK))]
    assert folded(found, []) == found
