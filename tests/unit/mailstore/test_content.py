"""A message opened for a reader: its text, and what counts as an attachment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import InvalidInput, NotFound
from server.services.mailstore.content import open_attachment, open_message

HTML = b"Content-Type: text/html\r\n\r\n<p>Hello <b>you</b></p><script>x()</script>\r\n"
PLAIN = b"Content-Type: text/plain\r\n\r\nHello you\r\n"
IMAGE = b"Content-Type: image/png\r\nContent-ID: <p1@x>\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n"


def multipart(kind: bytes, *parts: bytes) -> bytes:
    head = b"Content-Type: multipart/%b; boundary=%b\r\n\r\n" % (kind, kind)
    return head + b"".join(b"--%b\r\n%b" % (kind, part) for part in parts) + b"--%b--\r\n" % kind


def test_other_forms_of_the_text_are_no_attachments() -> None:
    opened = open_message(multipart(b"alternative", PLAIN, multipart(b"related", HTML, IMAGE)))
    assert opened.text is not None
    assert opened.text.strip() == "Hello you"
    assert [(one.content_type, one.inline, one.content_id) for one in opened.attachments] == [
        ("image/png", True, "p1@x")
    ]


def test_html_alone_is_shown_without_its_marks() -> None:
    opened = open_message(HTML)
    assert opened.text is not None
    assert opened.text.split() == ["Hello", "you"]
    assert opened.attachments == ()


def test_a_message_inside_is_one_attachment() -> None:
    inner = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n"
    octets = multipart(b"mixed", PLAIN, inner)
    (info,) = open_message(octets).attachments
    assert info.content_type == "message/rfc822"
    assert open_attachment(octets, 0).data.startswith(b"Subject: inner\r\n")


def test_a_message_without_text_is_all_attachment() -> None:
    opened = open_message(IMAGE)
    assert opened.text is None
    assert [one.size_octets for one in opened.attachments] == [2]


def test_numbers_and_encodings_that_are_not_there() -> None:
    odd = multipart(b"mixed", PLAIN, b"Content-Type: a/b\r\nContent-Transfer-Encoding: x-odd\r\n\r\n???\r\n")
    with pytest.raises(NotFound):
        open_attachment(odd, 1)
    with pytest.raises(InvalidInput):
        open_attachment(odd, 0)


@given(st.binary(max_size=300))
def test_it_never_fails(octets: bytes) -> None:
    opened = open_message(octets)
    for one in opened.attachments:
        assert one.size_octets >= 0
