"""From the events of one message to plain words: what became of it, and what to do next (product.md 56).

- One state per recipient, from its newest event; the sentence tells the worst first, because that is what people ask.
- The advice comes from the enhanced status code (RFC 3463), then from the basic code; the exact reply is always shown
  beside it. Replies of this server are plain words already: nothing is blamed on a receiver that never spoke.
- A report to the sender (RFC 3464) shares the trace; whoever gets it is told of as the sender, never as a recipient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from server.domain.changes import Event
from server.domain.queue import Origin


class Fate(IntEnum):
    """What became of one recipient; a higher one is told first."""

    ARRIVED = 0
    DISCARDED = 1
    SENT = 2
    CAPTURED = 3
    QUEUED = 4
    HELD = 5
    DEFERRED = 6
    CANCELLED = 7
    REFUSED = 8
    FAILED = 9


FINAL = frozenset({Fate.ARRIVED, Fate.DISCARDED, Fate.SENT, Fate.CAPTURED, Fate.CANCELLED, Fate.REFUSED, Fate.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A sentence or two, a command to go on with (or empty), and whether nothing more will happen by itself."""

    summary: str
    next_command: str
    final: bool


_FATE_OF_TYPE = {
    "message.stored": Fate.ARRIVED,
    "message.discarded": Fate.DISCARDED,
    "delivery.sent": Fate.SENT,
    "delivery.deferred": Fate.DEFERRED,
    "delivery.failed": Fate.FAILED,
    "delivery.expired": Fate.FAILED,
    "submission.accepted": Fate.QUEUED,
    "submission.held": Fate.HELD,
    "submission.cancelled": Fate.CANCELLED,
    "message.refused": Fate.REFUSED,
    "delivery.retried": Fate.QUEUED,
    "delivery.released": Fate.QUEUED,
}

_WORDS = {
    Fate.ARRIVED: "Delivered to {who}.",
    Fate.DISCARDED: "Dropped by the own mail filter of {who}.",
    Fate.SENT: "Delivered: {host} has taken the mail for {who}; from here on that server knows more.",
    Fate.CAPTURED: "Not sent to {who}: outbound.capture_path keeps outgoing mail on this machine.",
    Fate.QUEUED: "Waiting in the queue for {who}.",
    Fate.HELD: "Held for {who}: it waits until somebody releases it.",
    Fate.DEFERRED: "Not delivered to {who} yet: {why}. It is tried again {when}.",
    Fate.CANCELLED: "Deleted from the queue for {who}; the sender was not told.",
    Fate.REFUSED: "Refused for {who}: {why}.",
    Fate.FAILED: "Not delivered to {who}: {why}.",
}

_ENHANCED: tuple[tuple[str, str], ...] = (
    (r"[45]\.1\.1", "there is no such mailbox"),
    (r"[45]\.1\.2", "the recipient's domain does not exist"),
    (r"[45]\.1\.(3|7)", "an address is not valid"),
    (r"5\.1\.10", "the recipient's domain takes no mail (null MX)"),
    (r"[45]\.1\.8", "the sender's domain does not exist or takes no mail"),
    (r"[45]\.2\.1", "the mailbox is disabled"),
    (r"[45]\.2\.2", "the mailbox is full"),
    (r"[45]\.2\.3", "the message is larger than the mailbox takes"),
    (r"[45]\.3\.1", "the server that should take it has no disk space"),
    (r"[45]\.3\.4", "the message is too large"),
    (r"[45]\.4\.1", "the receiving server does not answer"),
    (r"[45]\.4\.2", "the connection was lost"),
    (r"[45]\.4\.[34]", "the way to the receiving server can't be found in DNS"),
    (r"[45]\.4\.6", "the mail goes in a circle"),
    (r"[45]\.4\.7", "it could not be delivered in all the time it was tried"),
    (r"5\.5\.2", "the message's lines do not end as mail's must"),
    (r"[45]\.7\.(20|22)", "the receiver found no valid DKIM signature"),
    (r"[45]\.7\.23", "the receiver found that SPF does not allow this server"),
    (r"[45]\.7\.25", "this server's address has no matching reverse name (PTR)"),
    (r"[45]\.7\.26", "the mail did not pass the sender domain's SPF, DKIM or DMARC check"),
    (r"[45]\.7\.28", "the receiver limits how much this server may send"),
    (r"4\.7\.1", "the receiver asks to come back later (greylisting is usual)"),
    (r"5\.7\.1", "the receiver's policy forbids it"),
    (r"[45]\.7\.(5|10)", "the receiver asks for TLS that could not be had"),
    (r"[45]\.7\.\d+", "the receiver's security policy forbids it"),
)
_BASIC = {
    "421": "the receiving server is busy or shuts down",
    "450": "the mailbox is not available at the moment",
    "451": "the receiving server has a fault of its own",
    "452": "the receiving server is out of space",
    "550": "the receiving server refuses it",
    "552": "the message or the mailbox is too large",
    "554": "the receiving server refuses it",
}

