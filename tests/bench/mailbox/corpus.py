"""Messages that are the same in every run: made-up words by a Zipf-like law, with needles to search for.

- Subject `quarterly` in one of 500, body word `zebrafish` in one of 1,000, 200 senders, an attachment in one of 4.
- Each stays below 4,096 octets, so that a client may send it without waiting (RFC 7888 §5).
"""

from __future__ import annotations

import base64
import itertools
import random
from functools import cache

SUBJECT_WORD, SUBJECT_EVERY = "quarterly", 500
BODY_WORD, BODY_EVERY = "zebrafish", 1000
SENDERS = 200


@cache
def _vocabulary() -> tuple[list[str], list[float]]:
    rng = random.Random(11)
    words = {
        "".join(rng.choice("bcdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4)))
        for _ in range(30_000)
    }
    ordered = sorted(words)
    rng.shuffle(ordered)
    return ordered, list(itertools.accumulate(1 / (place + 5) for place in range(len(ordered))))


def make_mail(number: int) -> bytes:
    """The mail of that number, from 1,500 to 3,900 octets, lines ending in CRLF."""
    rng = random.Random(number)
    vocabulary, weights = _vocabulary()

    def words(count: int) -> list[str]:
        return rng.choices(vocabulary, cum_weights=weights, k=count)

    subject = words(rng.randint(3, 8))
    if number % SUBJECT_EVERY == 3:
        subject.insert(1, SUBJECT_WORD)
    lines = [" ".join(words(10)) for _ in range(rng.randint(12, 25))]
    if number % BODY_EVERY == 5:
        lines.insert(len(lines) // 2, f"the {BODY_WORD} swims")
    sender = rng.randrange(SENDERS)
    day, minute, second = 1 + number // 5000 % 28, number // 60 % 60, number % 60
    date = f"{day:02} Jun 2026 10:{minute:02}:{second:02} +0000"
    head = [
        f"Received: from mx{sender}.example.net ([192.0.2.{sender}]) by mail.example.test with ESMTPS; {date}",
        f"From: Person {sender} <person{sender}@example.net>",
        "To: <u0@example.test>",
        "Subject: " + ("Re: " if number % 3 == 0 else "") + " ".join(subject),
        f"Date: {date}",
        f"Message-ID: <m{number}@example.net>",
        "MIME-Version: 1.0",
    ]
    if number % 3 == 0 and number > 7:
        head.append(f"References: <m{number - 7}@example.net>")
    if number % 4:
        return _joined([*head, "Content-Type: text/plain; charset=utf-8", "", *lines])
    encoded = base64.encodebytes(rng.randbytes(900)).decode().splitlines()
    return _joined(
        [
            *head,
            'Content-Type: multipart/mixed; boundary="=_part"',
            "",
            "--=_part",
            "Content-Type: text/plain; charset=utf-8",
            "",
            *lines[:12],
            "--=_part",
            'Content-Type: application/pdf; name="plan.pdf"',
            "Content-Transfer-Encoding: base64",
            'Content-Disposition: attachment; filename="plan.pdf"',
            "",
            *encoded,
            "--=_part--",
        ]
    )


def _joined(lines: list[str]) -> bytes:
    return "\r\n".join([*lines, ""]).encode()
