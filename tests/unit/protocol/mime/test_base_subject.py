"""Base subjects (RFC 5256 §2.1)."""

from __future__ import annotations

import time

import pytest

from server.protocol.mime.base_subject import base_subject, is_reply, thread_subject


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("Re: [blob] hello", "hello"),
        ("hello", "hello"),
        ("RE: hello", "hello"),
        ("re[2]: hello", "hello"),
        ("Re [x] : hello", "hello"),
        ("FW: Fwd: re:hello (fwd)", "hello"),
        ("[list] Re: [list] hello", "hello"),
        ("[a][b] re: hello", "hello"),
        ("[only]", "[only]"),
        ("[only] ", "[only]"),
        ("[blob] text", "text"),
        ("[Fwd: hello]", "hello"),
        ("[fwd: [fwd: Re: hello] (fwd)]", "hello"),
        ("hello  \t world", "hello world"),
        ("hello (fwd) (FWD)  ", "hello"),
        ("Re:", ""),
        ("", ""),
        ("report: numbers", "report: numbers"),
        ("[Fwd: x", "[Fwd: x"),
        ("Re: Re: re: re: x", "x"),
    ],
)
def test_marks_are_taken_off(subject: str, base: str) -> None:
    assert base_subject(subject) == base


@pytest.mark.parametrize(
    ("subject", "thread"),
    [
        ("AW: Re: Sitzung", "sitzung"),
        ("Antw: SV: Sitzung", "sitzung"),
        ("\u56de\u590d\uff1a\u4f1a\u8bae", "\u4f1a\u8bae"),
        ("WG: [list] Sitzung", "sitzung"),
        ("Sitzung", "sitzung"),
        ("Review: it", "review: it"),
    ],
)
def test_threads_know_marks_of_other_languages(subject: str, thread: str) -> None:
    assert thread_subject(subject) == thread


@pytest.mark.parametrize(("subject", "reply"), [("Re: x", True), ("x (fwd)", True), ("x", False), ("[a] x", False)])
def test_a_reply_is_known_by_its_mark(subject: str, reply: bool) -> None:
    assert is_reply(subject) == reply


def test_work_is_linear() -> None:
    started = time.process_time()
    for subject in (
        "re:" * 3000,
        "[" * 9000,
        "[a]" * 3000,
        "[fwd:" * 2000,
        "(fwd)" * 2000,
        "re [" * 2000,
        "[fwd:a]" * 1500,
    ):
        base_subject(subject[:998])
        thread_subject(subject[:998])
    assert time.process_time() - started < 2
