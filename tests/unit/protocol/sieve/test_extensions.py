"""Extensions that test: copy, body, date, index, relational, subaddress, environment, duplicate, mailbox and more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from server.protocol.sieve.compile import EXTENSIONS, Unanswered, compile_script, run_script
from server.protocol.sieve.outcome import FileInto, Keep, Redirect, Reject, Seen
from server.protocol.sieve.session import Include, MailboxFact
from server.protocol.sieve.view import Octets
from tests.unit.protocol.sieve.running import (
    MESSAGE_A,
    actions,
    facts,
    holds,
    message,
    outcome,
    runtime_error,
    syntax_error,
)


@pytest.mark.parametrize("name", EXTENSIONS)
def test_every_announced_extension_can_be_required(name: str) -> None:
    assert name in compile_script(f'require "{name}"; keep;'.encode()).extensions


# --- RFC 3894


def test_rfc_3894_copy_leaves_the_implicit_keep() -> None:
    script = 'require ["copy", "fileinto"]; if header :contains "from" "coyote" { %s }'
    assert actions(script % 'fileinto :copy "c";') == ["fileinto c", "implicit keep"]
    assert actions(script % 'redirect :copy "a@b.example";') == ["redirect a@b.example", "implicit keep"]
    assert ":copy needs" in syntax_error('require "fileinto"; fileinto :copy "x";').reason


# --- RFC 5173

MULTIPART = b"""From: Whomever\r
To: Someone\r
Date: Whenever\r
Subject: whatever\r
Content-Type: multipart/mixed; boundary=outer\r
\r
 & This is a multi-part message in MIME format.\r
\r
--outer\r
Content-Type: multipart/alternative; boundary=inner\r
\r
 & This is a nested multi-part message in MIME format.\r
\r
--inner\r
Content-Type: text/plain; charset="us-ascii"\r
\r
 $ Hello\r
\r
--inner\r
Content-Type: text/html; charset="us-ascii"\r
\r
 % <html><body>Hello</body></html>\r
\r
--inner--\r
\r
 & This is the end of the inner MIME multipart.\r
\r
--outer\r
Content-Type: message/rfc822\r
\r
 ! From: Someone Else\r
 ! Subject: hello request\r
\r
 $ Please say Hello\r
\r
--outer--\r
\r
 & This is the end of the outer MIME multipart.\r
"""
"""The message of RFC 5173 §5.2's figure, with its marks."""


def test_rfc_5173_4_body_by_text() -> None:
    assert holds('body :contains "ANVIL"', require="body")
    assert not holds('body :contains "MAKE MONEY FAST"', require="body")


def test_rfc_5173_5_1_raw() -> None:
    assert holds('body :raw :contains "multi-part"', MULTIPART, require="body")
    encoded = message("Content-Transfer-Encoding: base64", body="aGVsbG8=\r\n")
    assert holds('body :raw :contains "aGVsbG8="', encoded, require="body")
    assert holds('body :contains "hello"', encoded, require="body")


@pytest.mark.parametrize(
    ("types", "key", "expected"),
    [
        ('"text/plain"', "$ Hello", True),
        ('"text/plain"', "%", False),
        ('"text/html"', "% <html>", True),
        ('"text"', "<body>", True),
        ('"message/rfc822"', "! From: Someone Else", True),
        ('""', "$ Please say", True),
        ('["text", "message"]', "MIME format", False),
        ('"multipart"', "&", False),
        ('"/plain"', "Hello", False),
        ('"text/"', "Hello", False),
    ],
)
def test_rfc_5173_5_2_content(types: str, key: str, expected: bool) -> None:
    assert holds(f'body :content {types} :contains "{key}"', MULTIPART, require="body") is expected


def test_rfc_5173_5_3_text_has_no_markup() -> None:
    octets = message("Content-Type: text/html", body="<p>Hello <b>you</b></p>")
    assert not holds('body :text :contains "<b>"', octets, require="body")
    assert holds('body :text :contains "hello"', octets, require="body")


# --- RFC 5260


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("year", "1997"),
        ("month", "04"),
        ("day", "01"),
        ("date", "1997-04-01"),
        ("julian", "50539"),
        ("hour", "09"),
        ("minute", "06"),
        ("second", "31"),
        ("time", "09:06:31"),
        ("iso8601", "1997-04-01T09:06:31-08:00"),
        ("std11", "Tue, 01 Apr 1997 09:06:31 -0800"),
        ("zone", "-0800"),
        ("weekday", "2"),
    ],
)
def test_rfc_5260_4_date_parts(part: str, expected: str) -> None:
    assert holds(f'date :originalzone "date" "{part}" "{expected}"', require="date")