_ADVICE: tuple[tuple[str, str], ...] = (
    (r"[45]\.7\.(20|22|23|26)", "mairust domain dns show {sender_domain}"),
    (r"[45]\.7\.(25|28)", "mairust doctor"),
    (r"[45]\.3\.1", "mairust doctor"),
    (r"[45]\.2\.2", "mairust account show {recipient}"),
)
_OWN_ADVICE: tuple[tuple[str, str], ...] = (
    (r"[45]\.4\.[34]", "mairust doctor"),
    (r"5\.1\.1", "mairust account add {recipient}"),
    (r"5\.3\.4", "mairust config get smtp.max_message_size"),
)
"""Where the reply is this server's, and so it is this server that may have to change."""
_SAME_HERE = re.compile(r"[45]\.(1\.1|2\.[123])")
"""Codes whose words hold for a mailbox here as for one elsewhere."""
_CODES = re.compile(r"[2345]\d\d[ -]([245]\.\d{1,3}\.\d{1,3} )?")
_ENHANCED_IN = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_BASIC_IN = re.compile(r"\b([2345]\d\d)\b")
_HOST_MAX = 3


def explain(events: Sequence[Event]) -> Explanation:
    """Say what the events, in order, amount to."""
    informed = reported_to(events)
    newest: dict[str, Event] = {}
    for event in events:
        if event.type in _FATE_OF_TYPE and event.recipient not in informed:
            newest[event.recipient or ""] = event
    if not newest:
        last = events[-1].detail if events else ""
        return Explanation(summary=last or "Nothing is known of this message.", next_command="", final=bool(events))
    by_fate: dict[Fate, list[Event]] = {}
    for event in newest.values():
        by_fate.setdefault(_fate(event), []).append(event)
    sentences = [_sentence(fate, by_fate[fate]) for fate in sorted(by_fate, reverse=True)]
    worst = max(by_fate)
    if informed:
        sentences.append(f"A report went to the sender, {_list(sorted(informed))}.")
    return Explanation(
        summary=" ".join(sentences),
        next_command=_next_command(worst, by_fate[worst][-1]),
        final=all(fate in FINAL for fate in by_fate),
    )


def reported_to(events: Sequence[Event]) -> frozenset[str]:
    """Who got only a report about the message, not the message."""
    reports = {e.recipient for e in events if e.recipient and e.data.get("origin") == Origin.DSN.value}
    return frozenset(reports - {e.recipient for e in events if e.recipient and e.sender})


def reason_of(reply: str, *, ours: bool = False) -> str:
    """A reply in plain words; the reply itself where nothing better is known.

    Args:
        ours: The reply is this server's own, of a refusal or of an attempt that never reached another server.
    """
    enhanced = _ENHANCED_IN.search(reply)
    if ours and reply and not (enhanced is not None and _SAME_HERE.fullmatch(enhanced[1])):
        words = _CODES.sub("", reply, count=1)
        return words if words[:2].isupper() else words[:1].lower() + words[1:]
    if enhanced is not None:
        for pattern, words in _ENHANCED:
            if re.fullmatch(pattern, enhanced[1]):
                return words
    basic = _BASIC_IN.search(reply)
    if basic is not None and basic[1] in _BASIC:
        return _BASIC[basic[1]]
    return reply or "no reason was given"


def _fate(event: Event) -> Fate:
    if event.type == "message.refused" and event.verdict == "deferred":
        return Fate.DEFERRED
    if event.type == "submission.accepted" and event.verdict == "forwarded":
        return Fate.QUEUED
    if event.type == "delivery.sent" and event.data.get("kind") == "local":
        return Fate.ARRIVED
    if event.type == "delivery.sent" and _ours(event):
        return Fate.CAPTURED
    return _FATE_OF_TYPE[event.type]


def _ours(event: Event) -> bool:
    return event.type == "message.refused" or event.data.get("from_remote") is False


def _sentence(fate: Fate, events: Sequence[Event]) -> str:
    who = _list([event.recipient or "all recipients" for event in events])
    hosts = _list(list(dict.fromkeys(str(event.data.get("host") or "the next server") for event in events)))
    said = dict.fromkeys((event.reply, _ours(event)) for event in events)
    why = "; ".join(reason_of(reply, ours=ours) for reply, ours in list(said)[:_HOST_MAX])
    return _WORDS[fate].format(who=who, host=hosts, why=why, when=_next_try(events))


def _next_try(events: Sequence[Event]) -> str:
    times = [str(event.data["next_attempt_at"]) for event in events if "next_attempt_at" in event.data]
    if times:
        return f"at {min(times)[11:16]} UTC"
    return "by the server that sent it" if all(event.type == "message.refused" for event in events) else "by itself"


def _list(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_HOST_MAX])
    return shown if len(items) <= _HOST_MAX else f"{shown} and {len(items) - _HOST_MAX} more"


def _next_command(fate: Fate, event: Event) -> str:
    enhanced = _ENHANCED_IN.search(event.reply)
    if enhanced is not None and fate in (Fate.DEFERRED, Fate.FAILED, Fate.REFUSED):
        for pattern, command in (*(_OWN_ADVICE if _ours(event) else ()), *_ADVICE):
            if re.fullmatch(pattern, enhanced[1]):
                sender_domain = (event.sender or "").rpartition("@")[2]
                return command.format(sender_domain=sender_domain, recipient=event.recipient or "")
    delivery = event.data.get("delivery_id")
    if fate is Fate.CAPTURED:
        return "mairust config get outbound.capture_path"
    if fate is Fate.HELD:
        return f"mairust queue release {delivery}" if delivery else "mairust queue list --status held"
    if fate in (Fate.QUEUED, Fate.DEFERRED) and event.queue_id is not None:
        return f"mairust queue retry {delivery}" if delivery else "mairust queue list"
    return ""
