"""The base subject: a subject without the marks of replies and forwards (RFC 5256 §2.1).

- Each step takes something off an end; callers bound the subject (998 characters).
- For threads, marks that programs write in other languages go too; sorting wants the RFC's own marks only.
"""

from __future__ import annotations

import re

_BLOB = re.compile(r"\[[^\[\]]*+\][ \t]*+")
_REFWD = re.compile(r"(?:re|fwd?)[ \t]*+(?:\[[^\[\]]*+\][ \t]*+)?:", re.IGNORECASE)
_BLOBS = re.compile(r"(?:\[[^\[\]]*+\][ \t]*+)++")
_LOCAL = re.compile(
    r"(?:aw|wg|antw(?:ort)?|sv|vs|vl|vb|rv|res|enc|tr|odp|pd|ynt|ilt|r|i|rif|doorst|antwort|r[ée]p|atb|回复|答复|转发|返信|転送)"
    r"[ \t]*+[:\uff1a]",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[ \t\r\n]++")
_FWD_START = "[fwd:"
_TRAILER = "(fwd)"


def base_subject(subject: str) -> str:
    """The base of a decoded subject, its case kept; the caller folds it to compare (RFC 5256 §2.1, steps 1 to 6)."""
    text = _SPACE.sub(" ", subject)
    while True:
        text = _without_leaders(_without_trailers(text))
        if not (text[: len(_FWD_START)].lower() == _FWD_START and text.endswith("]")):
            return text
        text = text[len(_FWD_START) : -1]


def thread_subject(subject: str) -> str:
    """What must be equal in a thread: the base subject, marks of other languages taken off too, case-folded."""
    text = base_subject(subject)
    while found := _LOCAL.match(text):
        text = base_subject(text[found.end() :])
    return text.casefold()


def is_reply(subject: str) -> bool:
    """Whether the subject has a mark of a reply or a forward (RFC 5256 §3, THREAD=REFERENCES step 5)."""
    text = _SPACE.sub(" ", subject)
    return _without_trailers(text) != text.rstrip(" ") or _leader_end(text, 0) is not None


def _without_trailers(text: str) -> str:
    end = len(text.rstrip(" "))
    while text[max(0, end - len(_TRAILER)) : end].lower() == _TRAILER:
        end = len(text[: end - len(_TRAILER)].rstrip(" "))
    return text[:end]


def _without_leaders(text: str) -> str:
    at = 0
    while True:
        end = _leader_end(text, at)
        if end is None:
            # A blob alone goes only where it leaves something (step 4).
            blob = _BLOB.match(text, at)
            if blob is None or blob.end() == len(text):
                return text[at:]
            end = blob.end()
        at = end


def _leader_end(text: str, at: int) -> int | None:
    """Where one subj-leader ends that begins here: white space, or blobs and a mark with its colon."""
    if text.startswith((" ", "\t"), at):
        return at + 1
    blobs = _BLOBS.match(text, at)
    mark = _REFWD.match(text, at if blobs is None else blobs.end())
    return None if mark is None else mark.end()
