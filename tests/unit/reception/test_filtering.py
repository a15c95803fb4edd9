"""Scripts, rules, vacation and forwards at delivery: what is stored, what is queued, what the trace says."""

from __future__ import annotations

from typing import Any, cast

import pytest

from server.domain.filters import Place
from server.domain.identity import Forwarding
from server.domain.ids import AccountId, BlobId
from server.protocol.smtp.address import parse_address
from server.services.filters.scripts import ScriptService
from server.store.repositories import accounts, blobs
from server.store.repositories.accounts import forward_text
from server.store.repositories.filters import put_script, refresh_tenant, tenant_of
from server.store.transaction import Row, Transaction
from tests.support.doors import MESSAGE, Doors

TO_ANNA = MESSAGE + b"\r\nHello\r\n"


async def account(doors: Doors, address: str = "anna@example.org") -> AccountId:
    entry = await doors.identity.directory.lookup(parse_address(address))
    assert entry.account is not None
    return entry.account.id


def scripts(doors: Doors) -> ScriptService:
    return ScriptService(
        database=doors.identity.database, directory=doors.identity.directory, worker=doors.identity.worker
    )


async def script(doors: Doors, text: str, address: str = "anna@example.org") -> None:
    """Give an account an active script."""
    service, account_id = scripts(doors), await account(doors, address)
    await service.put(account_id, "main", text.encode())
    await service.activate(account_id, "main")


async def admin_script(doors: Doors, place: Place, name: str, text: str) -> None:
    account_id = await account(doors)

    async def unit(tx: Transaction) -> None:
        tenant_id = await tenant_of(tx, account_id)
        assert tenant_id is not None
        await put_script(
            tx, tenant_id=tenant_id, account_id=None, place=place, name=name, content=text.encode(), old=None
        )
        await refresh_tenant(tx, tenant_id)

    await doors.identity.database.write("test", unit)
    doors.identity.directory.invalidate()


async def filtered(doors: Doors) -> list[Row]:
    return [row for row in await doors.events() if row["component"] == "filter"]


async def queued_text(doors: Doors, row: Row) -> str:
    """The octets of a queued message as text."""
    from sqlalchemy import select

    from server.store.schema import queued_messages

    statement = select(queued_messages.c.blob_id, queued_messages.c.prefix).where(
        queued_messages.c.id == row["queue_id"]
    )
    found = await doors.identity.database.read("test", lambda tx: tx.fetch_one(statement))
    assert found is not None
    blob = await doors.identity.database.read("test", lambda tx: blobs.get(tx, BlobId(cast(str, found["blob_id"]))))
    assert blob is not None
    return (cast(bytes, found["prefix"]) + await doors.blobs.read(blob)).decode()


async def test_fileinto_makes_the_mailbox_when_asked_and_sets_flags(doors: Doors) -> None:
    await script(
        doors,
        r'require ["fileinto", "mailbox", "imap4flags"]; addflag ["\\Seen", "Work"]; fileinto :create "Work/Offers";',
    )
    assert (await doors.reception.receive(await doors.inbound())).code == 250
    (row,) = await doors.stored()
    assert (row["name"], row["flags"], row["keywords"]) == ("Work/Offers", 1, "Work")
    (stored,) = [row for row in await doors.events() if row["type"] == "message.stored"]
    assert 'stored in Work/Offers of anna@example.org by script "main"' in cast(str, stored["detail"])


async def test_a_mailbox_that_is_not_there_never_loses_mail(doors: Doors) -> None:
    await script(doors, 'require "fileinto"; fileinto "Nowhere"; fileinto "a//b";')
    await doors.reception.receive(await doors.inbound())
    (row,) = await doors.stored()
    assert row["name"] == "INBOX"
    details = [cast(str, event["detail"]) for event in await filtered(doors)]
    assert any("there is no mailbox 'Nowhere'; stored in INBOX" in detail for detail in details)


async def test_fileinto_by_special_use_and_to_several_places(doors: Doors) -> None:
    await script(
        doors,
        r'require ["fileinto", "special-use"]; fileinto :specialuse "\\Archive" "x"; fileinto "Inbox"; keep;',
    )
    await doors.reception.receive(await doors.inbound())
    assert sorted(cast(str, row["name"]) for row in await doors.stored()) == ["Archive", "INBOX"]


