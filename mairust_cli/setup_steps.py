"""The steps of the first configuration.

- Each step looks first whether it is done, so the command can be stopped and run again at any point.
- Answers are kept beside the configuration (0600); passwords never are.
- Nothing is started here; what needs the daemon is asked only when it answers, else how to start it is said.
- Whoever may not bind the ports of mail gets ports above 1023 in a new file, so that the daemon starts as it is.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import socket
from pathlib import Path

from mairust_cli.client.api import Client, Json, items_of, segment
from mairust_cli.config_file import (
    SYSTEM_PATH,
    ConfigMap,
    edited,
    get_key,
    load,
    options_for,
    read_text,
    replace_file,
    set_key,
)
from mairust_cli.demo.folder import write_secret
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import plain_cell
from mairust_cli.output.yaml_text import yaml_text
from mairust_cli.passwords import read_password
from mairust_cli.runtime import Runtime

STEPS = ("Host name", "Configuration", "Master key", "Domain", "First account")
ANSWERS = frozenset({"hostname", "domain", "account", "password_file", "generate"})
_OWN_PORTS = {
    "smtp": (25, 2525),
    "submission": (587, 2587),
    "submissions": (465, 2465),
    "imap": (143, 2143),
    "imaps": (993, 2993),
    "pop3": (110, 2110),
    "pop3s": (995, 2995),
}
"""The usual port of each service, and the one of a daemon that may not bind it."""
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_FQDN = re.compile(rf"({_LABEL}\.)+[a-z]({_LABEL})?", re.ASCII)
_ADDRESS = re.compile(r"[^\s@\"<>\x00-\x1f]{1,64}@[^\s@]{1,253}")


class Setup:
    """One run through the steps.

    Args:
        config: Path given by `--config`; None for the system's own.
        dry_run: Tell, and change nothing.
    """

    def __init__(self, run: Runtime, *, config: str | None, dry_run: bool) -> None:
        self._run = run
        self._dry_run = dry_run
        self._path = Path(config or run.environment.get("MAIRUST_CONFIG") or SYSTEM_PATH).absolute()
        self._own_place = self._path != SYSTEM_PATH
        self.kept = self._path.with_name("setup.yaml")
        self.answers: Json = {}

    def run_all(self) -> None:
        """All steps in order.

        Raises:
            CliError: A step failed; those before it stay done.
        """
        hostname = self._hostname()
        self._say(0, hostname, "ok")
        self._configuration(hostname)
        self._master_key()
        self._keep_answers()
        client = self._client()
        try:
            if not self._dry_run:
                client.send("GET", "/health")
            domain = self._domain(client, hostname)
            self._account(client, domain)
        except CliError as error:
            if error.code is not Exit.UNREACHABLE:
                raise
            start = f"mairustd run --config {self._path}" if self._own_place else "sudo systemctl start mairust.target"
            why = f"3 of {len(STEPS)} steps are done; domain and account need the daemon ({error.why})"
            raise CliError(
                error.what, code=error.code, why=why, hint=f"{start}   then again: {self._run.typed}"
            ) from None
        finally:
            client.close()
        if self._dry_run:
            return
        self._run.out.next(f"{self._command('doctor')}   then: {self._command('domain', 'dns', 'show', domain)}")

    def _command(self, *words: str) -> str:
        """A command for this daemon, with its socket where it is another than the system's."""
        socket_path = options_for(self._run.options, self._path).socket
        return shlex.join(["mairust", *(["--socket", socket_path] if socket_path else []), *words])

    def _hostname(self) -> str:
        current = None
        if self._path.is_file():
            current = get_key(load(read_text(self._path), self._path), "server.hostname")[1]
        value = self._answer("hostname", "Host name", str(current or socket.getfqdn()))
        return _checked(value, _FQDN, "a full host name such as mail.example.com", "hostname")

    def _configuration(self, hostname: str) -> None:
        before = read_text(self._path) if self._path.is_file() else ""
        ports = {} if before else free_ports(lowest_port())

        def edit(document: ConfigMap) -> None:
            set_key(document, "server.hostname", hostname)
            if self._own_place:
                places = {"server.state_dir": "state", "server.admin_socket": "api.sock"}
                values: dict[str, object] = {key: str(self._path.parent / name) for key, name in places.items()}
                for key, value in (values | ports).items():
                    if not get_key(document, key)[0]:
                        set_key(document, key, value)

        after = edited(before, self._path, edit)
        if after == before:
            self._say(1, str(self._path), "ok", "as it is")
        elif self._dry_run:
            self._say(1, str(self._path), "warning", "would be written:")
            self._run.out.data("\n".join(f"    {safe(line)}" for line in after.rstrip("\n").split("\n")))
        else:
            self._make_folder(self._path.parent)
            replace_file(self._path, after)
            self._say(1, str(self._path), "ok", "written and checked")
            if self._own_place and ports:
                chosen = ", ".join(str(port) for port in ports.values())
                self._run.out.note(f"ports {chosen}: the usual ones need root, or systemd's sockets")

    def _master_key(self) -> None:
        path = self._path.with_name("master.key")
        if path.exists():
            self._say(2, str(path), "ok", "there already")
        elif self._dry_run:
            self._say(2, str(path), "warning", "would be made")
        else:
            write_secret(path, base64.b64encode(os.urandom(32)) + b"\n")
            self._say(2, str(path), "ok", "made; keep a copy, without it sealed data is lost")

    def _domain(self, client: Client, hostname: str) -> str:
        guess = hostname.split(".", 1)[1] if hostname.count(".") > 1 else hostname
        value = self._answer("domain", "Mail domain", guess)
        domain = _checked(value, _FQDN, "a domain such as example.com", "domain")
        if self._dry_run:
            self._say(3, domain, "warning", "would be added")
            return domain
        try:
            client.get(f"/domains/{segment(domain)}")
            self._say(3, domain, "ok", "there already")
        except CliError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            made = client.post("/domains", {"name": domain})
            inner = made.get("domain")
            keys = items_of((inner if isinstance(inner, dict) else made).get("dkim"))
            selectors = ", ".join(plain_cell(key.get("selector")) for key in keys)
            self._say(3, domain, "ok", f"added, DKIM keys {selectors}" if selectors else "added")
        return domain

    def _account(self, client: Client, domain: str) -> None:
        value = self._answer("account", "First account", f"postmaster@{domain}")
        address = _checked(value, _ADDRESS, f"an address such as anna@{domain}", "account")
        if self._dry_run:
            self._say(4, address, "warning", "would be added")
            return
        try:
            client.get(f"/accounts/{segment(address)}")
            self._say(4, address, "ok", "there already")
            return
        except CliError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
        file = self.answers.get("password_file")
        generate = self.answers.get("generate") is True
        password, made = read_password(
            self._run, file=str(file) if file else None, stdin=False, generate=generate, who=address
        )
        client.post("/accounts", {"address": address, "password": password, "role": "owner"})
        self._say(4, address, "ok", f"added   password (shown once): {password}" if made else "added")

    def _answer(self, name: str, question: str, default: str) -> str:
        value = self.answers.get(name)
        if value is None:
            if not self._run.asks:
                why = f"{question.lower()}; in the answers file: {name}: {default}"
                raise CliError(f"no answer for '{name}'", code=Exit.USAGE, why=why, hint="mairust setup --answers F")
            value = self._run.ask(f"{question} [{safe(default)}]: ", flag="--answers") or default
            self.answers[name] = value
            self._keep_answers()
        return str(value)

    def _keep_answers(self) -> None:
        kept = {key: value for key, value in self.answers.items() if key in ("hostname", "domain", "account")}
        if kept and not self._dry_run and self._path.parent.is_dir():
            write_secret(self.kept, yaml_text(kept).encode())

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            code = Exit.NOT_ALLOWED if isinstance(error, PermissionError) else Exit.FAILED
            why = f"{folder}: {error.strerror}"
            raise CliError("the folder can not be made", code=code, why=why, hint=f"sudo {self._run.typed}") from None

    def _client(self) -> Client:
        """The daemon of this configuration: its socket is known here, so no flag is needed for another place."""
        return self._run.client_for(options_for(self._run.options, self._path))

    def _say(self, step: int, value: str, severity: str, words: str = "") -> None:
        sign = self._run.out.symbol(severity)
        text = f"{step + 1}/{len(STEPS)} {STEPS[step]:<14} {safe(value):<32} {sign} {safe(words)}"
        if not self._run.options.quiet:
            self._run.out.data(text.rstrip())


