"""Thunderbird with one account, on a display of its own, told what to do by its Marionette protocol.

    with thunderbird(daemon, address, folder) as mail:
        mail.do("mail.inbox.updateFolder(mail.window.msgWindow);")

- The profile is made here: IMAP by implicit TLS, submission by STARTTLS, both passwords saved, and the daemon's
  self-signed certificate accepted for these two ports and for nothing else.
- A script is the body of an async function with Thunderbird's own rights; `mail` is the object of `PRELUDE`, `given`
  what the test passes in. It waits for conditions with `mail.until`.
- `traffic` is what was said over IMAP, from Thunderbird's log.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import trust_file, wait_for
from tests.support.world_programs import environment

START_S = 60.0
STEP_S = 45.0
"""How long a script may wait for what it wants, on a busy machine."""
STOP_S = 20.0

PRELUDE = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const mail = {
  window: Services.wm.getMostRecentWindow("mail:3pane"),
  account: MailServices.accounts.accounts[0],
  server: MailServices.accounts.accounts[0].incomingServer,
  get panes() { return this.window.document.getElementById("tabmail").currentAbout3Pane; },
  get inbox() { return this.folder("INBOX"); },
  folder(name) { return this.server.rootFolder.getChildNamed(name); },
  header(folder, subject) { return [...folder.messages].find(header => header.mime2DecodedSubject == subject); },
  async until(what, probe) {
    const end = Date.now() + LIMIT_MS;
    for (;;) {
      const found = probe();
      if (found) { return found; }
      if (Date.now() > end) { throw new Error("not in time: " + what); }
      await new Promise(resolve => this.window.setTimeout(resolve, 50));
    }
  },
  async select(subject) {
    this.panes.displayFolder(this.inbox.URI);
    const header = await this.until(subject, () => this.header(this.inbox, subject));
    const row = await this.until("row of " + subject, () => {
      const index = this.panes.gDBView ? this.panes.gDBView.findIndexOfMsgHdr(header, true) : 0xffffffff;
      return index < 0xffffffff && [index];
    });
    this.panes.threadTree.selectedIndex = row[0];
    return header;
  },
  async command(window, name) {
    const controller = () => window.document.commandDispatcher.getControllerForCommand(name);
    await this.until("enabled: " + name, () => controller() && controller().isCommandEnabled(name));
    window.goDoCommand(name);
  },
  get text() {
    const page = this.panes.messageBrowser.contentWindow.getMessagePaneBrowser().contentDocument;
    return page && page.body ? page.body.textContent : "";
  },
};
"""

SET_UP = """
const certificate = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
  .constructX509FromBase64(given.certificate);
const accepted = Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService);
for (const port of given.ports) { accepted.rememberValidityOverride("localhost", port, {}, certificate, false); }
for (const place of ["imap://localhost", "smtp://localhost"]) {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(place, null, place, given.address, given.password, "", "");
  await Services.logins.addLoginAsync(login);
}
mail.server.getNewMessages(mail.server.rootFolder, mail.window.msgWindow, null);
await mail.until("folders", () => mail.server.rootFolder.subFolders.length >= 6);
// While it opens a folder for the first time, Thunderbird refuses to store anything there.
for (const folder of mail.server.rootFolder.subFolders) {
  folder.updateFolder(mail.window.msgWindow);
  const opened = () => folder.msgDatabase.dBFolderInfo.imapUidValidity > 0 && !folder.locked;
  await mail.until("opened " + folder.name, () => { try { return opened(); } catch { return false; } });
}
"""


class Thunderbird:
    """Made by `thunderbird()`."""

    def __init__(self, profile: Path, traffic: Path) -> None:
        self._traffic = traffic
        port = int(wait_for("Marionette", lambda: _text(profile / "MarionetteActivePort"), timeout_s=START_S))
        self._peer = socket.create_connection(("127.0.0.1", port), timeout=START_S + STEP_S)
        self._lines = self._peer.makefile("rb")
        self._commands = 0
        self._receive()
        self._command("WebDriver:NewSession", timeouts={"script": int(STEP_S * 2000)}, pageLoadStrategy="none")
        self._command("Marionette:SetContext", value="chrome")

    def do(self, script: str, **given: object) -> Any:
        """Run a script and return what it returns; AssertionError with its own error."""
        whole = (
            "const [given, resolve] = arguments;\n"
            + PRELUDE.replace("LIMIT_MS", str(int(STEP_S * 1000)))
            + f"(async () => {{ {script} }})()"
            + ".then(value => resolve({ value }), error => resolve({ error: String(error), stack: error.stack }));"
        )
        said = self._command("WebDriver:ExecuteAsyncScript", script=whole, args=[given], newSandbox=True)["value"]
        assert "error" not in said, f"{said['error']}\n{said['stack']}\n{self.traffic()[-3000:]}"
        return said.get("value")

    def traffic(self) -> str:
        """What Thunderbird and the server said to each other, a line each; passwords and literals are not in it."""
        lines = self._traffic.read_text("utf-8", "replace").splitlines()
        found = (re.search(r"(SendData|CreateNewLineFromSocket): (.*)", line) for line in lines)
        return "\n".join(f"{'>' if hit[1] == 'SendData' else '<'} {hit[2]}" for hit in found if hit)

    def close(self) -> None:
        """Close the connection to it."""
        self._lines.close()
        self._peer.close()

    def _command(self, name: str, **parameters: object) -> Any:
        self._commands += 1
        octets = json.dumps([0, self._commands, name, parameters]).encode()
        self._peer.sendall(b"%d:%b" % (len(octets), octets))
        _, number, error, result = self._receive()
        assert error is None, error
        assert number == self._commands
        return result

    def _receive(self) -> Any:
        """One message: its length, a colon, and JSON."""
        length = b""
        while not length.endswith(b":"):
            octet = self._lines.read(1)
            assert octet, "Thunderbird closed the connection"
            length += octet
        return json.loads(self._lines.read(int(length[:-1])))


