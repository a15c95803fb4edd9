"""Mail on this machine's disk, read and cut into pieces that the API takes: Maildirs, mboxes, single mails.

- Links are not followed below what was named, and only regular files are read.
- A piece is made in memory: about PIECE_OCTETS, more only where one message is larger.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mairust_cli.exits import CliError, Exit

PIECE_OCTETS = 4 * 1024 * 1024
PIECE_FILES = 2000
KEYWORDS_FILE = "dovecot-keywords"
_DEPTH_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file to send: its path, and its name in the piece."""

    path: Path
    name: str
    is_mail: bool = True


@dataclass(slots=True)
class Finding:
    """What was found below a path; `passed` names what was left out, and why."""

    files: list[Found] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    @property
    def mails(self) -> int:
        return sum(found.is_mail for found in self.files)


def find_maildir(root: Path) -> Finding:
    """The messages of a Maildir with its folders: Maildir++ or one in another.

    Raises:
        CliError: There is none.
    """
    finding = Finding()
    for folder, files in _walk(root, finding):
        last = folder.rpartition("/")[2]
        if last in ("cur", "new"):
            finding.files += [Found(path=path, name=f"{folder}/{path.name}") for path in files if path.name[0] != "."]
        elif last != "tmp":
            name = f"{folder}/{KEYWORDS_FILE}" if folder else KEYWORDS_FILE
            finding.files += [Found(path=p, name=name, is_mail=False) for p in files if p.name == KEYWORDS_FILE]
    # A folder's keywords must come before its messages; order by name puts older mail first.
    finding.files.sort(key=lambda found: (found.name.rsplit("/", 2)[0] if found.is_mail else "", found.name))
    if not finding.mails and not any((root / leaf).is_dir() for leaf in ("cur", "new")):
        why = f"{root}: neither it nor a folder below it holds cur and new"
        raise CliError("no Maildir there", code=Exit.INVALID, why=why, hint="mairust import --help")
    return finding


def find_eml(root: Path) -> Finding:
    """A mail, or all `*.eml` in a folder and below it."""
    finding = Finding()
    if not root.is_dir():
        finding.files.append(Found(path=root, name=root.name))
        return finding
    for folder, files in _walk(root, finding):
        finding.files += [
            Found(path=path, name=f"{folder}/{path.name}" if folder else path.name)
            for path in files
            if path.suffix.lower() == ".eml"
        ]
    finding.files.sort(key=lambda found: found.name)
    return finding


def find_mbox(root: Path) -> Finding:
    """An mbox, or all files of a folder and below it; a folder's `name` is the mailbox, without `.mbox` and `.sbd`."""
    finding = Finding()
    if not root.is_dir():
        finding.files.append(Found(path=root, name=""))
        return finding
    for folder, files in _walk(root, finding):
        for path in files:
            if path.name.startswith(".") or path.suffix in (".msf", ".dat", ".html", ".json"):
                continue
            levels = [level.removesuffix(".sbd") for level in folder.split("/") if level]
            name = "/".join([*levels, path.name.removesuffix(".mbox")])
            finding.files.append(Found(path=path, name=name))
    finding.files.sort(key=lambda found: found.name)
    return finding


def tar_pieces(finding: Finding, *, largest: int) -> Iterator[tuple[bytes, int]]:
    """Tar archives of the files, each with how many messages it holds; files that can't be read are noted."""
    piece = _Piece()
    keywords: list[tuple[str, bytes, float]] = []
    for found in finding.files:
        try:
            octets, modified = _read(found.path, largest)
        except OSError as error:
            finding.passed.append(f"{found.path}: {error.strerror}")
            continue
        except ValueError as error:
            finding.passed.append(f"{found.path}: {error}")
            continue
        if not found.is_mail:
            keywords.append((found.name, octets, modified))
        if piece.is_full(len(octets)):
            yield piece.close()
            piece = _Piece()
            for known in keywords:
                piece.add(*known, mail=False)
        piece.add(found.name, octets, modified, mail=found.is_mail)
    if piece.mails:
        yield piece.close()


def tar_file_pieces(path: Path, finding: Finding, *, largest: int) -> Iterator[tuple[bytes, int]]:
    """Pieces of a tar archive on disk, whatever its compression."""
    piece = _Piece()
    keywords: list[tuple[str, bytes, float, dict[str, str]]] = []
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    continue
                if member.size > largest:
                    finding.passed.append(f"{member.name}: larger than {largest} octets")
                    continue
                octets = source.read()
                mail = not member.name.endswith(KEYWORDS_FILE)
                own = {key: value for key, value in member.pax_headers.items() if key.startswith("MAIRUST.")}
                if not mail:
                    keywords.append((member.name, octets, float(member.mtime), own))
                if piece.is_full(len(octets)):
                    yield piece.close()
                    piece = _Piece()
                    for known in keywords:
                        piece.add(*known, mail=False)
                piece.add(member.name, octets, float(member.mtime), own, mail=mail)
    except (tarfile.TarError, EOFError, OSError) as error:
        why = f"{path}: {error}"
        raise CliError("the archive can not be read", code=Exit.INVALID, why=why, hint="tar tf FILE") from None
    if piece.mails:
        yield piece.close()


class _Piece:
    """A tar archive in the making."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)
        self.mails = 0

    def is_full(self, octets: int) -> bool:
        return self.mails > 0 and (self._file.tell() + octets > PIECE_OCTETS or self.mails >= PIECE_FILES)

    def add(
        self, name: str, octets: bytes, modified: float, extra: dict[str, str] | None = None, *, mail: bool
    ) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(octets), modified
        info.pax_headers = dict(extra or {})
        self._tar.addfile(info, io.BytesIO(octets))
        self.mails += mail

    def close(self) -> tuple[bytes, int]:
        self._tar.close()
        return self._file.getvalue(), self.mails


def _walk(root: Path, finding: Finding) -> Iterator[tuple[str, list[Path]]]:
    """Folders below `root` (itself first, named by the path from it) with their regular files."""
    waiting: list[tuple[Path, str, int]] = [(root, "", 0)]
    while waiting:
        here, name, depth = waiting.pop()
        files = []
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if not name:
                why = f"{here}: {error.strerror}"
                raise CliError("the folder can not be read", code=Exit.INVALID, why=why, hint="ls -ld") from None
            finding.passed.append(f"{here}: {error.strerror}")
            continue
        for entry in entries:
            below = f"{name}/{entry.name}" if name else entry.name
            if entry.is_symlink():
                finding.passed.append(f"{entry.path}: a link")
            elif entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH_MAX:
                    waiting.append((Path(entry.path), below, depth + 1))
            elif entry.is_file(follow_symlinks=False):
                files.append(Path(entry.path))
        yield name, files


def _read(path: Path, largest: int) -> tuple[bytes, float]:
    """A regular file and its time. Raises OSError, ValueError (not regular, too large)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("not a regular file")
        if state.st_size > largest:
            raise ValueError(f"larger than {largest} octets")
        return file.read(largest + 1), state.st_mtime_ns / 1e9