def lowest_port() -> int:
    """The lowest port this process may bind (`net.ipv4.ip_unprivileged_port_start`); 0 for root."""
    if os.geteuid() == 0:
        return 0
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def free_ports(lowest: int) -> dict[str, int]:
    """Settings that put each port below `lowest` above 1023; empty where none is."""
    return {f"server.{name}_port": port for name, (usual, port) in _OWN_PORTS.items() if usual < lowest}


def stored_answers(path: Path) -> Json:
    """Answers of an earlier run; none when there are none."""
    try:
        return {key: value for key, value in load(read_text(path), path).items() if key in ANSWERS}
    except CliError:
        return {}


def read_answers(given: str) -> Json:
    """The answers file.

    Raises:
        CliError: Unreadable, or a key that is no answer (exit 7).
    """
    path = Path(given)
    answers = load(read_text(path), path)
    unknown = [key for key in answers if key not in ANSWERS]
    if unknown:
        why = f"{given}: answers are {', '.join(sorted(ANSWERS))}"
        raise CliError(f"no such answer '{unknown[0]}'", code=Exit.INVALID, why=why, hint="mairust setup --help")
    return answers


def _checked(value: str, pattern: re.Pattern[str], wanted: str, name: str) -> str:
    text = value.strip().rstrip(".").lower() if pattern is _FQDN else value.strip()
    if len(text) > 254 or not pattern.fullmatch(text):
        raise CliError(
            f"'{value}' is not {wanted}", code=Exit.INVALID, why=f"the answer to '{name}'", hint="mairust setup"
        )
    return text