@contextlib.contextmanager
def thunderbird(daemon: DaemonProcess, address: str, folder: Path) -> Iterator[Thunderbird]:
    """A running Thunderbird that has logged in and knows its folders; ended with its display at the end."""
    profile, temporary, traffic = folder / "profile", folder / "temporary", folder / "imap.log"
    profile.mkdir()
    temporary.mkdir()
    (profile / "user.js").write_text(_preferences(daemon, address))
    with contextlib.ExitStack() as ending:
        display = ending.enter_context(_display())
        log = ending.enter_context((folder / "thunderbird.log").open("wb"))
        child = subprocess.Popen(
            ["thunderbird", "--profile", profile, "--no-remote", "--marionette", "--remote-allow-system-access"],
            env=environment(folder)
            | {"DISPLAY": display, "TMPDIR": str(temporary), "MOZ_LOG": "IMAP:4,sync", "MOZ_LOG_FILE": str(traffic)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        ending.callback(_end, child)
        mail = Thunderbird(profile, traffic.with_name("imap.log.moz_log"))
        ending.callback(mail.close)
        mail.do(
            SET_UP,
            address=address,
            password=PASSWORD,
            certificate="".join(trust_file(daemon).read_text().split("-----")[2].split()),
            ports=[daemon.ports.imaps, daemon.ports.submission],
        )
        yield mail


@contextlib.contextmanager
def _display() -> Iterator[str]:
    """An X server without a screen, on a number that it finds itself."""
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
        pass_fds=(theirs,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as numbers:
            yield f":{int(numbers.readline())}"
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it and all that it started; it has a little time to do so itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _preferences(daemon: DaemonProcess, address: str) -> str:
    """The account, and nothing that asks a question, opens a tab or looks for the internet."""
    imap, smtp, identity = "mail.server.server1", "mail.smtpserver.smtp1", "mail.identity.id1"
    values: dict[str, object] = {
        "mail.accountmanager.accounts": "account1,account2",
        "mail.accountmanager.defaultaccount": "account1",
        "mail.account.account1.identities": "id1",
        "mail.account.account1.server": "server1",
        f"{identity}.fullName": "",
        f"{identity}.useremail": address,
        f"{identity}.smtpServer": "smtp1",
        f"{identity}.compose_html": False,
        f"{identity}.archive_granularity": 0,
        f"{identity}.valid": True,
        f"{imap}.type": "imap",
        f"{imap}.hostname": "localhost",
        f"{imap}.port": daemon.ports.imaps,
        f"{imap}.socketType": 3,
        f"{imap}.authMethod": 3,
        f"{imap}.userName": address,
        f"{imap}.name": address,
        f"{imap}.login_at_startup": False,
        f"{imap}.autosync_offline_stores": False,
        "mail.account.account2.server": "server2",
        "mail.accountmanager.localfoldersserver": "server2",
        "mail.server.server2.type": "none",
        "mail.server.server2.hostname": "Local Folders",
        "mail.server.server2.userName": "nobody",
        "mail.server.server2.name": "Local Folders",
        "mail.smtpservers": "smtp1",
        "mail.smtp.defaultserver": "smtp1",
        f"{smtp}.hostname": "localhost",
        f"{smtp}.port": daemon.ports.submission,
        f"{smtp}.try_ssl": 2,
        f"{smtp}.authMethod": 3,
        f"{smtp}.username": address,
        "marionette.port": 0,
        "mail.provider.suppress_dialog_on_startup": True,
        "mail.shell.checkDefaultClient": False,
        "mail.rights.version": 1,
        "mail.inappnotifications.enabled": False,
        "mail.biff.show_alert": False,
        "mail.biff.play_sound": False,
        "app.donation.eoy.version.viewed": 999,
        "app.update.enabled": False,
        "mailnews.start_page.enabled": False,
        "mailnews.start_page_override.mstone": "ignore",
        "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
        "datareporting.policy.dataSubmissionEnabled": False,
        "toolkit.telemetry.enabled": False,
        "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False,
        "extensions.update.enabled": False,
        "services.settings.server": "data:,#remote-settings-dummy/v1",
    }
    return "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in values.items())
