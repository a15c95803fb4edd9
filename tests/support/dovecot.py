"""Dovecot in a folder of its own, as a server to import from; nothing of the system's is touched."""

from __future__ import annotations

import contextlib
import imaplib
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

PASSWORD = 'pass "word" \\ ü'
START_S = 20.0

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/mail
first_valid_uid = 1
default_internal_user = {user}
default_login_user = {login_user}
default_internal_group = {group}
auth_username_format = %Ln
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%n allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  separator = .
  mailbox Gesendet {{
    auto = create
    special_use = \\Sent
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


def available() -> str:
    """Why it can't run here; empty = it can."""
    if shutil.which("dovecot") is None or not Path("/usr/lib/dovecot/imap").exists():
        return "Dovecot is not installed"
    if os.getuid() != 0:
        return "Dovecot's master process needs root"
    return ""


class Dovecot:
    """A running server; any address whose local part is in `users` logs in with PASSWORD."""

    def __init__(self, folder: Path, *users: str) -> None:
        self.folder = folder
        owner = pwd.getpwnam("nobody")
        for name in ("run", "state", "home"):
            (folder / name).mkdir(parents=True)
        os.chown(folder / "home", owner.pw_uid, owner.pw_gid)
        for above in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                os.chmod(above, os.stat(above).st_mode | 0o011)  # noqa: S103  its processes have users of their own
        # A colon would end the field; everything else may stand in a password.
        (folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        config = _CONFIG.format(
            folder=folder,
            port=self.port,
            user="dovecot",
            login_user="dovenull",
            group="dovecot",
            uid=owner.pw_uid,
            gid=owner.pw_gid,
        )
        (folder / "dovecot.conf").write_text(config)
        self._process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(folder / "dovecot.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    def client(self, user: str) -> imaplib.IMAP4:
        """A connection, logged in."""
        deadline = time.monotonic() + START_S
        while True:
            client = imaplib.IMAP4("127.0.0.1", self.port, timeout=20)
            try:
                client.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())
            except imaplib.IMAP4.error:
                # Its login process answers before the one that knows passwords.
                client.shutdown()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return client

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as greeted:
                greeted.settimeout(5)
                if greeted.recv(100).startswith(b"* OK"):
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        log = self.folder / "dovecot.log"
        raise AssertionError(f"Dovecot does not start: {log.read_text() if log.exists() else self._process.poll()}")
