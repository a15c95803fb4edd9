"""The remote courier against exchangers that behave and that do not (RFC 5321 §5.1, reliability.md F14)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.config.schema import Relay
from server.config.secret import Secret
from server.domain.envelope import Notify, Ret
from server.domain.queue import Attempt, DeliveryStatus
from server.services.queue import session
from server.services.queue.remote import RemoteCourier
from server.services.queue.session import ClientTls, Phase
from server.store.schema import domains
from tests.support.fake_mx import DROP, HANG, LOST_250, RESET, FakeMx
from tests.support.queueing import (
    TENANT,
    QueueRig,
    changed,
    claim,
    enqueue,
    message,
    open_rig,
    server_context,
    trusting_context,
)

SENT, DEFERRED, FAILED, HELD = (
    DeliveryStatus.SENT,
    DeliveryStatus.DEFERRED,
    DeliveryStatus.FAILED,
    DeliveryStatus.HELD,
)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[QueueRig]:
    async with open_rig(tmp_path) as opened:
        yield opened


async def send(
    rig: QueueRig, courier: RemoteCourier, *addresses: str, body: bytes | None = None, **changes: Any
) -> list[Attempt]:
    """Deliver one message to `addresses` and close the courier's connections."""
    attempts = await deliver(rig, courier, *addresses, body=body, **changes)
    await courier.close()
    return attempts


async def deliver(
    rig: QueueRig, courier: RemoteCourier, *addresses: str, body: bytes | None = None, **changes: Any
) -> list[Attempt]:
    mine = {k: changes.pop(k) for k in ("notify", "orcpt") if k in changes}
    sent = message(**changes)
    held = claim(sent, *addresses, **mine)
    await enqueue(rig.database, sent, held.recipients, **({} if body is None else {"body": body}))
    return await courier.deliver(held)


async def test_mixed_recipients_each_get_the_remotes_own_words(rig: QueueRig) -> None:
    script = {"rcpt:no@there.test": b"550 5.1.1 no such user\r\n", "rcpt:later@there.test": b"450 4.2.0 greylisted\r\n"}
    async with FakeMx(script=script) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test", "no@there.test", "later@there.test")
    assert [(a.status, a.reply.text, a.from_remote) for a in attempts] == [
        (SENT, "250 2.0.0 taken as 4711", True),
        (FAILED, "550 5.1.1 no such user", True),
        (DEFERRED, "450 4.2.0 greylisted", True),
    ]
    assert attempts[0].host == "mx.there.test"
    assert [len(taken.rcpts) for taken in mx.messages] == [1]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(("code", "status"), [(b"450 4.0.0 not now\r\n", DEFERRED), (b"550 5.0.0 never\r\n", FAILED)])
async def test_a_refusal_at_any_stage_is_the_attempts_reply(
    rig: QueueRig, stage: str, code: bytes, status: DeliveryStatus, pipelining: bool
) -> None:
    extensions = ["PIPELINING"] if pipelining else []
    async with FakeMx(script={stage: [code]}, extensions=extensions) as mx:
        courier = rig.courier(mx.port)
        refused = await deliver(rig, courier, "b@there.test")
        sent = await send(rig, courier, "b@there.test")
    assert (refused[0].status, refused[0].reply.code) == (status, int(code[:3]))
    assert sent[0].status is SENT
    assert mx.connections == 1, "the connection is used again after a refusal"


@pytest.mark.parametrize("stage", ["connect", "ehlo"])
async def test_a_4xx_greeting_leads_to_the_next_exchanger(rig: QueueRig, stage: str) -> None:
    script = {"connect": b"421 4.3.2 closed\r\n"} if stage == "connect" else {"ehlo": DROP}
    async with FakeMx(script=script) as first:
        second = FakeMx(host="127.0.0.2")
        second.port = first.port
        async with second:
            attempts = await send(rig, rig.courier(first.port), "b@two.test")
    assert (attempts[0].status, attempts[0].ip) == (SENT, "127.0.0.2")


async def test_a_refused_connection_leads_to_the_next_exchanger(rig: QueueRig) -> None:
    async with FakeMx(host="127.0.0.2") as second:
        attempts = await send(rig, rig.courier(second.port), "b@two.test")
    assert (attempts[0].status, attempts[0].host) == (SENT, "mx2.two.test")


async def test_no_exchanger_that_answers_defers(rig: QueueRig) -> None:
    async with FakeMx() as gone:
        pass
    attempts = await send(rig, rig.courier(gone.port), "b@two.test")
    assert (attempts[0].status, attempts[0].reply.enhanced) == (DEFERRED, "4.4.1")
    assert attempts[0].host == "mx2.two.test"


