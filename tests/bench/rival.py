"""Postfix that delivers by LMTP to Dovecot, from the distribution's packages, in a folder and on ports of their own.

- Both sync what they take before they answer: Postfix always, Dovecot by `mail_fsync = optimized`.
- No content checks, no DNS, as the other side is measured without them.
- Both start as root and drop their rights; mail is kept as maildir by a user id that needs no account.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.bench.servers import ACCOUNTS
from tests.support.queueing import certificate

DOMAIN = "example.test"
PASSWORD = "secret"
MAIL_UID = 15_000
POSTFIX_DAEMONS = ("/usr/lib/postfix/sbin", "/usr/libexec/postfix")
READY_S = 15.0

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.{domain}
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:unix:{folder}/dovecot/lmtp
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 52428800
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
disable_dns_lookups = yes
smtp_host_lookup = native
default_process_limit = 200
"""

MASTER_CF = """\
{smtp_port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

DOVECOT_CONF = """\
base_dir = {folder}/dovecot
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = no
mail_max_userip_connections = 5000
mail_location = maildir:~/mail
mail_fsync = optimized
first_valid_uid = 1000
default_process_limit = 4000
default_client_limit = 20000
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={folder}/mail/%n allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  service_count = 0
  inet_listener imap {{
    port = {imap_port}
  }}
  client_limit = 3000
  inet_listener imaps {{
    port = {imaps_port}
  }}
}}
service imap {{
  process_limit = 4000
}}
service lmtp {{
  process_min_avail = 2
  process_limit = 200
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


class RivalAbsent(Exception):
    """It can't be started here; the text says why."""


class PostfixDovecot:
    """The pair, between `__enter__` and `__exit__`."""

    name = "Postfix + Dovecot"
    imap_starttls = False

    def __init__(self, folder: Path) -> None:
        self.smtp_port, self.imap_port, self.imaps_port = _free_port(), _free_port(), _free_port()
        self.logins: Sequence[tuple[str, str]] = [(f"u{n}@{DOMAIN}", PASSWORD) for n in range(ACCOUNTS)]
        self.pids: Sequence[int] = ()
        self._folder = folder

    def __enter__(self) -> PostfixDovecot:
        """Start both. Raises RivalAbsent."""
        daemons = next((path for path in POSTFIX_DAEMONS if Path(path).is_dir()), None)
        if daemons is None or shutil.which("postfix") is None or shutil.which("dovecot") is None:
            raise RivalAbsent("postfix and dovecot with its LMTP service are not installed")
        if os.geteuid() != 0:
            raise RivalAbsent("postfix and dovecot start as root only")
        self._write(daemons)
        _command("dovecot", "-c", f"{self._folder}/dovecot.conf")
        try:
            _command("postfix", "-c", f"{self._folder}/postfix", "start")
            _wait_for(self.smtp_port)
            _wait_for(self.imap_port)
        except BaseException:
            self._stop()
            raise
        self.pids = [_pid(self._folder / "queue/pid/master.pid"), _pid(self._folder / "dovecot/master.pid")]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        with contextlib.suppress(RivalAbsent):
            _command("postfix", "-c", f"{self._folder}/postfix", "stop")
        with contextlib.suppress(RivalAbsent):
            _command("doveadm", "-c", f"{self._folder}/dovecot.conf", "stop")

    def put(self, mailbox: str, mails: Iterable[bytes]) -> None:
        """Put mail into the first account's mailbox as files, as a migration would; not while it runs."""
        folder = self._folder / "mail/u0/mail" / f".{mailbox}"
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "maildirfolder").touch(mode=0o600)
        for number, mail in enumerate(mails):
            path = folder / "cur" / f"{1_700_000_000 + number}.M{number}P1.bench,S={len(mail)},W={len(mail)}:2,"
            path.write_bytes(mail)
            os.chown(path, MAIL_UID, MAIL_UID)
        for root, folders, files in os.walk(self._folder / "mail"):
            for name in (*folders, *files):
                if os.stat(os.path.join(root, name)).st_uid != MAIL_UID:
                    os.chown(os.path.join(root, name), MAIL_UID, MAIL_UID)

    def _write(self, daemons: str) -> None:
        folder = self._folder
        for name in ("postfix", "queue", "data", "dovecot", "state", "mail"):
            (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        # The rivals' own users have to pass through.
        folder.chmod(0o755)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(folder / "mail", MAIL_UID, MAIL_UID)
        values = {
            "folder": folder,
            "domain": DOMAIN,
            "commands": Path(shutil.which("postconf") or "/usr/sbin/postconf").parent,
            "daemons": daemons,
            "password": PASSWORD,
            "uid": MAIL_UID,
            "smtp_port": self.smtp_port,
            "imap_port": self.imap_port,
            "imaps_port": self.imaps_port,
        }
        chain, key = certificate("mail.example.test")
        (folder / "cert.pem").write_bytes(chain)
        (folder / "key.pem").write_bytes(key)
        (folder / "postfix/main.cf").write_text(MAIN_CF.format(**values))
        (folder / "postfix/master.cf").write_text(MASTER_CF.format(**values))
        (folder / "dovecot.conf").write_text(DOVECOT_CONF.format(**values))


def _command(*arguments: str) -> None:
    # A file, as the daemons keep a pipe open.
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(arguments, stdout=output, stderr=output, timeout=60, check=False).returncode
        output.seek(0)
        if code:
            raise RivalAbsent(f"{arguments[0]}: {output.read()[-300:].decode('utf-8', 'replace').strip()}")


def _pid(path: Path) -> int:
    return int(path.read_text().split()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                peer.recv(512)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise RivalAbsent(f"nothing answers on port {port}") from None
            time.sleep(0.1)