def test_rfc_5260_4_date_examples() -> None:
    script = """
    require ["date", "relational", "fileinto"];
    if allof(header :is "from" "boss@example.com",
             date :value "ge" :originalzone "date" "hour" "09",
             date :value "lt" :originalzone "date" "hour" "17")
    { fileinto "urgent"; }
    """
    assert actions(script, message("From: boss@example.com", "Date: Tue, 1 Apr 1997 10:00:00 -0800")) == [
        "fileinto urgent"
    ]
    assert actions(script, message("From: boss@example.com", "Date: Tue, 1 Apr 1997 18:00:00 -0800")) == [
        "implicit keep"
    ]
    received = message("Received: from a by b; Tue, 1 Apr 1997 23:30:00 +0200")
    assert holds('date :zone "+0000" "received" "hour" "21"', received, require="date")


def test_rfc_5260_4_1_zones() -> None:
    assert holds('date :zone "+0200" "date" "time" "19:06:31"', require="date")
    assert holds('date "date" "hour" "18"', known=facts(offset=timedelta(hours=1)), require="date")
    assert "zone" in syntax_error('require "date"; if date :zone "CET" "date" "hour" "1" { stop; }').reason


def test_rfc_5260_5_currentdate() -> None:
    script = """
    require ["date", "relational", "fileinto"];
    if allof(currentdate :value "ge" "date" "2007-06-30", currentdate :value "le" "date" "2007-07-07")
    { fileinto "vacation"; }
    """
    during = facts(now=datetime(2007, 7, 1, 12, tzinfo=UTC))
    assert actions(script, known=during) == ["fileinto vacation"]
    assert actions(script) == ["implicit keep"]
    assert holds('currentdate :is "weekday" "0"', require="date")
    assert "not known" in syntax_error('require "date"; if currentdate "era" "x" { stop; }').reason


def test_rfc_5260_4_a_field_without_a_date_matches_nothing() -> None:
    assert not holds('date "date" "year" ["", "1970"]', message("Date: soon"), require="date")
    assert not holds('date "x-date" "year" ""', require="date")


def test_rfc_5260_6_index() -> None:
    octets = message("X: one", "X: two", "X: three", "To: a@b.example, c@d.example", "To: e@f.example")
    assert holds('header :index 1 "X" "one"', octets, require="index")
    assert holds('header :index 1 :last "X" "three"', octets, require="index")
    assert not holds('header :index 4 "X" ["one", "two", "three"]', octets, require="index")
    assert holds('address :index 2 "to" "e@f.example"', octets, require="index")
    assert not holds('address :index 2 "to" "c@d.example"', octets, require="index")
    dated = message("Received: x; Tue, 1 Apr 1997 09:00:00 +0000", "Received: x; Tue, 1 Apr 1997 08:00:00 +0000")
    assert holds('date :index 2 "received" "hour" "08"', dated, require="index date")
    assert ":last goes" in syntax_error('require "index"; if header :last "X" "y" { stop; }').reason


# --- RFC 5231


def test_rfc_5231_6_extended_example() -> None:
    octets = message(
        "From: nancy@example.com", "To: user1@example.com, user2@example.com", "Cc: u3@example.com", "X-Priority: 3"
    )
    test = 'address :count "ge" :comparator "i;ascii-numeric" ["to", "cc"] ["3"]'
    assert holds(test, octets, require="relational comparator-i;ascii-numeric")
    assert holds(
        'header :value "lt" :comparator "i;ascii-numeric" ["x-priority"] ["4"]',
        octets,
        require="relational comparator-i;ascii-numeric",
    )
    assert holds('header :value "gt" "from" "N"', octets, require="relational")


@pytest.mark.parametrize(
    ("relation", "value", "key", "expected"),
    [
        ("gt", "10", "9", True),
        ("eq", "010", "10", True),
        ("ge", "9x", "9", True),
        ("lt", "x", "99", False),
        ("gt", "x", "99", True),
        ("eq", "x", "y", True),
        ("ne", "1", "2", True),
        ("le", "2", "1", False),
    ],
)
def test_rfc_4790_9_1_numbers_compare_as_numbers(relation: str, value: str, key: str, expected: bool) -> None:
    test = f'header :value "{relation}" :comparator "i;ascii-numeric" "X" "{key}"'
    octets = message(f"X: {value}")
    assert holds(test, octets, require="relational comparator-i;ascii-numeric") is expected