async def test_a_5xx_greeting_of_every_exchanger_is_final(rig: QueueRig) -> None:
    async with FakeMx(script={"connect": b"554 5.7.1 blocked\r\n"}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].reply.text) == (FAILED, "554 5.7.1 blocked")


@pytest.mark.parametrize("act", [DROP, RESET])
@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "body", "dot"])
async def test_a_connection_lost_at_any_stage_defers(rig: QueueRig, stage: str, act: str) -> None:
    async with FakeMx(script={stage: act}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].from_remote) == (DEFERRED, False)
    assert attempts[0].reply.enhanced == "4.4.2"


async def test_a_connection_lost_after_the_dot_tries_no_other_exchanger(rig: QueueRig) -> None:
    async with FakeMx(script={"dot": LOST_250}) as first:
        second = FakeMx(host="127.0.0.2")
        second.port = first.port
        async with second:
            attempts = await send(rig, rig.courier(first.port), "b@two.test")
    assert attempts[0].status is DEFERRED
    assert (len(first.messages), second.connections) == (1, 0)


async def test_a_421_before_the_dot_leads_to_the_next_exchanger(rig: QueueRig) -> None:
    async with FakeMx(script={"mail": b"421 4.3.2 going down\r\n"}) as first:
        second = FakeMx(host="127.0.0.2")
        second.port = first.port
        async with second:
            attempts = await send(rig, rig.courier(first.port), "b@two.test")
    assert (attempts[0].status, attempts[0].ip) == (SENT, "127.0.0.2")


@pytest.mark.parametrize(
    "greeting",
    [b"2" * 10_000, b"220-x\r\n" * 200, b"220-x\r\n250 y\r\n", b"SSH-2.0-OpenSSH\r\n", b"\xff\x00\r\n"],
    ids=["long line", "endless lines", "changing code", "other protocol", "garbage"],
)
async def test_a_remote_that_talks_nonsense_defers(rig: QueueRig, greeting: bytes) -> None:
    """RFC 5321 §4.2; T: endless line as the remote server's reply."""
    async with FakeMx(script={"connect": greeting}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].reply.enhanced) == (DEFERRED, "4.5.0")


async def test_a_silent_remote_is_left_at_its_timeout(rig: QueueRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session.TIMEOUTS_S, Phase.MAIL, 0.05)
    async with FakeMx(script={"mail": HANG}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].reply.text) == (
        DEFERRED,
        "451 4.4.2 the remote gave no answer in time at MAIL",
    )


