"""The part tree (RFC 2046 §5.1, §5.2.1; T11, T39)."""

from __future__ import annotations

import email
import time
import tracemalloc
import zlib
from email.message import Message
from email.policy import compat32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocol.mime.structure import BOUNDARY_MAX, DEPTH_MAX, PARTS_MAX, Part, parse_structure

RFC_2046_5_1_1 = b"""From: Nathaniel Borenstein <nsb@bellcore.com>\r
MIME-Version: 1.0\r
Content-type: multipart/mixed; boundary="simple boundary"\r
\r
This is the preamble.  It is to be ignored.\r
\r
--simple boundary\r
\r
This is implicitly typed plain US-ASCII text.\r
It does NOT end with a linebreak.\r
--simple boundary\r
Content-type: text/plain; charset=us-ascii\r
\r
This is explicitly typed plain US-ASCII text.\r
It DOES end with a linebreak.\r
\r
--simple boundary--\r
\r
This is the epilogue.  It is also to be ignored.\r
"""


def _shape(part: Part) -> object:
    name = (part.kind + b"/" + part.subtype).decode()
    return (name, [_shape(child) for child in part.children]) if part.children else name


def _multipart(boundary: bytes, *parts: bytes, subtype: bytes = b"mixed", end: bytes = b"--\r\n") -> bytes:
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (subtype, boundary)
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--" + boundary + end


def test_the_example_of_rfc_2046() -> None:
    structure = parse_structure(RFC_2046_5_1_1)
    assert _shape(structure.root) == ("multipart/mixed", ["text/plain", "text/plain"])
    first, second = structure.root.children
    assert RFC_2046_5_1_1[first.body_start : first.end].endswith(b"It does NOT end with a linebreak.")
    assert RFC_2046_5_1_1[second.body_start : second.end].endswith(b"It DOES end with a linebreak.\r\n")
    assert (first.lines, second.lines) == (1, 2)
    assert first.declared is None
    assert second.charset == "us-ascii"
    assert RFC_2046_5_1_1[first.header_start : first.body_start] == b"\r\n"
    assert not structure.truncated


def test_a_message_without_mime_is_text() -> None:
    structure = parse_structure(b"Subject: x\r\n\r\none\r\ntwo\r\n")
    assert _shape(structure.root) == "text/plain"
    assert structure.root.lines == 2
    assert structure.root.encoding == b"7bit"


def test_nested_messages_and_digests() -> None:
    """RFC 2046 §5.1.5: the parts of a digest are messages unless they say otherwise."""
    inner = _multipart(b"in", b"Content-Type: text/html\r\n\r\n<p>", b"\r\nx")
    octets = _multipart(b"out", b"\r\n" + inner, b"Content-Type: text/plain\r\n\r\ny", subtype=b"digest")
    root = parse_structure(octets).root
    assert _shape(root) == (
        "multipart/digest",
        [("message/rfc822", [("multipart/mixed", ["text/html", "text/plain"])]), "text/plain"],
    )
    message = root.children[0]
    assert octets[message.body_start : message.end] == inner.removesuffix(b"\r\n") + b"\r\n"
    assert message.is_message
    assert message.children[0].header_start == message.body_start


def test_an_outer_delimiter_ends_inner_parts() -> None:
    """RFC 2046 §5.1.2: an unclosed inner multipart does not swallow its neighbours."""
    inner = b'Content-Type: multipart/alternative; boundary="in"\r\n\r\n--in\r\n\r\nunclosed'
    octets = _multipart(b"out", inner, b"\r\nnext")
    root = parse_structure(octets).root
    assert _shape(root) == ("multipart/mixed", [("multipart/alternative", ["text/plain"]), "text/plain"])
    leaf = root.children[0].children[0]
    assert octets[leaf.body_start : leaf.end] == b"unclosed"


def test_nothing_after_the_close_delimiter_is_a_part() -> None:
    octets = _multipart(b"b", b"\r\none") + b"--b\r\n\r\ntwo\r\n"
    assert len(parse_structure(octets).root.children) == 1


@pytest.mark.parametrize("line", [b"--bb", b"--b x", b" --b", b"-- b", b"--b---", b"x--b"])
def test_lines_that_are_no_delimiters(line: bytes) -> None:
    root = parse_structure(_multipart(b"b", b"\r\n" + line + b"\r\nrest")).root
    assert len(root.children) == 1


@pytest.mark.parametrize("line", [b"--b \t", b"--b"])
def test_delimiters_may_have_trailing_white_space(line: bytes) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + line + b"\r\n\r\none\r\n" + line + b"--\r\n"
    assert len(parse_structure(octets).root.children) == 1


def test_bare_line_feeds_make_the_same_tree() -> None:
    lf = RFC_2046_5_1_1.replace(b"\r\n", b"\n")
    assert _shape(parse_structure(lf).root) == _shape(parse_structure(RFC_2046_5_1_1).root)


@pytest.mark.parametrize(
    "octets",
    [
        b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nx\r\n----\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno delimiter\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Type: nonsense\r\n\r\nx",
    ],
)
def test_what_has_no_parts_is_text(octets: bytes) -> None:
    structure = parse_structure(octets)
    assert _shape(structure.root) == "text/plain"
    assert not structure.truncated