def test_comparators_have_limits_and_must_be_required() -> None:
    numeric = 'require ["comparator-i;ascii-numeric"]; if header :contains :comparator "i;ascii-numeric" "a" "1" {}'
    assert ":contains" in syntax_error(numeric).reason
    assert "require" in syntax_error('if header :comparator "i;ascii-numeric" "a" "1" {}').reason
    assert "gt ge" in syntax_error('require "relational"; if header :value "xx" "a" "1" {}').reason


def test_rfc_5051_unicode_casemap() -> None:
    octets = "Subject: ÉCOLE Ünïcode\r\n\r\n".encode()
    test = 'header :contains :comparator "i;unicode-casemap" "subject" "école ü"'
    assert holds(test, octets, require="comparator-i;unicode-casemap")
    assert not holds('header :contains "subject" "école"', octets)


# --- RFC 5233


def test_rfc_5233_4_subaddress() -> None:
    octets = message("To: ken+sieve@example.org", "From: plain@example.org", "Cc: empty+@example.org")
    assert holds('address :detail "to" "sieve"', octets, require="subaddress")
    assert holds('address :user "to" "ken"', octets, require="subaddress")
    assert not holds('address :detail "from" ""', octets, require="subaddress")
    assert holds('address :detail "cc" ""', octets, require="subaddress")
    assert holds('address :user "from" "plain"', octets, require="subaddress")
    known = facts(recipient="me+mta-filters@example.com")
    script = """
    require ["envelope", "subaddress", "fileinto"];
    if envelope :detail "to" "mta-filters" { fileinto "inbox.ietf-mta-filters"; }
    """
    assert actions(script, known=known) == ["fileinto inbox.ietf-mta-filters"]


# --- RFC 5183, RFC 7352


def test_rfc_5183_4_environment() -> None:
    known = facts(environment={"name": "MaiRust", "remote-ip": "192.0.2.1"})
    assert holds('environment :contains "NAME" "rust"', known=known, require="environment")
    assert not holds('environment :is "phase" ""', known=known, require="environment")


def test_rfc_7352_duplicate_asks_and_remembers() -> None:
    octets = message("Message-ID: <1@example.org>")
    script = compile_script(b'require ["duplicate", "fileinto"]; if duplicate { fileinto "Trash/Duplicate"; }')
    asked = run_script(script, facts(), Octets(prefix=b"", octets=octets))
    assert isinstance(asked, Unanswered)
    known = facts(seen={asked.key: True})
    again = run_script(script, known, Octets(prefix=b"", octets=octets))
    assert not isinstance(again, Unanswered)
    assert [action.mailbox for action in again.actions if isinstance(action, FileInto)] == ["Trash/Duplicate"]
    assert again.seen == ()
    first = run_script(script, facts(seen={asked.key: False}), Octets(prefix=b"", octets=octets))
    assert not isinstance(first, Unanswered)
    assert first.seen == (Seen(key=asked.key, seconds=7 * 86_400),)


def test_rfc_7352_5_examples() -> None:
    script = """
    require ["duplicate", "variables", "fileinto"];
    if header :matches "subject" "ALERT: *" {
      if duplicate :seconds 60 :uniqueid "${1}" { discard; stop; }
    }
    if duplicate :header "X-Event-ID" :handle "notifier" { discard; }
    if duplicate :last :seconds 1800 { discard; }
    """
    found = outcome(script, message("Subject: ALERT: disk", "X-Event-ID: 7", "Message-ID: <a@b>"))
    assert [seen.seconds for seen in found.seen] == [60, 7 * 86_400, 1800]
    assert outcome(script, message("Subject: other")).seen == ()
    both = 'require "duplicate"; if duplicate :header "a" :uniqueid "b" { stop; }'
    assert "exclude" in syntax_error(both).reason


# --- RFC 5490, RFC 9042, RFC 8579

BOXES = (
    MailboxFact(name="INBOX", id="1", special_use="\\Inbox"),
    MailboxFact(name="Partners", id="F6", special_use=None),
    MailboxFact(name="Spam", id="9", special_use="\\Junk"),
)


def test_rfc_5490_3_mailboxexists_and_create() -> None:
    known = facts(mailboxes=BOXES)
    assert holds('mailboxexists "Partners"', known=known, require="mailbox")
    assert holds('mailboxexists ["inbox", "Partners"]', known=known, require="mailbox")
    assert not holds('mailboxexists ["Partners", "None"]', known=known, require="mailbox")
    [action] = outcome('require ["mailbox", "fileinto"]; fileinto :create "Partners";').actions
    assert isinstance(action, FileInto)
    assert action.create