async def test_connections_are_used_again_up_to_a_hundred_messages(
    rig: QueueRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.queue.pool.MESSAGES_MAX", 3)
    async with FakeMx() as mx:
        courier = rig.courier(mx.port)
        for _ in range(4):
            assert (await deliver(rig, courier, "b@there.test"))[0].status is SENT
        await courier.close()
    assert (mx.connections, len(mx.messages)) == (2, 4)


async def test_an_idle_connection_that_the_remote_closed_is_replaced(rig: QueueRig) -> None:
    async with FakeMx(script={"mail": [None, DROP]}) as mx:
        courier = rig.courier(mx.port)
        assert (await deliver(rig, courier, "b@there.test"))[0].status is SENT
        assert (await send(rig, courier, "b@there.test"))[0].status is SENT
    assert mx.connections == 2


@pytest.mark.parametrize(
    ("extensions", "body", "sender", "text"),
    [
        (["PIPELINING"], b"Subject: x\r\n\r\nb\xe4r\r\n", "a@ours.test", "554 5.6.3"),
        (["8BITMIME"], b"Subject: x\r\n\r\nx\r\n", "\u00e4@ours.test", "550 5.6.7"),
        (["8BITMIME"], "Subject: \u00e4\r\n\r\nx\r\n".encode(), "a@ours.test", "550 5.6.7"),
        (["SIZE 10"], b"Subject: x\r\n\r\nx\r\n", "a@ours.test", "552 5.3.4"),
    ],
)
async def test_what_the_remote_does_not_take_fails_unsent(
    rig: QueueRig, extensions: list[str], body: bytes, sender: str, text: str
) -> None:
    """T22: bits unchanged or 5.6.x; RFC 1870 §6.2, RFC 6152, RFC 6531 §3.2."""
    async with FakeMx(extensions=extensions) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test", body=body, sender=sender, smtputf8=True)
    assert attempts[0].status is FAILED
    assert attempts[0].reply.text.startswith(text)
    assert not attempts[0].from_remote
    assert mx.messages == []


async def test_octets_leave_as_they_are_with_dots_stuffed(rig: QueueRig) -> None:
    """RFC 5321 §4.5.2."""
    body = b"Subject: x\r\n\r\n.\r\n..\r\nb\xe4r\r\n.no end"
    async with FakeMx() as mx:
        await send(rig, rig.courier(mx.port), "b@there.test", body=body, prefix=b"")
    assert mx.messages[0].data == body + b"\r\n"
    assert mx.messages[0].mail.endswith("BODY=8BITMIME")


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r"])
async def test_nothing_inside_a_message_can_end_it(rig: QueueRig, end: bytes) -> None:
    """T02, CVE-2023-51764 and its kin on the way out: one message, no bare CR or LF."""
    body = b"Subject: x\r\n\r\nfirst" + end + b"MAIL FROM:<evil@x>\r\nRCPT TO:<b@there.test>\r\nDATA\r\n"
    async with FakeMx() as mx:
        await send(rig, rig.courier(mx.port), "b@there.test", body=body, prefix=b"")
    assert len(mx.messages) == 1
    data = mx.messages[0].data
    assert data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n")


async def test_dsn_wishes_are_passed_on_where_they_are_understood(rig: QueueRig) -> None:
    """RFC 3461 §4, §5.2."""
    wishes = {"notify": frozenset({Notify.SUCCESS, Notify.FAILURE}), "orcpt": "rfc822;b+x@there.test"}
    async with FakeMx(extensions=["DSN"]) as mx:
        passed = await send(rig, rig.courier(mx.port), "b@there.test", ret=Ret.HDRS, envid="id=1", **wishes)
    assert mx.messages[0].mail == "FROM:<a@ours.test> RET=HDRS ENVID=id+3D1"
    assert mx.messages[0].rcpts == ["TO:<b@there.test> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;b+2Bx@there.test"]
    assert passed[0].notified
    async with FakeMx(extensions=[]) as plain:
        kept = await send(rig, rig.courier(plain.port), "b@there.test", ret=Ret.HDRS, envid="id=1", **wishes)
    assert plain.messages[0].mail == "FROM:<a@ours.test>"
    assert not kept[0].notified


async def test_starttls_is_used_where_it_is_offered(rig: QueueRig, tmp_path: Path) -> None:
    async with FakeMx(extensions=["STARTTLS"], tls=server_context(tmp_path)) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert attempts[0].tls == "TLSv1.3"
    assert mx.messages[0].tls
    assert mx.log.count("EHLO mx.ours.test") == 2


async def test_a_broken_handshake_falls_back_to_a_new_connection_in_clear(rig: QueueRig) -> None:
    async with FakeMx(extensions=["STARTTLS"], script={"handshake": b"no TLS here\r\n"}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].tls) == (SENT, "")
    assert mx.connections == 2


async def test_a_refused_starttls_goes_on_in_clear(rig: QueueRig) -> None:
    async with FakeMx(extensions=["STARTTLS"], script={"starttls": b"454 4.7.0 not now\r\n"}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, mx.connections) == (SENT, 1)


