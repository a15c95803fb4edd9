"""System flags of a message as a bit set (RFC 9051 §2.3.2); keywords stand beside them as text.

- \\Recent is not a flag of a message but of a session, so it has no bit.
"""

from __future__ import annotations

SEEN = 1
ANSWERED = 2
FLAGGED = 4
DELETED = 8
DRAFT = 16
ALL_FLAGS = SEEN | ANSWERED | FLAGGED | DELETED | DRAFT
