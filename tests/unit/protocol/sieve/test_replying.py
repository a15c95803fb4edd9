"""RFC 5230, RFC 6131: vacation; RFC 5435, RFC 5436: notify by mail."""

from __future__ import annotations

import pytest

from server.protocol.sieve.outcome import Importance, Notify, Vacation
from server.protocol.sieve.replying import parse_mailto
from tests.unit.protocol.sieve.running import actions, holds, message, outcome, runtime_error, syntax_error

DAY_S = 86_400


def vacation(script: str, octets: bytes = b"Subject: hi\r\n\r\n") -> Vacation:
    found = outcome('require ["vacation", "vacation-seconds", "variables"];' + script, octets).actions[0]
    assert isinstance(found, Vacation)
    return found


def test_rfc_5230_4_example_with_days_and_addresses() -> None:
    found = vacation(
        'vacation :days 23 :addresses ["tjs@example.edu", "ts4z@landru.example.edu"] '
        "\"I'm away until October 19.  If it's an emergency, call 911, I guess.\" ;"
    )
    assert found.seconds == 23 * DAY_S
    assert found.own_addresses == ("tjs@example.edu", "ts4z@landru.example.edu")
    assert found.reason.startswith("I'm away until October 19.")


def test_rfc_5230_4_1_days_have_a_default_and_bounds() -> None:
    assert vacation('vacation "x";').seconds == 7 * DAY_S
    assert vacation('vacation :days 0 "x";').seconds == DAY_S
    assert vacation('vacation :days 100000 "x";').seconds == 365 * DAY_S


def test_rfc_6131_2_seconds() -> None:
    assert vacation('vacation :seconds 1800 "x";').seconds == 1800
    assert vacation('vacation :seconds 0 "x";').seconds == 0
    assert "exclude" in syntax_error('require "vacation-seconds"; vacation :days 1 :seconds 5 "x";').reason
    assert "vacation-seconds" in syntax_error('require "vacation"; vacation :seconds 5 "x";').reason


def test_rfc_5230_4_2_the_handle_depends_on_what_is_said() -> None:
    one, two = vacation('vacation "x";'), vacation('vacation :subject "s" "x";')
    assert one.handle != two.handle
    assert one.handle == vacation('vacation :days 3 "x";').handle
    assert vacation('vacation :handle "ran-away" "x";').handle == "ran-away"


def test_rfc_5230_4_3_subject_and_from_with_variables() -> None:
    script = """
    if header :matches "subject" "*" {
      vacation :subject "Automatic response to: ${1}" :from "Me <me@example.org>" "I am away";
    }
    """
    found = vacation(script, message("Subject: lunch?"))
    assert found.subject == "Automatic response to: lunch?"
    assert found.sender == "Me <me@example.org>"
    assert "not an address" in syntax_error('require "vacation"; vacation :from "me" "x";').reason


def test_rfc_5230_4_5_mime() -> None:
    found = vacation("vacation :mime text:\nContent-Type: text/html\n\n<b>away</b>\n.\n;")
    assert found.mime
    assert found.reason == "Content-Type: text/html\r\n\r\n<b>away</b>\r\n"


def test_rfc_5230_4_7_vacation_keeps_the_mail_and_is_given_once() -> None:
    assert actions('require "vacation"; vacation "x";') == ["vacation", "implicit keep"]
    assert actions('require "vacation"; vacation "x"; discard;') == ["vacation", "discard"]
    assert "once" in runtime_error('require "vacation"; vacation "x"; vacation "y";').reason


def notify(script: str) -> Notify:
    found = outcome('require ["enotify", "variables"];' + script).actions[0]
    assert isinstance(found, Notify)
    return found


def test_rfc_5435_3_and_rfc_5436_3_notify_by_mail() -> None:
    found = notify('notify :importance "1" :message "This is probably very important" "mailto:alm@example.com";')
    assert found.recipients == ("alm@example.com",)
    assert found.importance is Importance.HIGH
    assert found.message == "This is probably very important"
    assert actions('require "enotify"; notify "mailto:a@b.example";') == ["notify", "implicit keep"]


def test_rfc_5436_2_7_the_uri_may_give_fields() -> None:
    found = notify(
        'notify "mailto:0123456789@sms.example.net?to=backup@example.com&subject=You%20have%20mail&body=x&Bcc=e@v.il";'
    )
    assert found.recipients == ("0123456789@sms.example.net", "backup@example.com")
    assert found.fields == (("subject", "You have mail"),)
    assert found.body == "x"


@pytest.mark.parametrize("uri", ["", "xmpp:a@b", "mailto:", "mailto:nobody", "mailto:" + "a@b.example," * 5, "a@b.c"])
def test_rfc_5435_4_other_methods_are_refused(uri: str) -> None:
    assert parse_mailto(uri) is None
    assert not holds(f'valid_notify_method "{uri}"', require="enotify")
    assert "mailto" in syntax_error(f'require "enotify"; notify "{uri}";').reason


def test_rfc_5435_5_notify_method_capability() -> None:
    assert holds('notify_method_capability "mailto:a@b.example" "Online" "maybe"', require="enotify")
    assert not holds('notify_method_capability "mailto:a@b.example" "colour" "maybe"', require="enotify")


def test_rfc_5435_3_arguments_are_checked() -> None:
    assert ":importance" in syntax_error('require "enotify"; notify :importance "5" "mailto:a@b.example";').reason
    script = "".join(f'notify "mailto:a{n}@b.example";' for n in range(3))
    assert "notifications" in runtime_error('require "enotify";' + script).reason
