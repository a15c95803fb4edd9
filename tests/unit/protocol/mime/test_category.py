"""Rules of categories (filtering.md section 8)."""

from __future__ import annotations

import pytest

from server.protocol.mime.category import categorise
from server.protocol.mime.headers import split_header


@pytest.mark.parametrize(
    ("head", "domain", "text", "expected"),
    [
        ("", "facebookmail.com", "", "Social"),
        ("", "mail.x.com", "", "Social"),
        ("", "notx.com", "", "Primary"),
        ("List-Id: <a.b>\r\nList-Post: <mailto:a@b>", "a.b", "", "Forums"),
        ("List-Id: <a.b>\r\nList-Post: NO", "a.b", "", "Primary"),
        ("List-Id: <a.b>", "a.b", "", "Primary"),
        ("X-Mailman-Version: 3", "a.b", "", "Forums"),
        ("List-Unsubscribe: <https://x>", "a.b", "Big SALE! click to unsubscribe", "Promotions"),
        ("List-Unsubscribe: <https://x>", "a.b", "sale, sale, SALE", "Primary"),
        ("Precedence: bulk", "a.b", "20% off, with coupons", "Promotions"),
        ("", "a.b", "sale discount", "Primary"),
        ("Auto-Submitted: auto-generated", "a.b", "", "Updates"),
        ("Auto-Submitted: no", "a.b", "", "Primary"),
        ("X-Auto-Response-Suppress: All", "a.b", "", "Updates"),
        ("Subject: Your order has shipped", "a.b", "", "Updates"),
        ("Subject: Invoices for May", "a.b", "", "Updates"),
        ("Subject: invoicing", "", "", "Primary"),
    ],
)
def test_the_first_rule_that_fires_decides(head: str, domain: str, text: str, expected: str) -> None:
    subject = head.partition("Subject: ")[2]
    fields = split_header(head.encode() + b"\r\n\r\n")
    assert categorise(fields, subject=subject, domain=domain, text=lambda: text).name == expected


def test_text_is_read_of_bulk_mail_only() -> None:
    def text() -> str:
        raise AssertionError("read")

    assert categorise(split_header(b"\r\n"), subject="x", domain="a.b", text=text).confidence == 60
