"""The words of a delivery report that a person reads first.

- Plain sentences for somebody who knows no mail protocol; the server's own answer follows for whoever helps them.
- Says what happened, to which address, why, and what to do next.

RFC 3464 §2.1.1 (the human-readable part), RFC 3463 (status codes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_REASONS: Mapping[str, str] = {
    "1.0": "The address was not accepted. Please check its spelling.",
    "1.1": "There is no mailbox with this address. Please check the part before the @.",
    "1.2": "The part after the @ does not exist. Please check its spelling.",
    "1.3": "The address is not written as a mail address must be. Please check its spelling.",
    "1.6": "The mailbox has moved and no new address is known.",
    "1.7": "The receiving server did not accept the sender's address.",
    "1.8": "The receiving server did not accept the sender's domain.",
    "1.10": "The part after the @ takes no mail at all.",
    "2.0": "The mailbox cannot take the message.",
    "2.1": "The mailbox is switched off.",
    "2.2": "The mailbox is full. Its owner must make room before it can take mail again.",
    "2.3": "The message is larger than this mailbox accepts. Try it with smaller or fewer attachments.",
    "3.4": "The message is larger than the receiving server accepts. Try it with smaller or fewer attachments.",
    "4.1": "The receiving server did not answer.",
    "4.2": "The connection to the receiving server broke off.",
    "4.3": "The receiving server could not be looked up, because the name service failed.",
    "4.4": "No server takes mail for the part after the @. Please check its spelling.",
    "4.6": "The message went round in a loop between servers.",
    "4.7": "The message could not be delivered within the time it may wait.",
    "6.7": "The receiving server cannot take addresses with letters outside plain English.",
    "7.0": "The receiving server refused the message by its own rules.",
    "7.1": "The receiving server refused the message by its own rules, often as unwanted mail.",
    "7.10": "The required encrypted connection to the receiving server could not be made.",
}
_CLASSES: Mapping[str, str] = {
    "1": "The address was not accepted. Please check its spelling.",
    "2": "The mailbox cannot take the message.",
    "3": "The receiving server cannot take the message.",
    "4": "The receiving server could not be reached.",
    "5": "The servers did not understand each other.",
    "6": "The receiving server cannot take the content of the message.",
    "7": "The receiving server refused the message by its own rules.",
}


_OURS: Mapping[str, str] = {"7.0": "This mail server did not let the message go on."}


def plain_reason(status: str, *, ours: bool = False) -> str:
    """The reason behind an enhanced status code such as `5.1.1`, in one or two plain sentences (RFC 3463 §3).

    Args:
        ours: No other server said so.
    """
    _, _, detail = status.partition(".")
    if ours and detail in _OURS:
        return _OURS[detail]
    found = _REASONS.get(detail) or _CLASSES.get(detail.partition(".")[0])
    return found or "The receiving server gave no reason that we know."


def opening(action: str) -> str:
    """The first sentences of a report on recipients of one action (RFC 3464 §2.3.3)."""
    match action:
        case "failed":
            return (
                "Your message could not be delivered to the address(es) below.\n"
                "We will not try again. To reach them, send the message once more after solving the problem."
            )
        case "delayed":
            return (
                "Your message has not been delivered to the address(es) below yet.\n"
                "You need not do anything: we keep trying, and tell you if we have to give up."
            )
        case "delivered":
            return "Your message was delivered to the address(es) below."
        case "relayed":
            return (
                "Your message was handed on for the address(es) below, to a server that sends no reports.\n"
                "You will hear from it only if something goes wrong."
            )
        case _:
            return "Your message was handed on from the address(es) below to those behind them."


def recipient_lines(
    address: str, action: str, status: str, host: str | None, answer: str | None, retry_until: datetime | None
) -> Sequence[str]:
    """The lines on one recipient: the address, the reason, the server's own answer, the last day of trying."""
    lines = [f"  {address}"]
    if action in ("failed", "delayed"):
        lines.append(f"    {plain_reason(status, ours=host is None)}")
    if answer:
        where = f"The server {host} answered" if host else "Details"
        lines.append(f"    {where}: {answer}")
    if retry_until is not None:
        lines.append(f"    We keep trying until {format_instant(retry_until)}.")
    return lines


def format_instant(instant: datetime) -> str:
    """An instant for people, in UTC: `2 March 2026, 10:20 UTC`."""
    utc = instant.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"