async def test_discard_stores_nothing_and_says_so(doors: Doors) -> None:
    await script(doors, 'if header :contains "subject" "offer" { discard; }')
    assert (await doors.reception.receive(await doors.inbound())).code == 250
    assert await doors.stored() == []
    (event,) = await filtered(doors)
    assert (event["type"], event["verdict"]) == ("message.discarded", "discarded")
    assert 'script "main" discards the mail' in cast(str, event["detail"])


async def test_only_the_account_with_the_script_is_filtered(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    await script(doors, "discard;")
    await doors.reception.receive(await doors.inbound(to=["anna@example.org", "ben@example.org"]))
    (row,) = await doors.stored()
    assert row["account_id"] == await account(doors, "ben@example.org")


async def test_redirect_queues_the_mail_and_copy_keeps_it(doors: Doors) -> None:
    await script(doors, 'require "copy"; redirect :copy "anna@elsewhere.example";')
    await doors.reception.receive(await doors.inbound())
    (row,) = await doors.queued()
    assert (row["recipient"], row["kind"], row["sender"]) == (
        "anna@elsewhere.example",
        "forward",
        "carol@outside.example",
    )
    assert cast(bytes, row["prefix"]).startswith(b"Delivered-To: anna@example.org\r\n")
    assert len(await doors.stored()) == 1
    assert doors.woken


async def test_a_redirect_loop_is_stopped_and_the_mail_kept(doors: Doors) -> None:
    await script(doors, 'redirect "anna@elsewhere.example";')
    octets = b"Delivered-To: anna@example.org\r\n" + TO_ANNA
    assert (await doors.reception.receive(await doors.inbound(octets))).code == 250
    assert await doors.queued() == []
    (row,) = await doors.stored()
    assert row["name"] == "INBOX"
    assert any(event["verdict"] == "loop" for event in await filtered(doors))


async def test_a_redirect_to_one_of_us_goes_through_the_local_queue(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    await script(doors, 'redirect "ben@example.org";')
    await doors.reception.receive(await doors.inbound())
    (row,) = await doors.queued()
    assert (row["kind"], row["recipient"]) == ("local", "ben@example.org")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('require "include";\ninclude "gone";', 'script "main", line 2: the included script'),
        ("".join(f'redirect "a{n}@b.example";\n' for n in range(6)), "line 5: more than 4 redirects"),
        ('require ["variables", "fileinto"];\n\nset "x" "";\nfileinto "${x}";', "line 4: fileinto names no mailbox"),
    ],
)
async def test_an_error_in_a_script_keeps_the_mail_and_names_script_line_and_reason(
    doors: Doors, text: str, words: str
) -> None:
    await script(doors, text)
    assert (await doors.reception.receive(await doors.inbound())).code == 250
    (row,) = await doors.stored()
    assert row["name"] == "INBOX"
    assert await doors.queued() == []
    (event,) = await filtered(doors)
    assert (event["verdict"], event["severity"]) == ("failed", "warning")
    assert words in cast(str, event["detail"])
    assert "the mail is kept" in cast(str, event["detail"])


async def test_scripts_that_include_each_other_are_stopped(doors: Doors) -> None:
    service, account_id = scripts(doors), await account(doors)
    await service.put(account_id, "a", b'require "include"; include "main";')
    await script(doors, 'require "include"; include "a"; discard;')
    await doors.reception.receive(await doors.inbound())
    assert len(await doors.stored()) == 1
    (event,) = await filtered(doors)
    assert "includes itself" in cast(str, event["detail"])


async def test_reject_by_all_is_a_refusal_at_the_end_of_data(doors: Doors) -> None:
    await script(doors, 'require "ereject"; ereject "I am\\nnot here, né";')
    answer = await doors.reception.receive(await doors.inbound())
    assert (answer.code, answer.enhanced) == (550, "5.7.1")
    assert "not here, n?" in answer.text
    assert await doors.stored() == []