def test_rfc_9042_4_mailboxid() -> None:
    [action] = outcome('require ["fileinto", "mailboxid"]; fileinto :mailboxid "F6" "INBOX.harassment";').actions
    assert isinstance(action, FileInto)
    assert (action.mailbox_id, action.mailbox) == ("F6", "INBOX.harassment")
    assert holds('mailboxidexists "F6"', known=facts(mailboxes=BOXES), require="mailboxid")


def test_rfc_8579_4_special_use() -> None:
    known = facts(mailboxes=BOXES)
    assert holds(r'specialuse_exists "\\Junk"', known=known, require="special-use")
    assert holds(r'specialuse_exists "Spam" "\\junk"', known=known, require="special-use")
    assert not holds(r'specialuse_exists "Partners" "\\Junk"', known=known, require="special-use")
    assert not holds(r'specialuse_exists ["\\Junk", "\\Archive"]', known=known, require="special-use")
    script = r'require ["fileinto", "special-use", "mailbox"]; fileinto :specialuse "\\Junk" :create "Spam";'
    [action] = outcome(script).actions
    assert isinstance(action, FileInto)
    assert action.special_use == "\\Junk"
    assert "not known" in syntax_error(r'require ["fileinto", "special-use"]; fileinto :specialuse "x" "y";').reason


# --- RFC 5232


def test_rfc_5232_3_flags() -> None:
    script = r"""
    require ["fileinto", "imap4flags", "relational", "variables"];
    if size :over 1M {
      addflag "MyFlags" "Big";
    } else { addflag "\\Flagged"; }
    addflag ["\\Deleted", "Important"]; addflag "important Two";
    removeflag "\\DELETED";
    fileinto "INBOX.From Boss";
    setflag "\\Seen";
    keep;
    """
    filed, kept = outcome(script).actions
    assert isinstance(filed, FileInto)
    assert filed.flags == ("\\Flagged", "Important", "Two")
    assert isinstance(kept, Keep)
    assert kept.flags == ("\\Seen",)


def test_rfc_5232_4_hasflag() -> None:
    script = r"""
    require ["imap4flags", "relational", "fileinto", "comparator-i;ascii-numeric"];
    setflag ["A", "B"];
    if hasflag ["b", "A"] { fileinto "1"; }
    if hasflag :contains "c" { fileinto "no"; }
    if hasflag :count "ge" :comparator "i;ascii-numeric" "2" { fileinto "2"; }
    """
    assert actions(script) == ["fileinto 1", "fileinto 2"]


def test_rfc_5232_5_flags_argument_and_what_is_no_flag() -> None:
    script = r'require ["imap4flags", "fileinto"]; fileinto :flags ["\\Seen ok", "\\Recent", "b{d", ""] "x";'
    [action] = outcome(script).actions
    assert isinstance(action, FileInto)
    assert action.flags == ("\\Seen", "ok")


# --- RFC 5429


def test_rfc_5429_2_reject() -> None:
    [action] = outcome('require "ereject"; ereject "no thanks";').actions
    assert action == Reject(reason="no thanks", extended=True)
    [action] = outcome('require "reject"; reject text:\nI am not\n.\n;').actions
    assert action == Reject(reason="I am not\r\n", extended=False)


@pytest.mark.parametrize("other", ["keep;", 'fileinto "x";', 'redirect "a@b.example";', "discard;", 'vacation "x";'])
def test_rfc_5429_2_reject_stands_alone(other: str) -> None:
    require = 'require ["reject", "fileinto", "vacation"];'
    assert "combined" in runtime_error(f'{require} reject "no"; {other}').reason
    assert "combined" in runtime_error(f'{require} {other} reject "no";').reason


# --- RFC 5293


def test_rfc_5293_4_addheader() -> None:
    script = 'require ["editheader", "fileinto"]; addheader "X-Hello" "World é"; addheader :last "X-End" "1"; %s'
    found = outcome(script % 'if header :is "x-hello" "World é" { fileinto "x"; }').actions[0]
    assert isinstance(found, FileInto)
    assert found.header is not None
    assert found.header.startswith(b"X-Hello: =?utf-8?q?World_=C3=A9?=\r\nDate: Tue")
    assert found.header.endswith(b"Subject: I have a present for you\r\nX-End: 1\r\n\r\n")
    assert "field name" in syntax_error('require "editheader"; addheader "X Y" "z";').reason


