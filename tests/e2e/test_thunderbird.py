"""Thunderbird, with its own windows on a display without a screen: reads, flags, moves, searches, drafts, sends."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Callable, Iterator

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.thunderbird import Thunderbird, thunderbird
from tests.support.world_mail import compose, deliver, mailbox_of, read_mailbox, wait_for, wait_for_mail
from tests.support.world_programs import needs

pytestmark = [needs("thunderbird", "Xvfb"), pytest.mark.timeout(180)]

Person = Callable[[], str]
WAIT_S = 45.0
SUBJECTS = ("Apples", "Pears", "Plums", "Quinces", "Medlars")


@pytest.fixture(scope="module")
def owner(unused: Iterator[str]) -> str:
    return next(unused)


@pytest.fixture(scope="module")
def mail(office: DaemonProcess, owner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thunderbird]:
    """One Thunderbird for all tests here; each uses messages of its own."""
    for subject in SUBJECTS:
        deliver(office, compose("x@example.org", owner, subject=subject), owner)
    with thunderbird(office, owner, tmp_path_factory.mktemp("thunderbird")) as made:
        yield made
        refused = re.findall(r"< \d+ (?:BAD|NO) .*", made.traffic())
        assert refused == [], "the server refused a command"


def test_it_finds_every_special_folder_and_all_mail(mail: Thunderbird) -> None:
    """Sent, Drafts, Junk, Trash and Archive by SPECIAL-USE (RFC 6154), and the INBOX's messages."""
    found = mail.do(
        """
        await mail.until("messages", () => mail.inbox.getTotalMessages(false) == given.count);
        const uses = { Sent: "SentMail", Drafts: "Drafts", Junk: "Junk", Trash: "Trash", Archive: "Archive" };
        return Object.entries(uses).filter(([name, use]) => mail.folder(name).getFlag(Ci.nsMsgFolderFlags[use]))
          .map(([name]) => name);
        """,
        count=len(SUBJECTS),
    )
    assert sorted(found) == ["Archive", "Drafts", "Junk", "Sent", "Trash"]


def test_a_message_that_is_shown_is_seen_on_the_server(mail: Thunderbird, office: DaemonProcess, owner: str) -> None:
    text = mail.do(
        """
        await mail.select("Apples");
        return await mail.until("its text", () => mail.text.includes("two dots") && mail.text);
        """
    )
    assert "Grüße, 你好" in text
    assert "\n..two dots\n" in text
    _wait_for_one(office, owner, "SUBJECT", "Apples", "SEEN")


def test_a_star_and_a_tag_are_flags_on_the_server_and_back(
    mail: Thunderbird, office: DaemonProcess, owner: str
) -> None:
    """Thunderbird's star and its tag `important`; then another program takes the star away."""
    mail.do(
        """
        const header = await mail.until("Pears", () => mail.header(mail.inbox, "Pears"));
        mail.inbox.markMessagesFlagged([header], true);
        mail.inbox.addKeywordsToMessages([header], "$label1");
        """
    )
    _wait_for_one(office, owner, "SUBJECT", "Pears", "FLAGGED", "KEYWORD", "$label1")
    with mailbox_of(office, owner) as client:
        client.select("INBOX")
        client.store(_number(client, "Pears"), "-FLAGS", "(\\Flagged)")
    mail.do('await mail.until("the star gone", () => !mail.header(mail.inbox, "Pears").isFlagged);')


def test_archive_and_delete_move_messages(mail: Thunderbird, office: DaemonProcess, owner: str) -> None:
    """The commands of the menu: into Archive, and into Trash."""
    mail.do('await mail.select("Plums"); await mail.command(mail.window, "cmd_archive");')
    wait_for_mail(office, owner, b"Subject: Plums", name="Archive", timeout_s=WAIT_S)
    mail.do('await mail.select("Quinces"); await mail.command(mail.window, "cmd_delete");')
    wait_for_mail(office, owner, b"Subject: Quinces", name="Trash", timeout_s=WAIT_S)
    mail.do(
        """
        await mail.until("both gone", () => !["Plums", "Quinces"].some(name => mail.header(mail.inbox, name)));
        """
    )
    assert not any(b"Subject: Plums" in octets for octets in read_mailbox(office, owner))
    assert re.search(r"> \d+ (?:uid|UID) move ", mail.traffic())


