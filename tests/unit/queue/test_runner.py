"""The queue's engine over a real store and a real connection (reliability.md §2)."""

from __future__ import annotations

from pathlib import Path

from tests.support.fake_mx import FakeMx
from tests.support.queueing import open_rig, running


async def test_a_queued_message_is_delivered_and_its_attempt_recorded(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig, FakeMx() as mx:
        await rig.put("b@there.test")
        async with running(rig.runner(rig.courier(mx.port))):
            await rig.until_settled()
        row = await rig.row("b@there.test")
        assert (row["status"], row["last_reply"], row["last_host"]) == (
            "sent",
            "250 2.0.0 taken as 4711",
            "mx.there.test",
        )
        assert row["finished_at"] is not None
        assert [a["ip"] for a in await rig.attempts()] == ["127.0.0.1"]
        assert [e["type"] for e in await rig.events()] == ["delivery.sent"]
        assert mx.messages[0].data.startswith(b"Received: from here\r\nFrom: <a@ours.test>")
