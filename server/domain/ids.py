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

_RANDOM_OCTETS = 2048
"""Taken from the system at once: a call for each id costs more than the rest of it."""

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_random = ""
_random_at = 0


def new_id() -> str:
    """Make a UUIDv7 in its 36-character form; strictly ascending within the process.

    RFC 9562 §5.7; the 12 bits of rand_a are a counter (§6.2, method 1).
    """
    global _last_ms, _counter, _random, _random_at
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, 0
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        if _random_at == len(_random):
            _random, _random_at = os.urandom(_RANDOM_OCTETS).hex(), 0
        head = f"{_last_ms:012x}7{_counter:03x}"
        tail = _random[_random_at : _random_at + 16]
        _random_at += 16
    return f"{head[:8]}-{head[8:12]}-{head[12:]}-{_VARIANT[tail[0]]}{tail[1:4]}-{tail[4:]}"


_VARIANT = {digit: "89ab"[number & 3] for number, digit in enumerate("0123456789abcdef")}
"""The two bits 10 before a hexadecimal digit's last two."""


def _forget_random() -> None:
    global _random, _random_at
    _random, _random_at = "", 0


# A forked child must not make its parent's ids.
os.register_at_fork(after_in_child=_forget_random)
