"""Authentication-Results written and read (RFC 8601), and iprev (§3)."""

from __future__ import annotations

import pytest

from server.protocol.emailauth.authres import (
    MethodResult,
    claims_authserv_id,
    format_authentication_results,
    parse_authserv_id,
)
from server.protocol.emailauth.iprev import check_iprev
from server.protocol.emailauth.result import Result
from tests.support.fake_dns import FakeResolver


def test_each_method_has_its_line() -> None:
    """§2.2, Appendix B.3."""
    field = format_authentication_results(
        "example.com",
        [
            MethodResult(method="spf", result=Result.PASS, properties=(("smtp.mailfrom", "a.b@example.net"),)),
            MethodResult(
                method="dkim",
                result=Result.FAIL,
                comment="2048-bit key",
                reason="body was altered",
                properties=(("header.d", "example.net"), ("header.b", "")),
            ),
        ],
    )
    assert field == (
        b"Authentication-Results: example.com;\r\n"
        b"\tspf=pass smtp.mailfrom=a.b@example.net;\r\n"
        b'\tdkim=fail (2048-bit key) reason="body was altered" header.d=example.net\r\n'
    )


def test_no_result_is_none() -> None:
    """Appendix B.2."""
    assert format_authentication_results("example.org", []) == b"Authentication-Results: example.org;\r\n\tnone\r\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('x";\r\n dkim=pass header.d=bank.example', b'"x\\";?? dkim=pass header.d=bank.example"'),
        ("ann)smith@example.com", b'"ann)smith@example.com"'),
        ("jürgen@example.com", b'"j?rgen@example.com"'),
        ("back\\slash", b'"back\\\\slash"'),
        ("a b@example.com", b'"a b@example.com"'),
        ("2001:db8::1", b'"2001:db8::1"'),
        ("x" * 1000, b'"' + b"x" * 320 + b'"'),
    ],
)
def test_a_strangers_value_cannot_leave_its_quotes(value: str, written: bytes) -> None:
    result = MethodResult(method="spf", result=Result.NONE, properties=(("smtp.mailfrom", value),))
    field = format_authentication_results("example.com", [result])
    assert field.endswith(b"spf=none smtp.mailfrom=" + written + b"\r\n")
    assert field.count(b"\r\n") == 2


def test_a_comment_keeps_its_parentheses() -> None:
    field = format_authentication_results(
        "example.com", [MethodResult(method="iprev", result=Result.PASS, comment="a) dkim=pass (b\r\nc\\")]
    )
    assert field.endswith(b"iprev=pass (a\\) dkim=pass \\(b??c\\\\)\r\n")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b" mx.example.com; spf=pass", "mx.example.com"),
        (b"\r\n\t(a (nested \\) comment)) MX.Example.com 1;none", "mx.example.com"),
        (b'"mx.example.com"; none', "mx.example.com"),
        (b'"mx\\.example.com"; none', "mx.example.com"),
        (b"(open", None),
        (b"; spf=pass", None),
        (b"", None),
        (b"(" * 100_000, None),
    ],
)
def test_authserv_id_is_read(value: bytes, wanted: str | None) -> None:
    """§2.2."""
    assert parse_authserv_id(value) == wanted


@pytest.mark.parametrize(
    ("value", "claims"),
    [
        (b" mx.example.com; spf=pass", True),
        (b" MX.EXAMPLE.COM.; spf=pass", True),
        (b" (c) mx.example.com/1; x", True),
        (b";", True),
        (b" mx.example.net; spf=pass", False),
        (b" xmx.example.com; spf=pass", False),
    ],
)
def test_field_in_our_name_is_known(value: bytes, claims: bool) -> None:
    """§5; product item 3."""
    assert claims_authserv_id(value, "mx.example.com") is claims


@pytest.mark.parametrize(
    ("zone", "result", "name"),
    [
        (
            {"192.0.2.1": {"PTR": ["a.example", "mx.example"]}, "mx.example": {"A": ["192.0.2.1"]}},
            Result.PASS,
            "mx.example",
        ),
        ({"192.0.2.1": {"PTR": ["mx.example"]}, "mx.example": {"A": ["192.0.2.2"]}}, Result.FAIL, ""),
        ({"192.0.2.1": {"PTR": ["mx.example"]}}, Result.FAIL, ""),
        ({"192.0.2.1": {"PTR": ["mx.example"]}, "mx.example": {"*": "TIMEOUT"}}, Result.TEMPERROR, ""),
        ({"192.0.2.1": {"PTR": "SERVFAIL"}}, Result.TEMPERROR, ""),
        ({}, Result.PERMERROR, ""),
    ],
)
async def test_iprev(zone: dict[str, dict[str, object]], result: Result, name: str) -> None:
    """§3, §2.7.3."""
    found = await check_iprev(FakeResolver(zone), ip="192.0.2.1")
    assert (found.result, found.name) == (result, name)


async def test_iprev_of_ipv6() -> None:
    zone = {"2001:db8::1": {"PTR": ["mx.example"]}, "mx.example": {"AAAA": ["2001:db8:0::1"]}}
    assert (await check_iprev(FakeResolver(zone), ip="2001:db8::1")).result is Result.PASS


async def test_iprev_looks_at_ten_names() -> None:
    names = [f"h{i}.example" for i in range(50)]
    resolver = FakeResolver({"192.0.2.1": {"PTR": names}})
    assert (await check_iprev(resolver, ip="192.0.2.1")).result is Result.FAIL
    assert len(resolver.queries) == 11
