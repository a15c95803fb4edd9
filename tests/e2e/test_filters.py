"""Scripts, vacation and forwards on a running server: set by command, seen over IMAP and in `mairust trace`."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon_process import MAIL_ROLES, DaemonProcess
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import (
    compose,
    deliver,
    deliveries,
    events,
    mailbox_of,
    read_mailbox,
    submit,
    wait_for,
    wait_for_mail,
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path_factory.mktemp("filters"), roles=(*MAIL_ROLES, "http"), accounts=16)
    with made:
        yield made


@pytest.fixture(scope="module")
def unused(daemon: DaemonProcess) -> Iterator[str]:
    return iter(daemon.addresses)


@pytest.fixture
def person(unused: Iterator[str]) -> Callable[[], str]:
    return lambda: next(unused)


@pytest.fixture
def put(daemon: DaemonProcess, tmp_path: Path) -> Callable[[str, str], None]:
    """Store and activate a script by the command line."""

    def store(address: str, text: str, name: str = "main") -> None:
        path = tmp_path / "script.sieve"
        path.write_text(text)
        mairust(daemon, "sieve", "put", address, name, str(path), "--activate")

    return store


def traced(daemon: DaemonProcess, address: str) -> str:
    """All that the trace says of the one mail to an address, as a person reads it."""
    (found,) = mairust_json(daemon, "trace", "--to", address)
    return mairust(daemon, "trace", found["trace_id"])


def test_fileinto_and_flags_are_seen_over_imap(
    daemon: DaemonProcess, person: Callable[[], str], put: Callable[[str, str], None]
) -> None:
    anna = person()
    put(
        anna,
        r"""
        require ["fileinto", "mailbox", "imap4flags", "variables"];
        if header :matches "subject" "[*] *" { addflag "\\Flagged"; fileinto :create "Lists/${1}"; }
        """,
    )
    deliver(daemon, compose("x@example.org", anna, subject="[kites] wind"), anna)
    deliver(daemon, compose("x@example.org", anna, subject="plain"), anna)
    assert b"Subject: [kites] wind" in read_mailbox(daemon, anna, "Lists/kites")[0]
    assert b"Subject: plain" in read_mailbox(daemon, anna)[0]
    with mailbox_of(daemon, anna) as client:
        client.select("Lists/kites", readonly=True)
        assert client.search(None, "FLAGGED")[1] == [b"1"]


def test_vacation_of_the_postmasters_making_answers_once(daemon: DaemonProcess, person: Callable[[], str]) -> None:
    anna, ben = person(), person()
    mairust(daemon, "account", "vacation", "set", anna, "--text", "Back on Monday", "--subject", "Away")
    for subject in ("one", "two"):
        submit(daemon, compose(ben, anna, subject=subject), ben, anna)
    wait_for("both mails", lambda: len(read_mailbox(daemon, anna)) == 2)
    answer = wait_for_mail(daemon, ben, b"Back on Monday")
    assert b"Auto-Submitted: auto-replied (vacation)" in answer
    assert b"Subject: Away" in answer
    assert b"Return-Path: <>" in answer
    listed = compose(ben, anna, subject="list", extra=b"List-Id: <kites.example>\r\n")
    mairust(daemon, "account", "vacation", "set", anna, "--text", "New words")
    submit(daemon, listed, ben, anna)
    submit(daemon, compose(ben, anna, subject="three"), ben, anna)
    wait_for_mail(daemon, ben, b"New words")
    assert len(read_mailbox(daemon, ben)) == 2
    mairust(daemon, "account", "vacation", "clear", anna)
    submit(daemon, compose(ben, anna, subject="four"), ben, anna)
    wait_for("the last mail", lambda: len(read_mailbox(daemon, anna)) == 5)
    assert len(read_mailbox(daemon, ben)) == 2


def test_redirect_to_the_outside_and_forward_inside(
    daemon: DaemonProcess, person: Callable[[], str], put: Callable[[str, str], None]
) -> None:
    anna, ben = person(), person()
    outside = f"{anna.partition('@')[0]}@elsewhere.example"
    put(anna, f'require "copy"; redirect :copy "{outside}";')
    mairust(daemon, "account", "forward", "set", anna, "--to", ben, "--no-keep-copy")
    deliver(daemon, compose("x@example.org", anna, subject="onward"), anna)
    forwarded = wait_for_mail(daemon, ben, b"Subject: onward")
    assert f"Delivered-To: {anna}".encode() in forwarded
    wait_for("the redirect in the queue", lambda: deliveries(daemon, outside))
    assert read_mailbox(daemon, anna) == []


def test_redirects_that_go_in_a_circle_end_in_a_mailbox(
    daemon: DaemonProcess, person: Callable[[], str], put: Callable[[str, str], None]
) -> None:
    anna, ben = person(), person()
    put(anna, f'redirect "{ben}";')
    put(ben, f'redirect "{anna}";')
    deliver(daemon, compose("x@example.org", anna, subject="circle"), anna)
    wait_for_mail(daemon, anna, b"Subject: circle")
    assert read_mailbox(daemon, ben) == []
    assert "sent on by this address before" in str(events(daemon, component="filter"))


def test_reject_is_a_refusal_for_strangers_and_a_report_for_our_own(
    daemon: DaemonProcess, person: Callable[[], str], put: Callable[[str, str], None]
) -> None:
    anna, ben = person(), person()
    put(anna, 'require "ereject"; ereject "I take no mail";')
    with pytest.raises(smtplib.SMTPDataError) as refused:
        deliver(daemon, compose("x@example.org", anna), anna)
    assert refused.value.smtp_code == 550
    assert b"I take no mail" in refused.value.smtp_error
    submit(daemon, compose(ben, anna), ben, anna)
    report = wait_for_mail(daemon, ben, b"I take no mail")
    assert b"Return-Path: <>" in report
    assert read_mailbox(daemon, anna) == []


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ({"a": 'require "include"; include "main";', "main": 'require "include"; include "a";'}, "includes itself"),
        (
            {"z": "keep;"}
            | {
                f"s{n}": f'require "include"; {f"""include "{"z" if n == 6 else f"s{n + 1}"}";""" * 20}'
                for n in range(7)
            }
            | {"main": 'require "include"; include "s0"; discard;'},
            "steps",
        ),
        ({"main": "".join(f'redirect "a{n}@b.example";\n' for n in range(9))}, "line 5: more than 4 redirects"),
        ({"main": 'require "include";\ninclude "nowhere";\ndiscard;'}, "line 2: the included script 'nowhere'"),
    ],
)
def test_a_script_without_end_is_stopped_the_mail_kept_and_the_reason_in_the_trace(
    daemon: DaemonProcess,
    person: Callable[[], str],
    put: Callable[..., None],
    scripts: dict[str, str],
    words: str,
) -> None:
    anna = person()
    for name in sorted(scripts, key=lambda one: one == "main"):
        put(anna, scripts[name], name)
    deliver(daemon, compose("x@example.org", anna, subject="runaway"), anna)
    assert b"Subject: runaway" in read_mailbox(daemon, anna)[0]
    told = traced(daemon, anna)
    assert 'script "main"' in told
    assert words in told
    assert "the mail is kept" in told


def test_a_script_with_an_error_is_refused_with_its_line(
    daemon: DaemonProcess, person: Callable[[], str], tmp_path: Path
) -> None:
    anna = person()
    path = tmp_path / "broken.sieve"
    path.write_text("keep;\nif not {\n")
    mairust(daemon, "sieve", "put", anna, "main", str(path), code=7)
    deep = tmp_path / "deep.sieve"
    deep.write_text("if true {\n" * 500 + "}\n" * 500)
    mairust(daemon, "sieve", "check", anna, str(deep), code=7)
    assert mairust_json(daemon, "sieve", "list", anna) == []
