"""Identifiers are UUIDv7 and ascend (RFC 9562 §5.7, §6.2)."""

from __future__ import annotations

import os
import uuid

import pytest

from server.domain.ids import new_id


def test_ids_are_uuid_version_7_and_ascend() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    for text in ids[::97]:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_random_octets_of_its_own() -> None:
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id()[19:].encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert theirs != new_id()[19:]