def test_rfc_5293_4_no_field_can_be_smuggled_in() -> None:
    octets = message("Subject: x")
    script = 'require ["editheader", "encoded-character"]; addheader "X-A" "a${hex:0d 0a}Bcc: evil${hex:0a 00}b"; keep;'
    [kept] = outcome(script, octets).actions
    assert isinstance(kept, Keep)
    assert kept.header == b"X-A: a Bcc: evil b\r\nSubject: x\r\n\r\n"


def test_rfc_5293_5_deleteheader() -> None:
    octets = message("X-A: one", "X-A: two", "X-A: three", "Received: here", "Subject: s")
    script = 'require "editheader"; %s keep;'

    def left(command: str) -> bytes | None:
        [kept] = outcome(script % command, octets).actions
        assert isinstance(kept, Keep)
        return kept.header

    assert left('deleteheader "X-A";') == b"Received: here\r\nSubject: s\r\n\r\n"
    assert left('deleteheader :index 1 :last "x-a";') == (
        b"X-A: one\r\nX-A: two\r\nReceived: here\r\nSubject: s\r\n\r\n"
    )
    assert left('deleteheader :matches "x-a" "t*";') == b"X-A: one\r\nReceived: here\r\nSubject: s\r\n\r\n"
    assert left('deleteheader "Received";') is None
    assert left('deleteheader "X-None";') is None


def test_rfc_5293_actions_before_an_edit_keep_the_old_header() -> None:
    script = 'require ["editheader", "fileinto"]; fileinto "a"; addheader "X" "y"; fileinto "b";'
    first, second = outcome(script).actions
    assert isinstance(first, FileInto)
    assert isinstance(second, FileInto)
    assert first.header is None
    assert second.header is not None


# --- RFC 6609


def test_rfc_6609_3_include_and_return() -> None:
    scripts = {
        Include("always_allow"): compile_script(
            b'require "include"; if header :is "from" "boss@example.com" { keep; } return; discard;'
        ),
        Include("spam", personal=False): compile_script(b'require "fileinto"; fileinto "spam"; stop;'),
    }
    script = """
    require ["include", "fileinto"];
    include :personal "always_allow";
    include :global "spam";
    fileinto "never";
    """
    assert actions(script, known=facts(scripts=scripts)) == ["fileinto spam"]


def test_rfc_6609_3_2_a_missing_script_is_an_error_unless_optional() -> None:
    assert "not there" in runtime_error('require "include"; include "none";').reason
    assert actions('require "include"; include :optional "none"; discard;') == ["discard"]


def test_rfc_6609_3_2_once() -> None:
    scripts = {
        Include("a"): compile_script(
            b'require ["variables", "include"]; global "n"; set "n" "${n}x";',
        )
    }
    script = """
    require ["include", "variables", "fileinto"];
    include :once "a"; include :once "a"; include "a";
    fileinto "${global.n}";
    """
    assert actions(script, known=facts(scripts=scripts)) == ["fileinto xx"]


def test_rfc_6609_3_4_variables_are_private_unless_global() -> None:
    scripts = {
        Include("inner"): compile_script(
            b'require ["variables", "include"]; set "private" "inner"; set "global.shared" "${global.shared}+inner";'
        )
    }
    script = """
    require ["include", "variables", "fileinto"];
    global "shared"; set "shared" "outer"; set "private" "outer";
    include "inner";
    fileinto "${private} ${shared}";
    """
    assert actions(script, known=facts(scripts=scripts)) == ["fileinto outer outer+inner"]


def test_rfc_6609_3_1_scripts_that_include_each_other_are_stopped() -> None:
    scripts = {
        Include("a"): compile_script(b'require "include"; include "b";'),
        Include("b"): compile_script(b'require "include"; include "a";'),
    }
    error = runtime_error('require "include";\ninclude "a";', known=facts(scripts=scripts))
    assert "includes itself" in error.reason


def test_rfc_6609_3_1_includes_that_multiply_are_stopped() -> None:
    scripts = {
        Include(f"s{n}"): compile_script(f'require "include"; {f"""include "s{n + 1}";""" * 20}'.encode())
        for n in range(8)
    } | {Include("s8"): compile_script(b"keep;")}
    assert "steps" in runtime_error('require "include"; include "s0";', known=facts(scripts=scripts)).reason


# --- results


def test_redirect_carries_the_edited_header() -> None:
    [action] = outcome('require "editheader"; addheader "X" "y"; redirect "Bob <b@c.example>";').actions
    assert isinstance(action, Redirect)
    assert action.address == "b@c.example"
    assert action.header == b"X: y\r\n" + MESSAGE_A.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
