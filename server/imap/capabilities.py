"""What the server says it can do (RFC 9051 §6.1.1, §7.2.2): only what works, and only where it may be used."""

from __future__ import annotations

from server.imap.session import Session, State

_ALWAYS = b"IMAP4rev1 IMAP4rev2 LITERAL- SASL-IR ENABLE ID"
_LOGINS = b"AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256 AUTH=OAUTHBEARER"
_STORE = (
    b"OBJECTID PREVIEW SAVEDATE CREATE-SPECIAL-USE QUOTA QUOTA=RES-STORAGE UTF8=ACCEPT "
    b"MULTIAPPEND BINARY REPLACE METADATA LIST-METADATA "
    b"ACL RIGHTS=kxte LIST-MYRIGHTS"
)
_LOGGED_IN = b"IDLE NAMESPACE UNSELECT UIDPLUS MOVE SPECIAL-USE CHILDREN LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH"
_SYNC = b"CONDSTORE QRESYNC SEARCHRES WITHIN PARTIAL INPROGRESS UIDONLY"
_ORDER = b"SORT SORT=DISPLAY ESORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT MULTISEARCH NOTIFY"


def capabilities(session: Session) -> bytes:
    """The capabilities of the session's present state, without the word CAPABILITY."""
    if session.state is not State.NOT_AUTHENTICATED:
        words = b" ".join((_ALWAYS, _LOGGED_IN, _SYNC, _ORDER, _STORE))
        if session.settings.imap.compress and not session.connection.is_compressed:
            words += b" COMPRESS=DEFLATE"
        return b"%s APPENDLIMIT=%d" % (words, session.settings.smtp.max_message_size)
    if session.is_secure:
        bound = b" AUTH=SCRAM-SHA-256-PLUS" if end_point(session) else b""
        return _ALWAYS + b" " + _LOGINS + bound
    starttls = b" STARTTLS" if session.tls_context() is not None else b""
    return _ALWAYS + starttls + b" LOGINDISABLED"


def end_point(session: Session) -> bytes:
    """What a login can be bound to, empty when the channel has nothing (RFC 5929 §4)."""
    return session.info.tls.end_point if session.info.tls is not None else b""
