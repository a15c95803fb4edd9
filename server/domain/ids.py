"""Identifiers: UUIDv7 strings for objects, plain integers for counters.

- Ids made by one process ascend strictly, so rows inserted in order stay in order (RFC 9562 §6.2, method 1).
- UIDs, modseqs and event numbers are counters kept by the store, never derived from a clock.
"""

from __future__ import annotations

import os
import threading
import time
from typing import NewType

TenantId = NewType("TenantId", str)
DomainId = NewType("DomainId", str)
AccountId = NewType("AccountId", str)
AliasId = NewType("AliasId", str)
MailboxId = NewType("MailboxId", str)
MessageId = NewType("MessageId", str)
BlobId = NewType("BlobId", str)
QueueId = NewType("QueueId", str)
DeliveryId = NewType("DeliveryId", str)
TraceId = NewType("TraceId", str)
KeyId = NewType("KeyId", str)

Uid = NewType("Uid", int)
UidValidity = NewType("UidValidity", int)
ModSeq = NewType("ModSeq", int)
EventSeq = NewType("EventSeq", int)

_lock = threading.Lock()
_last_ms = 0
_counter = 0


def new_id() -> str:
    """Make a UUIDv7 in its 36-character form; strictly ascending within the process.

    RFC 9562 §5.7; the 12 bits of rand_a are a counter (§6.2, method 1).
    """
    global _last_ms, _counter
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, 0
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    tail = os.urandom(8)
    text = f"{ms:012x}7{counter:03x}{0x80 | (tail[0] & 0x3F):02x}{tail[1:].hex()}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
