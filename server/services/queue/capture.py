"""Outbound mail into a folder in place of the world (`outbound.capture_path`): for demonstrations and staging.

- Each claim is two files, `ID.eml` with the octets and `ID.json` with the envelope, durable before it counts as sent.
- The `.json` appears last: a reader that sees it finds the whole message.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from server.domain.errors import Unavailable
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.queue import Attempt, QueuedRecipient
from server.domain.reply import reply
from server.services.queue.courier import Claim, begin, same_for_all
from server.store.database import Database
from server.store.repositories import blobs
from server.telemetry.log import get_logger

log = get_logger("queue")

CAPTURE_LANE = "capture"


class CaptureCourier:
    """The Courier that sends nothing."""

    def __init__(
        self, *, database: Database, blob_store: BlobStore, clock: Clock, folder: Path, worker: Worker
    ) -> None:
        self._database = database
        self._blob_store = blob_store
        self._clock = clock
        self._folder = folder
        self._worker = worker

    def lane(self, recipient: QueuedRecipient) -> str:
        return CAPTURE_LANE

    async def deliver(self, claim: Claim) -> list[Attempt]:
        begun = begin(self._clock)
        message = claim.message
        blob = await self._database.read("queue.parcel", lambda tx: blobs.get(tx, message.blob_id))
        if blob is None:
            raise Unavailable("the message can't be read now")
        octets = message.prefix + await self._blob_store.read(blob)
        envelope = msgspec.json.format(
            msgspec.json.encode(
                {
                    "queue_id": message.id,
                    "sender": message.sender,
                    "recipients": [recipient.recipient for recipient in claim.recipients],
                    "origin": message.origin.value,
                    "trace_id": message.trace_id,
                }
            )
        )
        name = claim.recipients[0].id
        claim.progress.past_dot = True
        try:
            await self._worker.run(lambda: self._write(name, octets, envelope))
        except OSError as error:
            log.error("queue.capture_failed", path=str(self._folder), error=os.strerror(error.errno or 0))
            failed = begun.attempt(reply(451, "4.3.0", "the message could not be captured"), from_remote=False)
            return same_for_all(failed, claim.recipients)
        captured = begun.attempt(reply(250, "2.0.0", f"captured as {name}.eml, not sent"), from_remote=False)
        return same_for_all(captured, claim.recipients)

    async def reap(self) -> None:
        """Nothing is kept open."""

    async def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, name: str, octets: bytes, envelope: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_durably(self._folder / f"{name}.eml", octets)
        _write_durably(self._folder / f"{name}.json", envelope + b"\n")
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_durably(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(part, path)
