"""Imports from files through the API: what comes in, what is left out, and who may."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from server.domain.flags import DELETED, FLAGGED, SEEN
from server.domain.ids import AccountId
from server.services.identity.accounts import NewAccount
from server.services.identity.domains import NewDomain
from server.services.mailstore.copy_move import remove_in
from server.store.repositories import mailboxes, messages
from tests.support.api import Answer, Api

P = "/api/v1"
MBOX = b"".join(
    b"From a@example.test Wed Jan  3 01:05:3%d 1996\nMessage-ID: <%d@x>\nSubject: mail %d\nStatus: RO\n\nbody %d\n\n"
    % (n, n, n, n)
    for n in range(5)
)


async def account(api: Api, name: str = "anna") -> AccountId:
    root = api.identity.root
    if not (await api.unix("GET", f"{P}/domains")).json["items"]:
        await api.identity.domains.create(root, NewDomain(name="example.com"))
    return (await api.identity.accounts.create(root, NewAccount(address=f"{name}@example.com"))).id


async def begin(api: Api, kind: str, **more: Any) -> str:
    answer = await api.unix("POST", f"{P}/imports", {"account_id": "anna@example.com", "kind": kind, **more})
    assert answer.status == 202, answer.body
    assert answer.json["status"] == "pending"
    return str(answer.json["id"])


async def piece(api: Api, job: str, data: bytes, kind: str = "mbox", **query: str) -> Answer:
    words = "&".join(f"{key}={value}" for key, value in query.items())
    content_type = "application/mbox" if kind == "mbox" else "application/x-tar"
    return await api.unix("POST", f"{P}/imports/{job}/pieces?{words}", data, Content_Type=content_type)


async def states(api: Api, account_id: AccountId, name: str) -> list[messages.MessageState]:
    async def unit(tx: Any) -> list[messages.MessageState]:
        mailbox = await mailboxes.by_name(tx, account_id, name)
        assert mailbox is not None, name
        return await messages.states(tx, account_id, mailbox.id, range(1, 2**31))

    return await api.identity.database.read("test", unit)


def tar(files: dict[str, bytes], *, mtime: int = 1_700_000_000) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, octets in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(octets), mtime
            archive.addfile(info, io.BytesIO(octets))
    return file.getvalue()


async def test_an_mbox_comes_in_with_flags_and_dates(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "mbox")
    answer = await piece(api, job, MBOX, folder="Old/Mail")
    assert answer.json == {"consumed": len(MBOX), "added": 5, "skipped": 0, "failed": 0}
    done = (await api.unix("POST", f"{P}/imports/{job}/finish", {})).json
    assert (done["status"], done["added"], done["done"]) == ("succeeded", 5, 5)
    found = await states(api, anna, "Old/Mail")
    assert [state.flags for state in found] == [SEEN] * 5
    assert found[0].internal_date_us == 820_631_130_000_000
    events = (await api.unix("GET", f"{P}/events?after=0&types=job.finished")).json["items"]
    assert events[-1]["data"]["job_id"] == job


async def test_an_import_run_twice_adds_nothing_and_a_later_one_adds_what_is_new(api: Api) -> None:
    anna = await account(api)
    for expected in (4, 0, 1):
        job = await begin(api, "mbox")
        data = MBOX if expected == 1 else MBOX[: MBOX.index(b"Message-ID: <4@x>") - 46]
        assert (await piece(api, job, data)).json["added"] == expected
        assert (await api.unix("POST", f"{P}/imports/{job}/finish", {})).status == 200
    assert len(await states(api, anna, "INBOX")) == 5


async def test_a_message_in_two_folders_comes_into_both(api: Api) -> None:
    await account(api)
    job = await begin(api, "mbox")
    assert (await piece(api, job, MBOX, folder="a")).json["added"] == 5
    assert (await piece(api, job, MBOX, folder="b")).json["added"] == 10


async def test_pieces_of_an_mbox_go_on_where_the_last_one_ended(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "mbox")
    at, requests = 0, 0
    while at < len(MBOX):
        end = min(len(MBOX), at + 250)
        final = "true" if end == len(MBOX) else "false"
        at += (await piece(api, job, MBOX[at:end], final=final)).json["consumed"]
        requests += 1
    assert requests > 2
    assert len(await states(api, anna, "INBOX")) == 5


async def test_a_maildir_comes_in_with_folders_flags_and_keywords(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "maildir", mailbox_map={"Old": "Archive/Old"})
    files = {
        "dovecot-keywords": b"0 $Label1\n",
        "cur/1.host:2,FSa": b"Subject: 1\n\nx\n",
        "new/2.host": b"Subject: 2\n\nx\n",
        ".Sent Items/cur/3.host:2,ST": b"Subject: 3\n\nx\n",
        ".Old/cur/4.host:2,": b"Subject: 4\n\nx\n",
        "tmp/5.host": b"half",
    }
    assert (await piece(api, job, tar(files), "maildir")).json["added"] == 4
    inbox = await states(api, anna, "INBOX")
    assert [(s.flags, s.keywords) for s in inbox] == [(SEEN | FLAGGED, "$Label1"), (0, "")]
    assert {s.internal_date_us for s in inbox} == {1_700_000_000_000_000}
    assert [s.flags for s in await states(api, anna, "Sent")] == [SEEN | DELETED]
    assert len(await states(api, anna, "Archive/Old")) == 1


async def test_single_mails_take_the_date_of_their_newest_received_field(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "eml")
    mail = b"Received: by x; Tue, 14 Nov 2023 22:13:20 +0000\r\nDate: Mon, 1 Jan 2001 00:00:00 +0000\r\n\r\nx\r\n"
    assert (await piece(api, job, tar({"a.eml": mail, "Sub/b.eml": mail}, mtime=1), "eml")).json["added"] == 2
    (state,) = await states(api, anna, "INBOX")
    assert state.internal_date_us == 1_700_000_000_000_000
    assert len(await states(api, anna, "Sub")) == 1


async def test_what_can_not_come_in_is_listed_and_the_rest_goes_on(api: Api) -> None:
    await account(api)
    job = await begin(api, "eml")
    files = {"../../etc/passwd": b"x", "empty.eml": b"", "good.eml": b"Subject: x\r\n\r\nx\r\n", "a/\x07/b.eml": b"x"}
    assert (await piece(api, job, tar(files), "eml")).json == {
        "consumed": len(tar(files)),
        "added": 1,
        "skipped": 0,
        "failed": 3,
    }
    errors = (await api.unix("GET", f"{P}/jobs/{job}")).json["errors"]
    assert "leads out" in errors[0]["detail"]
    assert any("empty" in error["detail"] for error in errors)


async def test_a_dry_run_counts_and_changes_nothing(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "mbox", dry_run=True)
    assert (await piece(api, job, MBOX, folder="New")).json["added"] == 5
    assert (await piece(api, job, MBOX, folder="INBOX")).json["added"] == 10
    assert await states(api, anna, "INBOX") == []
    with pytest.raises(AssertionError, match="New"):
        await states(api, anna, "New")


async def test_mail_older_than_asked_for_is_left_out(api: Api) -> None:
    await account(api)
    job = await begin(api, "mbox", since="1996-01-03T01:05:33Z")
    assert (await piece(api, job, MBOX)).json == {"consumed": len(MBOX), "added": 2, "skipped": 3, "failed": 0}


async def test_what_was_delivered_or_deleted_before_is_not_imported_again(api: Api) -> None:
    anna = await account(api)
    job = await begin(api, "mbox")
    await piece(api, job, MBOX)

    async def drop(tx: Any) -> None:
        mailbox = await mailboxes.by_name(tx, anna, "INBOX")
        assert mailbox is not None
        await remove_in(tx, account_id=anna, mailbox_id=mailbox.id, uids=range(1, 100))

    await api.identity.database.write("test", drop)
    assert (await piece(api, job, MBOX)).json["skipped"] == 5


async def test_a_full_account_ends_the_piece_and_keeps_what_fits(api: Api) -> None:
    anna = await account(api)
    assert (await api.unix("PATCH", f"{P}/accounts/anna@example.com", {"quota_bytes": 200})).status == 200
    job = await begin(api, "mbox")
    answer = await piece(api, job, MBOX)
    assert (answer.status, answer.json["code"]) == (507, "quota_exceeded")
    kept = len(await states(api, anna, "INBOX"))
    assert 0 < kept < 5
    await api.unix("PATCH", f"{P}/accounts/anna@example.com", {"quota_bytes": 0})
    assert (await piece(api, job, MBOX)).json["added"] == 5
    assert len(await states(api, anna, "INBOX")) == 5


async def test_paused_and_ended_jobs_take_nothing(api: Api) -> None:
    await account(api)
    job = await begin(api, "mbox")
    assert (await api.unix("POST", f"{P}/jobs/{job}/pause", {})).json["status"] == "paused"
    assert (await piece(api, job, MBOX)).status == 409
    assert (await api.unix("POST", f"{P}/jobs/{job}/resume", {})).json["status"] == "pending"
    assert (await piece(api, job, MBOX)).status == 200
    assert (await api.unix("POST", f"{P}/jobs/{job}/cancel", {})).json["status"] == "cancelled"
    assert (await piece(api, job, MBOX)).json["code"] == "invalid_state"
    assert (await api.unix("POST", f"{P}/jobs/{job}/resume", {})).status == 409


@pytest.mark.parametrize("data", [b"no mbox at all", b"x" * 1024])
async def test_what_is_no_mbox_is_counted_as_a_failure(api: Api, data: bytes) -> None:
    await account(api)
    assert (await piece(api, await begin(api, "mbox"), data)).json["failed"] == 1


async def test_a_broken_archive_is_refused(api: Api) -> None:
    await account(api)
    answer = await piece(api, await begin(api, "maildir"), b"x" * 2048, "tar")
    assert (answer.status, answer.json["code"]) == (422, "validation_failed")


async def test_other_media_types_are_refused(api: Api) -> None:
    await account(api)
    job = await begin(api, "mbox")
    answer = await api.unix("POST", f"{P}/imports/{job}/pieces", b"{}", Content_Type="application/json")
    assert answer.status == 415


async def test_one_account_does_not_see_or_touch_another_ones_jobs(api: Api) -> None:
    await account(api)
    await account(api, "ben")
    ben = (await api.unix("GET", f"{P}/accounts/ben@example.com")).json["id"]
    key = await api.key("mail:read", "mail:write", account_id=ben)
    job = await begin(api, "mbox")
    assert (await api.tcp("GET", f"{P}/jobs", key=key)).json["items"] == []
    assert (await api.tcp("GET", f"{P}/jobs/{job}", key=key)).status == 404
    answer = await api.tcp("POST", f"{P}/imports/{job}/pieces", MBOX, key=key, Content_Type="application/mbox")
    assert answer.status == 404
    other = await api.tcp("POST", f"{P}/imports", {"kind": "mbox", "account_id": "anna@example.com"}, key=key)
    assert other.status == 403
    own = await api.tcp("POST", f"{P}/imports", {"kind": "mbox", "account_id": "ben@example.com"}, key=key)
    assert own.status == 202


async def test_jobs_are_listed_by_kind_and_status(api: Api, tmp_path: Path) -> None:
    await account(api)
    first, second = await begin(api, "mbox"), await begin(api, "maildir")
    assert [item["id"] for item in (await api.unix("GET", f"{P}/jobs")).json["items"]] == [second, first]
    listed = (await api.unix("GET", f"{P}/jobs?kind=import_mbox&status=pending")).json["items"]
    assert [item["id"] for item in listed] == [first]


async def content(api: Api, account_id: AccountId, name: str) -> list[tuple[bytes, int, str, int]]:
    """Octets, flags, keywords and date of all messages of a mailbox."""
    found = await states(api, account_id, name)

    async def unit(tx: Any) -> list[messages.Source]:
        mailbox = await mailboxes.by_name(tx, account_id, name)
        assert mailbox is not None
        return await messages.sources(tx, account_id, mailbox.id, range(1, 2**31))

    sources = await api.identity.database.read("test", unit)
    octets = [source.prefix + await api.space.read(source.blob) for source in sources]
    return [(o, s.flags, s.keywords, s.internal_date_us) for o, s in zip(octets, found, strict=True)]


async def export(api: Api, kind: str, **more: Any) -> dict[str, Any]:
    body = {"kind": kind, "account_id": "anna@example.com", "reason": "moving", **more}
    answer = await api.unix("POST", f"{P}/exports", body)
    assert answer.status == 202, answer.body
    made: dict[str, Any] = answer.json
    return made


async def fill(api: Api) -> AccountId:
    anna = await account(api)
    job = await begin(api, "mbox")
    head = b"From a@example.test Wed Jan  3 01:05:34 1996\n"
    more = head + b"Subject: 1\nStatus: O\nX-Status: FD\nX-Keywords: work $Label1\n\n>From here\n\n"
    more += head + b"Subject: 2\nStatus: RO\nX-Status: AT\n\nlast line without an end"
    await piece(api, job, MBOX + more)
    await piece(api, job, MBOX, folder="Old/M%C3%BCll")
    await api.unix("POST", f"{P}/imports/{job}/finish", {})
    return anna


@pytest.mark.parametrize("kind", ["maildir", "eml"])
async def test_an_archive_that_is_exported_is_imported_as_it_was(api: Api, kind: str) -> None:
    anna, ben = await fill(api), await account(api, "ben")
    made = await export(api, kind)
    whole = await api.unix("GET", f"{P}/exports/{made['id']}/content")
    assert whole.headers["content-type"] == "application/x-tar"
    ended = (await api.unix("POST", f"{P}/exports/{made['id']}/finish", {})).json
    assert (ended["status"], ended["added"], ended["total"]) == ("succeeded", 12, 12)
    job = await begin(api, kind, account_id="ben@example.com")
    assert (await piece(api, job, whole.body, "tar")).json["added"] == 12
    for name in ("INBOX", "Old/Müll"):
        assert await content(api, ben, name) == await content(api, anna, name)
    with tarfile.open(fileobj=io.BytesIO(whole.body)) as archive:
        assert all(not name.startswith("/") for name in archive.getnames())


async def test_mboxes_that_are_exported_are_imported_as_they_were(api: Api) -> None:
    anna, ben = await fill(api), await account(api, "ben")
    made = await export(api, "mbox", mailboxes=["INBOX", "Old/Müll"])
    assert made["mailboxes"] == ["INBOX", "Old/Müll"]
    assert (await api.unix("GET", f"{P}/exports/{made['id']}/content")).status == 422
    job = await begin(api, "mbox", account_id="ben@example.com")
    for name in ("INBOX", "Old/M%C3%BCll"):
        whole = await api.unix("GET", f"{P}/exports/{made['id']}/content?mailbox={name}")
        assert (await piece(api, job, whole.body, folder=name)).status == 200
    kept = await content(api, anna, "INBOX")
    # An mbox ends every message with a line end.
    kept[-1] = (kept[-1][0] + b"\r\n", *kept[-1][1:])
    assert await content(api, ben, "INBOX") == kept
    assert await content(api, ben, "Old/Müll") == await content(api, anna, "Old/Müll")


async def test_reading_another_accounts_mail_needs_a_reason_and_is_audited(api: Api) -> None:
    await fill(api)
    refused = await api.unix("POST", f"{P}/exports", {"kind": "mbox", "account_id": "anna@example.com"})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/reason")
    made = await export(api, "mbox")
    events = (await api.unix("GET", f"{P}/events?after=0&types=mail.accessed")).json["items"]
    assert events[-1]["data"]["target_id"] == made["id"]
    key = await api.key("mail:read", account_id=(await api.unix("GET", f"{P}/accounts/anna@example.com")).json["id"])
    own = await api.tcp("POST", f"{P}/exports", {"kind": "eml"}, key=key)
    assert own.status == 202
    assert (await api.tcp("GET", f"{P}/exports/{own.json['id']}/content", key=key)).status == 200


async def test_an_export_is_read_by_the_account_and_by_its_maker_only(api: Api) -> None:
    await fill(api)
    anna = (await api.unix("GET", f"{P}/accounts/anna@example.com")).json["id"]
    own = await api.key("mail:read", account_id=anna)
    anybody = await api.key("mail:read", "mail:any")
    made = (await api.tcp("POST", f"{P}/exports", {"kind": "eml"}, key=own)).json["id"]
    refused = await api.tcp("GET", f"{P}/exports/{made}/content", key=anybody)
    assert refused.status == 403
    assert (await api.unix("GET", f"{P}/exports/{made}/content")).status == 403
    theirs = await api.tcp(
        "POST", f"{P}/exports", {"kind": "eml", "account_id": anna, "reason": "asked for"}, key=anybody
    )
    for key in (anybody, own):
        assert (await api.tcp("GET", f"{P}/exports/{theirs.json['id']}/content", key=key)).status == 200


async def test_a_mailbox_that_is_not_there_is_not_exported(api: Api) -> None:
    await fill(api)
    answer = await api.unix(
        "POST", f"{P}/exports", {"kind": "eml", "account_id": "anna@example.com", "mailboxes": ["No"], "reason": "x"}
    )
    assert answer.status == 404