async def test_reject_by_one_of_two_tells_a_genuine_sender(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    await script(doors, 'require "reject"; reject "not me";')
    answer = await doors.reception.receive(await doors.inbound(to=["anna@example.org", "ben@example.org"]))
    assert answer.code == 250
    assert len(await doors.stored()) == 1
    (row,) = await doors.queued()
    assert (row["recipient"], row["sender"]) == ("carol@outside.example", "")
    text = await queued_text(doors, row)
    assert "disposition-notification" in text
    assert "Final-Recipient: rfc822;anna@example.org" in text
    assert "not me" in text


async def test_reject_by_one_of_two_keeps_the_mail_of_a_doubtful_sender(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    await script(doors, 'require "reject"; reject "not me";')
    octets = TO_ANNA.replace(b"carol@outside.example", b"x@unknown.example")
    inbound = await doors.inbound(octets, to=["anna@example.org", "ben@example.org"], sender="x@unknown.example")
    assert (await doors.reception.receive(inbound)).code == 250
    assert len(await doors.stored()) == 2
    assert await doors.queued() == []


async def test_vacation_answers_once_a_period(doors: Doors) -> None:
    await script(doors, 'require "vacation"; vacation :subject "Away" "I am away";')
    for _ in range(3):
        await doors.reception.receive(await doors.inbound())
    assert len(await doors.stored()) == 3
    (row,) = await doors.queued()
    assert (row["recipient"], row["sender"]) == ("carol@outside.example", "")
    text = await queued_text(doors, row)
    assert "Subject: Away\r\n" in text
    assert "Auto-Submitted: auto-replied (vacation)\r\n" in text
    assert "In-Reply-To: <m1@outside>\r\n" in text
    assert "From: " in text
    assert "I am away" in text


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        (b"List-Id: <x.example>\r\n", "carol@outside.example"),
        (b"Precedence: bulk\r\n", "carol@outside.example"),
        (b"Auto-Submitted: auto-generated\r\n", "carol@outside.example"),
        (b"X-Auto-Response-Suppress: OOF\r\n", "carol@outside.example"),
        (b"", None),
        (b"", "owner-list@outside.example"),
        (b"", "mailer-daemon@outside.example"),
        (b"", "anna@example.org"),
    ],
)
async def test_rfc_3834_2_vacation_never_answers_machines(doors: Doors, fields: bytes, sender: str | None) -> None:
    await script(doors, 'require "vacation"; vacation "I am away";')
    answer = await doors.reception.receive(await doors.inbound(fields + TO_ANNA, sender=sender))
    assert answer.code == 250
    assert await doors.queued() == []
    assert [event["verdict"] for event in await filtered(doors)] == ["unanswered"]


async def test_rfc_5230_4_5_vacation_answers_only_mail_that_names_the_account(doors: Doors) -> None:
    await script(doors, 'require "vacation"; vacation :addresses "other@example.org" "I am away";')
    blind = TO_ANNA.replace(b"anna@example.org", b"undisclosed@elsewhere.example")
    await doors.reception.receive(await doors.inbound(blind))
    assert await doors.queued() == []
    await doors.reception.receive(
        await doors.inbound(blind.replace(b"undisclosed@elsewhere", b"OTHER@example.org, a@b"))
    )
    assert len(await doors.queued()) == 1


async def test_notify_by_mail(doors: Doors) -> None:
    await script(doors, 'require "enotify"; notify :message "New offer" "mailto:pager@elsewhere.example";')
    await doors.reception.receive(await doors.inbound())
    (row,) = await doors.queued()
    text = await queued_text(doors, row)
    assert row["recipient"] == "pager@elsewhere.example"
    assert "Auto-Submitted: auto-notified; owner-email=anna@example.org" in text
    assert len(await doors.stored()) == 1


async def test_duplicates_are_seen_across_deliveries(doors: Doors) -> None:
    await script(doors, 'require ["duplicate", "fileinto"]; if duplicate { fileinto "Trash"; }')
    for _ in range(2):
        await doors.reception.receive(await doors.inbound())
    assert [row["name"] for row in await doors.stored()] == ["INBOX", "Trash"]


async def test_an_edited_header_is_stored_as_a_message_of_its_own(doors: Doors) -> None:
    await script(
        doors,
        'require ["editheader", "fileinto"]; keep; deleteheader "Subject"; addheader "Subject" "Edited";'
        'fileinto "Archive";',
    )
    await doors.reception.receive(await doors.inbound())
    rows = {cast(str, row["name"]): row for row in await doors.stored()}
    assert {name: row["subject"] for name, row in rows.items()} == {"INBOX": "Offer", "Archive": "Edited"}
    blob = await doors.identity.database.read(
        "test", lambda tx: blobs.get(tx, BlobId(cast(str, rows["Archive"]["blob_id"])))
    )
    assert blob is not None
    octets = await doors.blobs.read(blob)
    assert octets.startswith(b"Subject: Edited\r\nFrom: Carol")
    assert octets.endswith(b"\r\n\r\nHello\r\n")


