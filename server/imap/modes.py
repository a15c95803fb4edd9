"""What a client has switched on: from then on the server speaks otherwise (RFC 5161).

- A mode never goes off again in its session.
- QRESYNC switches CONDSTORE on (RFC 7162 §3.2.3); IMAP4rev2 and UTF8=ACCEPT both make names UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SessionModes:
    """One session's modes.

    Attributes:
        condstore: FETCH responses carry MODSEQ (RFC 7162 §3.1).
        qresync: VANISHED stands for EXPUNGE (RFC 7162 §3.2.10).
        rev2: IMAP4rev2: no \\Recent, ESEARCH for SEARCH, UTF-8 names (RFC 9051 appendix E).
        utf8: Names and strings are UTF-8 (RFC 6855 §3).
        uid_only: Message numbers are neither taken nor given (RFC 9586).
    """

    condstore: bool = False
    qresync: bool = False
    rev2: bool = False
    utf8: bool = False
    uid_only: bool = False

    @property
    def utf8_names(self) -> bool:
        return self.rev2 or self.utf8

    @property
    def vanished(self) -> bool:
        """Whether expunged messages are told by UID."""
        return self.qresync or self.uid_only

    def enable(self, name: bytes) -> bool:
        """Switch on the extension of that upper-case name; False when it is none that can be."""
        match name:
            case b"CONDSTORE":
                self.condstore = True
            case b"QRESYNC":
                self.condstore = self.qresync = True
            case b"IMAP4REV2":
                self.rev2 = True
            case b"UTF8=ACCEPT":
                self.utf8 = True
            case b"UIDONLY":
                self.uid_only = True
            case _:
                return False
        return True