async def test_words_after_the_answer_to_starttls_end_the_connection(rig: QueueRig) -> None:
    """T04, CVE-2011-0411 as a client: nothing said in clear is believed under TLS."""
    script = {"starttls": b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"}
    async with FakeMx(extensions=["STARTTLS"], script=script) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert attempts[0].status is DEFERRED
    assert mx.messages == []
    assert mx.log == ["EHLO mx.ours.test", "STARTTLS"]


async def require_tls(rig: QueueRig) -> None:
    row = {"id": "d1", "tenant_id": TENANT, "name": "ours.test", "status": "active", "catch_all": None}
    row |= {"subaddressing": 1, "max_message_size": None, "require_tls_in": 0, "require_tls_out": 1, "quota_octets": 0}
    row |= {"created_at": 1, "updated_at": 1, "revision": 1, "deleted_at": None}
    await rig.database.write("test.domain", lambda tx: tx.execute(domains.insert().values(row)))


@pytest.mark.parametrize("case", ["stripped", "refused", "broken", "unverified", "good"])
async def test_a_domain_that_requires_tls_sends_only_over_verified_tls(
    rig: QueueRig, tmp_path: Path, case: str
) -> None:
    """CVE-2016-0772: refused or stripped STARTTLS under a policy defers; no MAIL in clear."""
    await require_tls(rig)
    rig.contexts = ClientTls(unverified=rig.contexts.unverified, verified=trusting_context())
    script = {"refused": {"starttls": b"454 4.7.0 no\r\n"}, "broken": {"handshake": b"junk\r\n"}}.get(case, {})
    extensions = [] if case == "stripped" else ["STARTTLS"]
    name = "wrong.test" if case == "unverified" else "mx.there.test"
    async with FakeMx(extensions=extensions, script=script, tls=server_context(tmp_path, name)) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    if case == "good":
        assert (attempts[0].status, attempts[0].tls) == (SENT, "TLSv1.3")
    else:
        assert attempts[0].status is DEFERRED
        assert attempts[0].reply.enhanced in ("4.7.4", "4.7.5")
        assert not any(line.startswith("MAIL") for line in mx.log)


def with_relay(rig: QueueRig, port: int, **keys: Any) -> None:
    fields: dict[str, Any] = {"host": "mx.there.test", "port": port, "username": "u", "password": Secret("p")}
    rig.settings = changed(rig.settings, outbound={"relay": Relay(**(fields | keys))})


async def test_a_relay_takes_all_mail_after_login_over_verified_tls(rig: QueueRig, tmp_path: Path) -> None:
    rig.contexts = ClientTls(unverified=rig.contexts.unverified, verified=trusting_context())
    for mechanism in ("PLAIN", "LOGIN"):
        extensions = ["STARTTLS", f"AUTH {mechanism}"]
        async with FakeMx(extensions=extensions, tls=server_context(tmp_path), login=("u", "p")) as mx:
            with_relay(rig, mx.port)
            attempts = await send(rig, rig.courier(1), "b@anywhere.example", "c@else.example")
        assert [a.status for a in attempts] == [SENT, SENT]
        assert len(mx.messages) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.7.7"])
async def test_a_private_relay_names_the_key_that_allows_it(rig: QueueRig, host: str) -> None:
    with_relay(rig, 25, host=host)
    attempts = await send(rig, rig.courier(1), "b@anywhere.example")
    assert attempts[0].status is DEFERRED
    assert attempts[0].reply.lines[0].startswith(f"relay {host}: its address is private or this server's own")
    assert "outbound.allow_private" in attempts[0].reply.lines[0]


async def test_a_relay_without_verified_tls_never_hears_the_password(rig: QueueRig, tmp_path: Path) -> None:
    context = server_context(tmp_path)
    async with FakeMx(extensions=["STARTTLS", "AUTH PLAIN"], tls=context, login=("u", "p")) as mx:
        with_relay(rig, mx.port)
        attempts = await send(rig, rig.courier(1), "b@anywhere.example")
    assert attempts[0].status is DEFERRED
    assert not any(line.startswith("AUTH") for line in mx.log)


async def test_wrong_credentials_hold_mail_and_are_not_tried_again_at_once(rig: QueueRig, tmp_path: Path) -> None:
    """product.md 10: wrong credentials hold the queue and raise an alert, no bounce."""
    rig.contexts = ClientTls(unverified=rig.contexts.unverified, verified=trusting_context())
    async with FakeMx(extensions=["STARTTLS", "AUTH PLAIN"], tls=server_context(tmp_path), login=("u", "q")) as mx:
        with_relay(rig, mx.port)
        courier = rig.courier(1)
        first = await deliver(rig, courier, "b@anywhere.example")
        second = await send(rig, courier, "b@anywhere.example")
    assert [a.status for a in (*first, *second)] == [HELD, HELD]
    assert first[0].reply.text == "535 5.7.8 wrong credentials"
    assert mx.connections == 1


async def test_a_remote_with_our_own_name_is_a_loop(rig: QueueRig) -> None:
    """T17: stops at the first round."""
    async with FakeMx(script={"ehlo": b"250-MX.ours.test hello\r\n250 SIZE\r\n"}) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test")
    assert (attempts[0].status, attempts[0].reply.enhanced) == (FAILED, "5.4.6")
    assert mx.log == ["EHLO mx.ours.test"]


async def test_an_early_refusal_of_a_large_message_is_the_reply(rig: QueueRig) -> None:
    body = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
    body += (b"y" * 998 + b"\r\n") * 20_000
    script = {"body": b"552 5.3.4 too large\r\n"}
    async with FakeMx(script=script) as mx:
        attempts = await send(rig, rig.courier(mx.port), "b@there.test", body=body)
    assert (attempts[0].status, attempts[0].reply.code) == (FAILED, 552)


async def test_many_deliveries_share_no_connection_at_once(rig: QueueRig) -> None:
    async with FakeMx(delay_s=0.01) as mx:
        courier = rig.courier(mx.port)
        done = await asyncio.gather(*(deliver(rig, courier, "b@there.test") for _ in range(5)))
        await courier.close()
    assert all(attempts[0].status is SENT for attempts in done)
    assert (mx.open_most, len(mx.messages)) == (5, 5)


def test_the_verified_context_checks_names() -> None:
    assert trusting_context().check_hostname
    assert trusting_context().verify_mode is ssl.CERT_REQUIRED
