"""Which category a mail belongs to, by what stands in it (filtering.md section 8).

- The first rule that fires decides; a mail that none knows is Primary. Junk is no category.
- Cost: a few header look-ups; the text is read only of mail that says it is sent in bulk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from server.protocol.mime.headers import HeaderFields, unfold

BULK_TEXT_MAX = 64 * 1024
"""Characters of bulk mail's text in which words of offers are looked for."""


class CategoryName(StrEnum):
    """The categories made with every tenant, first one first."""

    PRIMARY = "Primary"
    SOCIAL = "Social"
    PROMOTIONS = "Promotions"
    UPDATES = "Updates"
    FORUMS = "Forums"


@dataclass(frozen=True, slots=True)
class Category:
    """A category's name and how sure the rule is, in percent."""

    name: CategoryName
    confidence: int


_SOCIAL = frozenset(
    (
        "facebook.com",
        "facebookmail.com",
        "twitter.com",
        "x.com",
        "linkedin.com",
        "instagram.com",
        "tiktok.com",
        "snapchat.com",
        "pinterest.com",
    )
)
_LIST_MANAGERS = (b"x-mailman-version", b"x-listname", b"mailing-list", b"x-mailing-list", b"x-sympa-to", b"x-ml-name")
_OFFER = re.compile(
    r"\b(?:(sale)|(discount)|(offer)s?|(deal)s?|(promo)|(coupon)s?|(limited time)|(unsubscribe))\b|(% off\b)",
    re.IGNORECASE,
)
_UPDATE = re.compile(
    r"\b(?:notification|alert|your order|shipping|delivery|receipt|invoice|statement|password reset|verification)s?\b",
    re.IGNORECASE,
)


def categorise(fields: HeaderFields, *, subject: str, domain: str, text: Callable[[], str]) -> Category:
    """Categorise a mail.

    Args:
        subject: Decoded.
        domain: The From address's, lower case; empty when there is none.
        text: Gives the readable text; asked only when a rule needs it.
    """
    labels = domain.split(".")
    if ".".join(labels[-2:]) in _SOCIAL:
        return Category(CategoryName.SOCIAL, 85)
    names = fields.names
    if _is_list(fields) or any(name in names for name in _LIST_MANAGERS):
        return Category(CategoryName.FORUMS, 80)
    bulk = b"list-unsubscribe" in names or _value(fields, b"precedence") == b"bulk"
    if bulk and _offers(f"{subject}\n{text()[:BULK_TEXT_MAX]}"):
        return Category(CategoryName.PROMOTIONS, 75)
    automatic = _value(fields, b"auto-submitted") not in (b"", b"no")
    if automatic or b"x-auto-response-suppress" in names or _UPDATE.search(subject):
        return Category(CategoryName.UPDATES, 70)
    return Category(CategoryName.PRIMARY, 60)


def _is_list(fields: HeaderFields) -> bool:
    """Whether anybody may post to the list the mail came through (RFC 2369 §3.4, RFC 2919)."""
    return b"list-id" in fields.names and _value(fields, b"list-post") not in (b"", b"no")


def _offers(text: str) -> bool:
    """Whether two different words of offers stand in the text."""
    seen: set[int] = set()
    for match in _OFFER.finditer(text):
        if match.lastindex is not None:
            seen.add(match.lastindex)
        if len(seen) >= 2:
            return True
    return False


def _value(fields: HeaderFields, name: bytes) -> bytes:
    """A field's first word, lower case; empty without the field."""
    if name not in fields.names:
        return b""
    words = unfold(fields.first(name) or b"").lower().split(b";")[0].split()
    return words[0] if words else b""
