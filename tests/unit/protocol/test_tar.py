"""Tar archives: what other programs write is read, what climbs out is refused, what we write others read."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocol.tar import END, TarSyntaxError, format_member, read_tar

WHEN = datetime(2024, 2, 29, 12, 0, 1, 250000, tzinfo=UTC)


def archive(members: list[tarfile.TarInfo], form: int, data: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return file.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_archives_of_the_standard_library_are_read(form: int) -> None:
    info = tarfile.TarInfo("a/" + "b" * 90 + "/" + "c" * 60)
    info.mtime = 1_700_000_000
    (member,) = read_tar(archive([info], form))
    assert (member.name, member.octets, member.safe) == (info.name, b"x", True)
    assert member.modified == datetime.fromtimestamp(1_700_000_000, UTC)


def test_only_regular_files_come_out() -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    assert [m.name for m in read_tar(archive([link, folder, tarfile.TarInfo("mail")], tarfile.PAX_FORMAT))] == ["mail"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_names_that_lead_out_are_marked(name: str) -> None:
    (member,) = read_tar(archive([tarfile.TarInfo(name)], tarfile.USTAR_FORMAT))
    assert not member.safe


@pytest.mark.parametrize("data", [b"x" * 512, b"ustar" * 200])
def test_what_is_no_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(TarSyntaxError):
        list(read_tar(data))


def test_a_size_beyond_the_archive_is_an_error() -> None:
    whole = archive([tarfile.TarInfo("m")], tarfile.USTAR_FORMAT, b"y" * 600)
    with pytest.raises(TarSyntaxError):
        list(read_tar(whole[:1024]))


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=200), st.binary(max_size=1100)
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_by_us_and_by_the_standard_library(name: str, octets: bytes) -> None:
    name = "a/" + name
    whole = format_member(name, octets, modified=WHEN, extra={"MAIRUST.keywords": "ä b"}) + END
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        info = tar.next()
        assert info is not None
        assert (info.name, info.pax_headers["MAIRUST.keywords"]) == (name.rstrip("/"), "ä b")
        file = tar.extractfile(info)
        assert file is not None
        assert file.read() == octets
    (member,) = read_tar(whole)
    assert (member.octets, member.modified, dict(member.extra)) == (octets, WHEN, {"MAIRUST.keywords": "ä b"})


@given(st.binary(max_size=2000))
@settings(max_examples=100, deadline=None)
def test_any_octets_give_members_or_the_one_error(data: bytes) -> None:
    try:
        list(read_tar(data))
    except TarSyntaxError:
        return