def test_an_encoded_message_is_a_file() -> None:
    """RFC 2046 §5.2.1 forbids the encoding; what is inside is not looked at."""
    octets = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQp4\r\n"
    assert _shape(parse_structure(octets).root) == "application/octet-stream"


@pytest.mark.parametrize("depth", [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1])
@pytest.mark.parametrize("container", ["message", "multipart"])
def test_depth_limit(depth: int, container: str) -> None:
    if container == "message":
        octets = b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: x\r\n\r\ny"
    else:
        heads = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)]
        octets = b"".join(heads) + b"\r\ny"
    structure = parse_structure(octets)
    assert structure.truncated == (depth > DEPTH_MAX)
    assert max(part.depth for part in structure.walk()) == min(depth, DEPTH_MAX)


@pytest.mark.parametrize("count", [PARTS_MAX - 1, PARTS_MAX, PARTS_MAX + 1])
def test_part_limit(count: int) -> None:
    structure = parse_structure(_multipart(b"b", *[b"\r\n"] * (count - 1)))
    assert structure.truncated == (count > PARTS_MAX)
    assert sum(1 for _ in structure.walk()) == min(count, PARTS_MAX)


@pytest.mark.parametrize("size", [BOUNDARY_MAX - 1, BOUNDARY_MAX, BOUNDARY_MAX + 1])
def test_boundary_limit(size: int) -> None:
    structure = parse_structure(_multipart(b"b" * size, b"\r\nx"))
    assert structure.truncated == (size > BOUNDARY_MAX)
    assert bool(structure.root.children) == (size <= BOUNDARY_MAX)


_OPENED = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n"
_MULTI = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
        b"Content-Type: message/rfc822\n\n" * 10_000,
        b"".join(_OPENED % (b"%d" % n, b"%d" % n) for n in range(10_000)),
        b"".join(_OPENED % (b"a" * n, b"a" * n) for n in range(1, 2000)),
        _MULTI + b"--b\r\n" * 1_000_000,
        _MULTI + b"--bx\r\n" * 1_000_000,
        _MULTI + b"\n--" * 3_000_000,
        b"a:\r\n" * 1_000_000,
        b"a:" + b"x" * 20_000_000,
        b"Content-Type: a/b" + b";a=b" * 100_000 + b"\r\n\r\n",
        _MULTI + (b"--b\r\n" + b"a:\r\n" * 2_500 + b"\r\n") * 800,
        _MULTI + (b"--b\r\nContent-Type: a/b" + b";a=b" * 1000 + b"\r\n\r\n") * 2_000,
        b"Content-Type: message/rfc822\r\n\r\n" * 99 + b"\r\n" + b"x\n" * 8_000_000,
        b"".join(_OPENED % (b"%d" % n, b"%d" % n) for n in range(99)) + b"x\n" * 8_000_000,
    ],
    ids=range(14),
)  # fmt: skip
def test_bombs_take_less_than_a_second(octets: bytes) -> None:
    """T11: 1 s of CPU for each."""
    started = time.process_time()
    parse_structure(octets)
    assert time.process_time() - started < 1.0


def test_bombs_take_little_memory() -> None:
    """T11: 64 MiB beside the message."""
    octets = _MULTI + (b"--b\r\n" + b"content-a:\r\n" * 100 + b"\r\n") * 10_000
    tracemalloc.start()
    try:
        parse_structure(octets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024 * 1024


_PIECES = [b"\r\n", b"\n", b"--b", b"--", b"--c", b" ", b"x", b"\xff", b"\x00", b"\r"]
_PIECES += [_MULTI, _MULTI.replace(b"b\r", b"c\r"), b"Content-Type: message/rfc822\r\n\r\n"]


@given(st.lists(st.sampled_from(_PIECES), max_size=30))
def test_any_octets_have_a_tree_whose_offsets_nest(pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    for part in parse_structure(_MULTI + octets).walk():
        assert part.header_start <= part.body_start <= part.end <= len(_MULTI + octets)
        for child in part.children:
            assert part.body_start <= child.header_start
            assert child.end <= part.end


_LINES = st.from_regex(rb"([a-z ]{0,8}\r\n){0,3}[a-z]{0,5}", fullmatch=True)
_LEAF = _LINES.map(lambda text: b"Content-Type: text/plain\r\n\r\n" + text)


def _tree(parts: list[bytes]) -> bytes:
    return _multipart(b"=_%d" % zlib.crc32(b"|".join(parts)), *parts)


@settings(max_examples=50)
@given(st.recursive(_LEAF, lambda inner: st.lists(inner, min_size=1, max_size=3).map(_tree), max_leaves=6))
def test_well_formed_trees_are_what_the_standard_library_sees(octets: bytes) -> None:
    """ST7: our view of a message is that of the reference."""

    def theirs(message: Message) -> object:
        payload = message.get_payload()
        if isinstance(payload, list):
            return (message.get_content_type(), [theirs(part) for part in payload])
        return (message.get_content_type(), payload)

    def ours(part: Part) -> object:
        name = (part.kind + b"/" + part.subtype).decode()
        if part.children:
            return (name, [ours(child) for child in part.children])
        return (name, octets[part.body_start : part.end].decode())

    assert ours(parse_structure(octets).root) == theirs(email.message_from_bytes(octets, policy=compat32))
