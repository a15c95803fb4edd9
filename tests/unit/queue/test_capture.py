"""Outbound mail captured in a folder (`outbound.capture_path`)."""

from __future__ import annotations

import json
from pathlib import Path

from server.adapters.worker import ThreadWorker
from server.domain.queue import DeliveryStatus
from server.services.queue.capture import CaptureCourier
from tests.support.queueing import BODY, claim, enqueue, message, open_rig, running


async def test_captured_mail_is_two_files_and_counts_as_sent(tmp_path: Path) -> None:
    folder = tmp_path / "captured"
    worker = ThreadWorker("capture", threads=1)
    async with open_rig(tmp_path) as rig:
        courier = CaptureCourier(
            database=rig.database, blob_store=rig.blob_store, clock=rig.clock, folder=folder, worker=worker
        )
        queued = await rig.put("b@there.test", "c@other.test")
        async with running(rig.runner(courier)):
            await rig.until_settled()
        rows = await rig.rows()
    worker.close()
    assert {row["status"] for row in rows} == {"sent"}
    assert rows[0]["last_reply"].endswith("not sent")
    (eml,) = folder.glob("*.eml")
    envelope = json.loads(eml.with_suffix(".json").read_text())
    assert eml.read_bytes() == queued.prefix + BODY
    assert envelope["sender"] == "a@ours.test"
    assert envelope["recipients"] == ["b@there.test", "c@other.test"]
    assert sorted(path.suffix for path in folder.iterdir()) == [".eml", ".json"]


async def test_a_folder_that_can_not_be_written_defers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    worker = ThreadWorker("capture", threads=1)
    async with open_rig(tmp_path) as rig:
        courier = CaptureCourier(
            database=rig.database,
            blob_store=rig.blob_store,
            clock=rig.clock,
            folder=tmp_path / "file" / "below",
            worker=worker,
        )
        queued = message()
        held = claim(queued, "b@there.test")
        await enqueue(rig.database, queued, held.recipients)
        (attempt,) = await courier.deliver(held)
    worker.close()
    assert attempt.status is DeliveryStatus.DEFERRED