def test_a_search_runs_on_the_server(mail: Thunderbird) -> None:
    """Words of the body and of the subject, 8-bit ones too."""
    script = """
        const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
        session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, mail.inbox);
        for (const [attribute, words] of [["Body", given.body], ["Subject", given.subject]]) {
          const term = session.createTerm(), value = term.value;
          term.attrib = value.attrib = Ci.nsMsgSearchAttrib[attribute];
          term.op = Ci.nsMsgSearchOp.Contains;
          term.booleanAnd = true;
          value.str = words;
          term.value = value;
          session.appendTerm(term);
        }
        const found = [];
        await new Promise(resolve => {
          session.registerListener({
            onSearchHit(header) { found.push(header.mime2DecodedSubject); },
            onSearchDone: resolve,
            onNewSearch() {},
          });
          session.search(mail.window.msgWindow);
        });
        return found;
    """
    assert mail.do(script, body="你好", subject="medlar") == ["Medlars"]
    assert mail.do(script, body="nobody wrote this", subject="medlar") == []


def test_new_mail_shows_up_by_itself(mail: Thunderbird, office: DaemonProcess, owner: str) -> None:
    """IDLE (RFC 2177): nobody asks."""
    deliver(office, compose("x@example.org", owner, subject="Fresh figs"), owner)
    mail.do('await mail.until("new mail", () => mail.header(mail.inbox, "Fresh figs"));')


def test_a_draft_is_saved_then_sent_with_a_copy(
    mail: Thunderbird, office: DaemonProcess, owner: str, person: Person
) -> None:
    """The draft is in Drafts while it is written; sending takes it away and keeps a copy in Sent."""
    reader = person()
    mail.do(
        """
        const letter = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
        letter.to = given.to;
        letter.subject = "Ein Entwurf für später";
        letter.body = "Grüße, 你好\\n.\\nFrom here on\\n";
        const how = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
        how.composeFields = letter;
        how.format = Ci.nsIMsgCompFormat.PlainText;
        how.type = Ci.nsIMsgCompType.New;
        how.identity = mail.account.defaultIdentity;
        MailServices.compose.OpenComposeWindowWithParams(null, how);
        const desk = await mail.until("the letter's window", () => {
          const window = Services.wm.getMostRecentWindow("msgcompose");
          const field = window && window.document.getElementById("msgSubject");
          return window && window.gMsgCompose && window.gMsgCompose.editor && field && field.value && window;
        });
        await desk.SaveAsDraft();
        """,
        to=reader,
    )
    draft = wait_for_mail(office, owner, b"From here on", name="Drafts", timeout_s=WAIT_S)
    assert b"Ein_Entwurf_f=C3=BCr" in draft
    mail.do(
        """
        const desk = Services.wm.getMostRecentWindow("msgcompose");
        await mail.until("the draft saved", () => desk.gMsgCompose.compFields.draftId);
        await mail.command(desk, "cmd_sendNow");
        await mail.until("the window closed", () => !Services.wm.getMostRecentWindow("msgcompose"));
        """
    )
    arrived = wait_for_mail(office, reader, b"From here on", timeout_s=WAIT_S)
    copy = wait_for_mail(office, owner, b"From here on", name="Sent", timeout_s=WAIT_S)
    assert _body(copy) == _body(arrived)
    wait_for("draft taken away", lambda: not read_mailbox(office, owner, "Drafts"), timeout_s=WAIT_S)


def _wait_for_one(office: DaemonProcess, owner: str, *keys: str) -> None:
    """Until exactly one message of the INBOX is found by these keys of SEARCH."""

    def probe() -> bool:
        with mailbox_of(office, owner) as client:
            client.select("INBOX", readonly=True)
            return len(client.search(None, *keys)[1][0].split()) == 1

    wait_for(" ".join(keys), probe, timeout_s=WAIT_S)


def _number(client: imaplib.IMAP4, subject: str) -> str:
    return str(client.search(None, "SUBJECT", subject)[1][0].decode())


def _body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]