async def test_administrators_scripts_run_round_the_accounts_own(doors: Doors) -> None:
    await admin_script(doors, Place.BEFORE, "1-flag", r'require "imap4flags"; addflag "Checked";')
    await admin_script(doors, Place.AFTER, "9-last", 'require ["fileinto", "mailbox"]; fileinto :create "Last";')
    await script(doors, 'require "fileinto"; if header :contains "subject" "private" { fileinto "Archive"; }')
    await doors.reception.receive(await doors.inbound())
    await doors.reception.receive(await doors.inbound(TO_ANNA.replace(b"Offer", b"Private")))
    first, second = await doors.stored()
    assert (first["name"], first["keywords"]) == ("Last", "Checked")
    assert (second["name"], second["keywords"]) == ("Archive", "Checked")


async def test_a_new_account_has_the_administrators_scripts_too(doors: Doors) -> None:
    await admin_script(doors, Place.BEFORE, "1", "discard;")
    await doors.identity.account("new@example.org")
    await doors.reception.receive(await doors.inbound(to=["new@example.org"]))
    assert await doors.stored() == []


async def test_a_changed_script_is_run_at_the_next_delivery_and_a_removed_one_no_more(doors: Doors) -> None:
    service, account_id = scripts(doors), await account(doors)
    await script(doors, "discard;")
    await doors.reception.receive(await doors.inbound())
    await service.put(account_id, "main", b'require "fileinto"; fileinto "Archive";')
    await doors.reception.receive(await doors.inbound())
    await service.activate(account_id, "")
    await service.delete(account_id, "main")
    await doors.reception.receive(await doors.inbound())
    assert [row["name"] for row in await doors.stored()] == ["Archive", "INBOX"]
    entry = await doors.identity.directory.lookup(parse_address("anna@example.org"))
    assert entry.account is not None
    assert entry.account.filter_version == 0


async def forward(doors: Doors, *targets: str, keep_copy: bool) -> None:
    account_id = await account(doors)

    async def unit(tx: Transaction) -> None:
        tenant_id = await tenant_of(tx, account_id)
        assert tenant_id is not None
        stored = forward_text(Forwarding(targets=targets, keep_copy=keep_copy))
        await accounts.change(tx, tenant_id, account_id, {"forward": stored})

    await doors.identity.database.write("test", unit)
    doors.identity.directory.invalidate()


@pytest.mark.parametrize("keep_copy", [True, False])
async def test_an_accounts_forward_goes_on_with_or_without_a_copy(doors: Doors, keep_copy: bool) -> None:
    await forward(doors, "anna@elsewhere.example", keep_copy=keep_copy)
    await doors.reception.receive(await doors.inbound())
    assert [row["recipient"] for row in await doors.queued()] == ["anna@elsewhere.example"]
    assert len(await doors.stored()) == int(keep_copy)


async def test_junk_is_neither_forwarded_nor_answered(doors: Doors) -> None:
    await forward(doors, "anna@elsewhere.example", keep_copy=False)
    await script(doors, 'require "vacation"; vacation "I am away";')
    octets = TO_ANNA.replace(b"carol@outside.example", b"x@wary.example")
    await doors.reception.receive(await doors.inbound(octets, sender="x@wary.example"))
    assert await doors.queued() == []
    (row,) = await doors.stored()
    assert row["name"] == "Junk"


async def test_what_a_script_discards_is_not_forwarded(doors: Doors) -> None:
    await forward(doors, "anna@elsewhere.example", keep_copy=False)
    await script(doors, "discard;")
    await doors.reception.receive(await doors.inbound())
    assert await doors.queued() == []
    assert await doors.stored() == []


async def test_accounts_without_filters_ask_the_store_nothing_more(doors: Doors) -> None:
    asked: list[str] = []
    database = doors.identity.database
    read = database.read

    async def counted(name: str, unit: Any) -> Any:
        asked.append(name)
        return await read(name, unit)

    database.read = counted  # type: ignore[method-assign]
    try:
        await doors.reception.receive(await doors.inbound())
    finally:
        database.read = read  # type: ignore[method-assign]
    assert [name for name in asked if not name.startswith("directory.")] == []
    assert len(await doors.stored()) == 1
