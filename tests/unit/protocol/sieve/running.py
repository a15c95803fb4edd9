"""Runs scripts in tests: one line to compile, run and read off what was decided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from server.protocol.sieve.compile import Unanswered, compile_script, run_script
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.outcome import Action, Discard, FileInto, Keep, Outcome, Redirect, Reject
from server.protocol.sieve.session import Facts, Include, MailboxFact, Script
from server.protocol.sieve.view import Octets

NOW = datetime(2026, 11, 22, 14, 5, 9, tzinfo=UTC)

MESSAGE_A = b"""Date: Tue, 1 Apr 1997 09:06:31 -0800 (PST)\r
From: coyote@desert.example.org\r
To: roadrunner@acme.example.com\r
Subject: I have a present for you\r
\r
Look, I'm sorry about the whole anvil thing, and I really\r
didn't mean to try and drop it on you from the top of the\r
cliff.  I want to try to make it up to you.  I've got some\r
great birdseed over here at my place--top of the line\r
stuff--and if you come by, I'll have it all wrapped up\r
for you.  I'm really sorry for all the problems I've caused\r
for you over the years, but I know we can work this out.\r
--\r
Wile E. Coyote   "Super Genius"   coyote@desert.example.org\r
"""
"""Message A of RFC 5228 §9."""

MESSAGE_B = b"""From: youcouldberich!@reply-by-postal-mail.invalid\r
Sender: b1ff@de.res.example.com\r
To: rube@landru.example.com\r
Date:  Mon, 31 Mar 1997 18:26:10 -0800\r
Subject: $$$ YOU, TOO, CAN BE A MILLIONAIRE! $$$\r
\r
YOU MAY HAVE ALREADY WON TEN MILLION DOLLARS, BUT I DOUBT\r
IT!  SO JUST POST THIS TO SIX HUNDRED NEWSGROUPS!  IT WILL\r
GUARANTEE THAT YOU GET AT LEAST FIVE RESPONSES WITH MONEY!\r
MONEY! MONEY! COLD HARD CASH!  YOU WILL RECEIVE OVER\r
$20,000 IN LESS THAN TWO MONTHS!  AND IT'S LEGAL!!!!!!!!!\r
!!!!!!!!!!!!!!!!!!111111111!!!!!!!11111111111!!1  JUST\r
SEND $5 IN SMALL, UNMARKED BILLS TO THE ADDRESSES BELOW!\r
"""
"""Message B of RFC 5228 §9."""


def message(*fields: str, body: str = "text\r\n") -> bytes:
    """A message from header lines."""
    return ("".join(field + "\r\n" for field in fields) + "\r\n" + body).encode()


def facts(
    *,
    sender: str = "coyote@desert.example.org",
    recipient: str = "roadrunner@acme.example.com",
    now: datetime = NOW,
    offset: timedelta = timedelta(),
    environment: dict[str, str] | None = None,
    mailboxes: tuple[MailboxFact, ...] = (),
    scripts: dict[Include, Script] | None = None,
    seen: dict[str, bool] | None = None,
) -> Facts:
    return Facts(
        now=now,
        envelope_from=sender,
        envelope_to=recipient,
        offset=offset,
        environment=environment or {},
        mailboxes=mailboxes,
        scripts=scripts or {},
        seen=seen or {},
    )


def outcome(script: str, octets: bytes = MESSAGE_A, known: Facts | None = None, *, prefix: bytes = b"") -> Outcome:
    """Compile and run; a duplicate test is answered with no."""
    given = known or facts()
    seen = dict(given.seen)
    while True:
        found = run_script(
            compile_script(script.encode()),
            Facts(
                now=given.now,
                envelope_from=given.envelope_from,
                envelope_to=given.envelope_to,
                offset=given.offset,
                environment=given.environment,
                mailboxes=given.mailboxes,
                scripts=given.scripts,
                seen=seen,
            ),
            Octets(prefix=prefix, octets=octets),
        )
        if isinstance(found, Unanswered):
            seen[found.key] = False
            continue
        return found


def actions(script: str, octets: bytes = MESSAGE_A, known: Facts | None = None, *, prefix: bytes = b"") -> list[str]:
    """What was decided, a word or two an action: `keep`, `fileinto NAME`, `redirect ADDRESS`..."""
    return [_words(action) for action in outcome(script, octets, known, prefix=prefix).actions]


def _words(action: Action) -> str:
    match action:
        case Keep(implicit=True):
            return "implicit keep"
        case Keep():
            return "keep"
        case FileInto():
            return f"fileinto {action.mailbox}"
        case Redirect():
            return f"redirect {action.address}"
        case Discard():
            return "discard"
        case Reject():
            return "reject"
        case _:
            return type(action).__name__.lower()


def holds(test: str, octets: bytes = MESSAGE_A, known: Facts | None = None, *, require: str = "") -> bool:
    """Whether one test holds; `require` lists its extensions by spaces."""
    names = ", ".join(f'"{name}"' for name in ["fileinto", *require.split()])
    return actions(f'require [{names}]; if {test} {{ fileinto "yes"; }}', octets, known) == ["fileinto yes"]


def syntax_error(script: str) -> SieveSyntaxError:
    """The error of a script that must not compile."""
    with pytest.raises(SieveSyntaxError) as caught:
        compile_script(script.encode())
    return caught.value


def runtime_error(script: str, octets: bytes = MESSAGE_A, known: Facts | None = None) -> SieveRuntimeError:
    """The error of a script that compiles and must not end well."""
    with pytest.raises(SieveRuntimeError) as caught:
        outcome(script, octets, known)
    return caught.value
