"""Names of the Maildir format: folders, and flags in the names of files (cr.yp.to/proto/maildir.html, Maildir++).

- `.Sent.2024` of Maildir++ and `Sent/2024` of the layout `fs` are both the mailbox `Sent/2024`; the folder itself
  is INBOX.
- Names of folders are modified UTF-7, or UTF-8 where they are no such.
- Dovecot's keywords are the letters a to z, spelt out by a file `dovecot-keywords` in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from server.domain.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from server.domain.mailbox import DELIMITER
from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.utf7 import decode_utf7, encode_utf7

KEYWORDS_FILE = "dovecot-keywords"
KEYWORDS_MAX = 26
_LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
_KEYWORD_LINE = re.compile(r"([0-9]{1,2}) (\S{1,100})")


def flags_of(name: str, keywords: Mapping[int, str]) -> tuple[int, tuple[str, ...]]:
    """Flags and keywords in a file's name."""
    _, mark, info = name.rpartition(":2,")
    if not mark:
        _, mark, info = name.rpartition(";2,")
    letters = info if mark else ""
    flags = sum({_LETTERS[letter] for letter in letters if letter in _LETTERS})
    words = [keywords.get(ord(letter) - ord("a")) for letter in letters if "a" <= letter <= "z"]
    return flags, tuple(word for word in words if word)


def info_of(flags: int, keywords: Sequence[str], letters: Mapping[str, int]) -> str:
    """The part of a file's name after the colon; keywords without a letter are left out."""
    system = "".join(letter for letter, bit in sorted(_LETTERS.items()) if flags & bit)
    own = sorted(chr(ord("a") + letters[word]) for word in keywords if word in letters)
    return "2," + system + "".join(own)


def parse_keywords(text: bytes) -> dict[int, str]:
    """A `dovecot-keywords` file: number to keyword."""
    found = {}
    for line in text.decode("utf-8", "replace").splitlines()[:KEYWORDS_MAX]:
        match = _KEYWORD_LINE.fullmatch(line.strip())
        if match is not None and int(match[1]) < KEYWORDS_MAX:
            found[int(match[1])] = match[2]
    return found


def format_keywords(letters: Mapping[str, int]) -> bytes:
    return "".join(f"{number} {word}\n" for word, number in letters.items()).encode("utf-8")


def mailbox_of(folders: Sequence[str]) -> str:
    """The mailbox of the folders that lead to `cur` or `new`; empty = INBOX."""
    levels: list[str] = []
    for folder in folders:
        if folder.startswith("."):
            levels += [part for part in folder.split(".") if part]
        else:
            levels.append(folder)
    name = DELIMITER.join(_decoded(level) for level in levels)
    return name or "INBOX"


def folder_of(mailbox: str) -> str:
    """The Maildir++ folder of a mailbox, empty for INBOX; a dot in a level becomes `_`."""
    if mailbox == "INBOX":
        return ""
    return "." + ".".join(_encoded(level) for level in mailbox.split(DELIMITER))


def _decoded(level: str) -> str:
    try:
        text = decode_utf7(level.encode("ascii"))
    except (ValueError, ImapSyntaxError):
        return level
    return text.replace(DELIMITER, "_")


def _encoded(level: str) -> str:
    return encode_utf7(level).decode("ascii").replace(".", "_").replace("\0", "_")
